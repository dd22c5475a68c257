"""stripe-mock and its document; every test of the folder is skipped, with one line, where Go or its module proxy is not there."""

from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.stripe_mock_fixtures import metered
from tests.support.stripe_mock_module import StripeMock, Unavailable, find_stripe_mock
from tests.support.stripe_mock_openapi import Document
from tests.support.stripe_mock_process import MockProcess


@cache
def _found() -> StripeMock | str:
    try:
        return find_stripe_mock()
    except Unavailable as error:
        return f"no stripe-mock: {error}"


def pytest_runtest_setup() -> None:
    """Here, and not in a fixture: then pytest has one line for all tests of the folder."""
    found = _found()
    if isinstance(found, str):
        pytest.skip(found)


@pytest.fixture(scope="session")
def stripe_mock() -> StripeMock:
    found = _found()
    assert isinstance(found, StripeMock), found
    return found


@pytest.fixture(scope="session")
def document(stripe_mock: StripeMock) -> Document:
    return Document(stripe_mock.document())


@pytest.fixture(scope="session")
def plain_mock(stripe_mock: StripeMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProcess]:
    """With the fixtures as Stripe made them."""
    with MockProcess(stripe_mock, tmp_path_factory.mktemp("plain")) as process:
        yield process


@pytest.fixture(scope="session")
def metered_mock(stripe_mock: StripeMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProcess]:
    """With a metered price among the fixtures, so that the commands get further."""
    with MockProcess(stripe_mock, tmp_path_factory.mktemp("metered"), metered(stripe_mock.fixtures())) as process:
        yield process
