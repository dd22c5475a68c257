"""Which set-aside events are meant. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from aggregator.dead_letters.letter_book import EventPlace
from aggregator.dead_letters.letter_events import LetterEvent
from metering.records.dead_letter import DeadLetter

_ANY: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSelector:
    """Every condition that is given must hold; of several values one is enough.

    `sources`: the source of a single event, or the emitter of a batch. `from_ms` and `to_ms`: when Kafka took the record (Unix ms, the second not
    included). `offsets`: records of usage.events.
    """

    reasons: Collection[str] = _ANY
    fields: Collection[str] = _ANY
    sources: Collection[str] = _ANY
    customers: Collection[str] = _ANY
    partitions: Collection[int] = frozenset()
    offsets: Collection[int] = frozenset()
    from_ms: int | None = None
    to_ms: int | None = None

    def matches(self, place: EventPlace, letter: DeadLetter, event: LetterEvent | None) -> bool:
        """Whether this event is meant. One that cannot be read has no customer."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.fields and letter.field not in self.fields:
            return False
        if self.sources and letter.origin.source not in self.sources and letter.origin.emitter not in self.sources:
            return False
        if self.customers and (event is None or event.customer not in self.customers):
            return False
        if self.offsets and place.offset not in self.offsets:
            return False
        return (self.from_ms is None or letter.log_time_ms >= self.from_ms) and (self.to_ms is None or letter.log_time_ms < self.to_ms)
