"""The broker the tests run on: chosen once, started once for each test process, and not before a test needs it."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest
from taximeter_sandbox.brokers.interface import BrokerUnavailable, RunnableBroker

if TYPE_CHECKING:
    from taximeter_sandbox.brokers.choose import Choice

CHOSEN: set[str] = set()
"""The broker that the tests of this run chose, in words, and why it is this one; empty when none needed a broker."""


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A started broker and how to reach it; a restart keeps the address."""

    broker: RunnableBroker
    bootstrap: str


@cache
def _choice() -> "Choice | BrokerUnavailable":
    from taximeter_sandbox.brokers.choose import choose_broker  # it imports a Kafka client, which most tests do without

    try:
        return choose_broker()
    except BrokerUnavailable as error:
        return error


def chosen_broker() -> RunnableBroker:
    """The first broker that this machine offers, or the one that KAFKA_BROKER names. Blocks for minutes when Maven fetches Apache Kafka.

    A broker that cannot be had is an error of every test that asks for it, with the reason. The end of pytest's output says which it was.
    """
    choice = _choice()
    if isinstance(choice, BrokerUnavailable):
        pytest.fail(f"broker: {choice}", pytrace=False)
    CHOSEN.add(str(choice))
    return choice.broker
