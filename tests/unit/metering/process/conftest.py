"""The runner of services, run inside the process of the tests."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """A service that ends thaws everything, also what tests/conftest.py froze; the next one would walk through all of it."""
    yield
    gc.freeze()
