"""Which broker the tests run on, said first, and started once when a test needs it."""

from collections.abc import Iterator

import pytest

from tests.support.broker import RunningBroker, chosen_broker


def pytest_report_header() -> str:
    return f"broker: {chosen_broker()}"


@pytest.fixture(scope="session")
def running_broker() -> Iterator[RunningBroker]:
    """The chosen broker, for tests that kill and restart it; they leave it running."""
    broker = chosen_broker().broker
    bootstrap = broker.start()
    try:
        yield RunningBroker(broker, bootstrap)
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def broker(running_broker: RunningBroker) -> str:
    """Bootstrap servers of the chosen broker. Make topics with tests.support.broker_topics: it is shared."""
    return running_broker.bootstrap
