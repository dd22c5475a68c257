"""Which set-aside events a selector means. Pure."""

from aggregator.dead_letters.letter_book import EventPlace
from aggregator.dead_letters.letter_events import LetterEvent
from metering.plans.usage_selector import UsageSelector
from metering.records.dead_letter import DeadLetter


def means(selector: UsageSelector, place: EventPlace, letter: DeadLetter, event: LetterEvent | None) -> bool:
    """Whether this event is meant. One that cannot be read (None) has no customer and no time."""
    if selector.reasons and letter.reason not in selector.reasons:
        return False
    if selector.fields and letter.field not in selector.fields:
        return False
    if not selector.takes_record(place.offset, letter.log_time_ms) or not selector.takes_source(letter.origin.source, letter.origin.emitter):
        return False
    if event is None:
        return not selector.customers and selector.event_from_ms is None and selector.event_to_ms is None
    return selector.takes_customer(event.customer) and selector.takes_time(event.time_ms)
