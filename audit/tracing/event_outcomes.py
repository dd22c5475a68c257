"""What became of each event of a tally's range, as the tally says. Pure."""

from enum import StrEnum

from metering.records.tally import Tally, WhyNotCounted


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
    if tally.acceptance is not None:
        return EventOutcome.LOST
    for place, indexes in tally.set_aside:
        if place == offset and (not indexes or at in indexes):
            return EventOutcome.SET_ASIDE
    for run in tally.not_counted:
        if run.offset <= offset < run.offset + run.offsets and (not run.events or run.first <= at < run.first + run.events):
            return _OF[run.why]
    return EventOutcome.COUNTED
