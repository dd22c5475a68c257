"""Bugs in how meters that Stripe refuses are held, put in on purpose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from metering.folds.ledger import Ledger
from reporter.sending import verdicts
from reporter.sending.lanes import Lanes


@contextmanager
def a_refusal_of_the_meter_is_final() -> Iterator[None]:
    """A meter event that was refused because its meter is inactive is given up."""
    with patch.object(verdicts, "_speaks_of_meter", lambda _reply: False):
        yield


@contextmanager
def a_meter_event_in_doubt_is_postponed() -> Iterator[None]:
    """Usage goes into a later intent although an attempt with it may have arrived."""
    postpone = Lanes._postpone

    def careless(self: Lanes, lane: Any, now_ms: int) -> None:
        lane.doubtful = False
        postpone(self, lane, now_ms)

    with patch.object(Lanes, "_postpone", careless):
        yield


@contextmanager
def what_was_postponed_is_forgotten_on_takeover() -> Iterator[None]:
    """A new owner takes in what was carried, and not what was postponed since."""
    with patch.object(Ledger, "waiting", property(lambda self: list(self.carried))):
        yield


PLANTED_IN_METERS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    planted.__name__: planted
    for planted in (
        a_refusal_of_the_meter_is_final,
        a_meter_event_in_doubt_is_postponed,
        what_was_postponed_is_forgotten_on_takeover,
    )
}
