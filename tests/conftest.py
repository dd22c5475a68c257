"""Which broker the tests run on, said first, and started once when a test needs it."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from taximeter_sandbox.brokers.interface import BrokerUnavailable

from tests.support.broker import RunningBroker, chosen_broker

# No test asserts a duration. Continuous integration draws the same examples every time; everywhere else new ones are tried.
settings.register_profile("taximeter", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI")))
settings.load_profile("taximeter")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """The first line of the output, also with -q; workers of a distributed run have no terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background so, and every process that a test wants to interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        line = f"broker: {chosen_broker()}"
    except BrokerUnavailable as error:
        raise pytest.UsageError(f"broker: {error}") from error
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        terminal.write_line(line)


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
