"""Which latest values were planned for Stripe: an older one of the same billing period must not be sent behind them. Pure.

What matters of old intents is said again by newer ones, a part by each, so that a reader need not go back far (docs/decisions/0038-latest-values.md).
"""

from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple

from metering.records.chain import NO_OFFSET
from metering.records.ledger_records import Intent, ReadingTime, ToldReading
from metering.records.service_limits import EVENTS_RETENTION_MS

SAID_AGAIN: Final = 64
"""One in so many is said again by each intent, so that a reader goes back about as many intents."""

_Key = tuple[str, str, int]


class SaidAgain(NamedTuple):
    """What the next intent says again of older ones, and from where on a reader then knows all (NO_OFFSET: nothing was ever told)."""

    readings: Sequence[ToldReading]
    told_from: int


class ToldReadings:
    """The latest that was planned of each customer, meter and start of a billing period, with the offset of the intent that said so last."""

    def __init__(self) -> None:
        self._latest: dict[_Key, tuple[int, int]] = {}  # when it happened, and the offset; in the order of the offsets
        self._of_customers: dict[tuple[str, str], list[ReadingTime]] | None = None

    @property
    def oldest(self) -> Sequence[int]:
        """The offset from which a reader knows all of it; none if it is nothing."""
        return [next(iter(self._latest.values()))[1]] if self._latest else ()

    def fold(self, offset: int, intent: Intent) -> None:
        """Take in an accepted intent."""
        if intent.told_from != NO_OFFSET:
            for key in list(takewhile(lambda key: self._latest[key][1] < intent.told_from, self._latest)):
                del self._latest[key]
            self._of_customers = None
        for customer, meter, reading in intent.told_again:
            self._note(offset, customer, meter, reading)
        for event in intent.meter_events:
            if event.reading is not None and not event.is_for_nobody:
                self._note(offset, event.customer, event.meter, event.reading)

    def say_again(self, next_offset: int, now_ms: int) -> SaidAgain:
        """A part of the oldest, without those that are older than anything that can still come. `next_offset`: where the ledger ends."""
        count = -(-len(self._latest) // SAID_AGAIN)
        if not count:
            return SaidAgain((), NO_OFFSET)
        first = list(islice(self._latest.items(), count + 1))
        told_from = first[count][1][1] if len(first) > count else next_offset
        again = tuple(
            ToldReading(customer, meter, ReadingTime(happened_ms, since_s))
            for (customer, meter, since_s), (happened_ms, _) in first[:count]
            if happened_ms >= now_ms - EVENTS_RETENTION_MS
        )
        return SaidAgain(again, told_from)

    def has_later(self, customer: str, meter: str, happened_ms: int, since_of: Callable[[int], int]) -> bool:
        """Whether a later value of the same billing period was planned. `since_of`: where the period begins that has a time in ms."""
        later = [told for told in self.of(customer, meter) if told.happened_ms > happened_ms]
        return bool(later) and since_of(happened_ms) in {since_of(told.happened_ms) for told in later}

    def of(self, customer: str, meter: str) -> Sequence[ReadingTime]:
        """What was planned of one customer and meter."""
        if self._of_customers is None:
            self._of_customers = {}
            for (name, of_meter, since_s), (happened_ms, _) in self._latest.items():
                self._of_customers.setdefault((name, of_meter), []).append(ReadingTime(happened_ms, since_s))
        return self._of_customers.get((customer, meter), ())

    def _note(self, offset: int, customer: str, meter: str, reading: ReadingTime) -> None:
        key = customer, meter, reading.since_s
        known_ms, _ = self._latest.pop(key, (0, 0))
        self._latest[key] = max(reading.happened_ms, known_ms), offset
        self._of_customers = None
