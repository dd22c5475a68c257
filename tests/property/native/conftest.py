"""Where the native reader is not installed, nothing here runs."""

import pytest

from tests.native.comparison import Comparison


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    pytest.importorskip("taximeter_native", reason="the native reader is not installed")
    return Comparison()
