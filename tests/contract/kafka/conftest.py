"""Runs every test of this folder on the embedded broker, and on the chosen one where that is another."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from taximeter_sandbox.brokers.embedded import EmbeddedBroker

from tests.support.broker import RunningBroker, chosen_broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.broker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "running_kafka" in metafunc.fixturenames:
        # Which one is chosen is not known yet: to find out may take minutes.
        brokers = ["embedded"] if os.environ.get("KAFKA_BROKER") == "embedded" else ["embedded", "chosen"]
        metafunc.parametrize("running_kafka", brokers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running_kafka(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """One of the brokers under test; tests that kill it leave it running."""
    if request.param == "chosen":
        if chosen_broker().name == "embedded":
            pytest.skip("no other broker than the embedded one is here")
        yield request.getfixturevalue("running_broker")
        return
    broker = EmbeddedBroker()
    bootstrap = broker.start()
    try:
        yield RunningBroker(broker, bootstrap)
    finally:
        broker.stop()


@pytest.fixture
def kafka(running_kafka: RunningBroker) -> str:
    """Bootstrap servers of the broker under test."""
    return running_kafka.bootstrap
