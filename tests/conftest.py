"""What every run of the tests has: Hypothesis' profile, and a broker that is looked for when a test needs it."""

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.broker import CHOSEN, RunningBroker, chosen_broker

# No test asserts a duration. Continuous integration draws the same examples every time; everywhere else new ones are tried.
settings.register_profile("taximeter", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI")))
settings.load_profile("taximeter")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background so, and every process that a test wants to interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no collection of garbage during a test need walk through it."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Workers of a distributed run have no terminal: they hand their lines to the process that has one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["brokers"] = sorted(CHOSEN)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # A worker that crashed has no output.
    CHOSEN.update(getattr(node, "workeroutput", {}).get("brokers", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The line that says which broker it was, also with -q."""
    for choice in sorted(CHOSEN):
        terminalreporter.write_line(f"broker: {choice}")


@pytest.fixture(scope="session")
def running_broker() -> Iterator[RunningBroker]:
    """The chosen broker, for tests that kill and restart it; they leave it running."""
    broker = chosen_broker()
    bootstrap = broker.start()
    try:
        yield RunningBroker(broker, bootstrap)
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def broker(running_broker: RunningBroker) -> str:
    """Bootstrap servers of the chosen broker. Make topics with tests.support.broker_topics: it is shared."""
    return running_broker.bootstrap
