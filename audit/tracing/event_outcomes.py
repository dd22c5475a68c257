"""What became of each event of a tally's range, as the tally says. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from metering.records.tally import NotCounted, Tally, WhyNotCounted


class EventOutcome(StrEnum):
    """What became of an event."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    KNOWN_NUMBER = "known number"
    FORWARDED = "forwarded"
    SET_ASIDE = "set aside"
    LOST = "accepted as lost"
    WAITING = "not counted yet"


_OF = {
    WhyNotCounted.DUPLICATE: EventOutcome.DUPLICATE,
    WhyNotCounted.KNOWN_NUMBER: EventOutcome.KNOWN_NUMBER,
    WhyNotCounted.FORWARDED: EventOutcome.FORWARDED,
}


def outcome_of(tally: Tally, offset: int, at: int) -> EventOutcome:
    """Of the event at this place of the tally's range."""
    return outcomes_of(tally, offset, (at,))[0]


def outcomes_of(tally: Tally, offset: int, places: Sequence[int]) -> Sequence[EventOutcome]:
    """Of these events of one record of the tally's range."""
    if tally.acceptance is not None:
        return [EventOutcome.LOST] * len(places)
    aside = [indexes for place, indexes in tally.set_aside if place == offset]
    runs = [run for run in tally.not_counted if run.offset <= offset < run.offset + run.offsets]
    return [_outcome(aside, runs, at) for at in places] if aside or runs else [EventOutcome.COUNTED] * len(places)


def _outcome(aside: Sequence[Sequence[int]], runs: Sequence[NotCounted], at: int) -> EventOutcome:
    if any(not indexes or at in indexes for indexes in aside):
        return EventOutcome.SET_ASIDE
    for run in runs:
        if not run.events or run.first <= at < run.first + run.events:
            return _OF[run.why]
    return EventOutcome.COUNTED
