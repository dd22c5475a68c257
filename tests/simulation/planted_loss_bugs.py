"""Bugs put in on purpose where somebody accepts that events are lost, or that ids are not known any more."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from aggregator.core.counting import PartitionCounter
from aggregator.repair import AcceptingLoss, Lost
from metering.records.integer_columns import Integers
from metering.records.tally import Acceptance, Tally


@contextmanager
def an_acceptance_takes_what_is_kept() -> Iterator[None]:
    """One offset more than retention has deleted."""
    real = AcceptingLoss._tally

    def tally(self: AcceptingLoss, lost: Lost, acceptance: Acceptance) -> Tally:
        return real(self, replace(lost, end=lost.end + 1), acceptance)

    with patch.object(AcceptingLoss, "_tally", tally):
        yield


@contextmanager
def events_whose_ids_are_gone_are_counted() -> Iterator[None]:
    """That ids are not known any more is accepted, and then forgotten."""

    def known_from(self: PartitionCounter, moments: Integers) -> Integers:
        return moments - self.ids.horizon_ms

    with patch.object(PartitionCounter, "_ids_known_from", known_from):
        yield


PLANTED_IN_LOSSES: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        an_acceptance_takes_what_is_kept,
        events_whose_ids_are_gone_are_counted,
    )
}
