"""The broker the tests run on: chosen once, started once for each test process."""

from dataclasses import dataclass
from functools import cache

from taximeter_sandbox.brokers.choose import Choice, choose_broker
from taximeter_sandbox.brokers.interface import RunnableBroker


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A started broker and how to reach it; a restart keeps the address."""

    broker: RunnableBroker
    bootstrap: str


@cache
def chosen_broker() -> Choice:
    """The broker of design order, or the one that KAFKA_BROKER names. Blocks for minutes when Maven fetches Apache Kafka."""
    return choose_broker()
