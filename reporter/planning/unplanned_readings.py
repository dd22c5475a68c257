"""Latest values that are counted and not yet in an intent: of each customer, meter and billing period the latest, whatever came first."""

from collections.abc import Callable, Iterator

from metering.records.ledger_records import MeterEvent, ReadingTime
from metering.records.tally import LatestValue
from reporter.planning.billing_periods import BillingPeriods

_Key = tuple[str, str, int]


class UnplannedReadings:
    """By customer, meter and start of the billing period that was known: when the latest event happened, and its value."""

    def __init__(self, periods: BillingPeriods) -> None:
        self._periods = periods
        self._latest: dict[_Key, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, value: LatestValue) -> None:
        """Add a value of an accepted tally, in the order of the tallies: of two of one millisecond the later takes the place of the other."""
        self._take(value.customer, value.meter, value.time_ms, value.value, is_newer=True)

    def add_event(self, event: MeterEvent) -> None:
        """Add a value that was in an intent before: what is here of the same millisecond came later."""
        assert event.reading is not None, "of a latest value"
        self._take(event.customer, event.meter, event.reading.happened_ms, event.value, is_newer=False)

    def move_to(self, other: "UnplannedReadings", is_moved: Callable[[str, str], bool]) -> int | None:
        """Move values there by their customer and meter. Returns the time in ms of the oldest that was moved."""
        moved = [key for key in self._latest if is_moved(key[0], key[1])]
        found = [(key, *self._latest.pop(key)) for key in moved]
        for (customer, meter, _), happened_ms, value in found:
            other._take(customer, meter, happened_ms, value, is_newer=True)  # noqa: SLF001 - the same class
        return min((happened_ms for _, happened_ms, _ in found), default=None)

    def meter_events(self) -> list[MeterEvent]:
        """As meter events, oldest first, so that each customer's are sent in the order in which they happened."""
        since, second = self._periods.since_s, self._periods.second_ms
        ordered = sorted((happened_ms, customer, meter, value) for (customer, meter, _), (happened_ms, value) in self._latest.items())
        return [
            MeterEvent(customer, meter, (), second(customer, at_ms), value, reading=ReadingTime(at_ms, since(customer, at_ms)))
            for at_ms, customer, meter, value in ordered
        ]

    def usage(self) -> Iterator[tuple[str, str, int]]:
        """Customer, meter and event time in ms of each."""
        return ((customer, meter, happened_ms) for (customer, meter, _), (happened_ms, _) in self._latest.items())

    def clear(self) -> None:
        """Start again with nothing."""
        self._latest = {}

    def _take(self, customer: str, meter: str, happened_ms: int, value: int, *, is_newer: bool) -> None:
        key = customer, meter, self._periods.since_s(customer, happened_ms)
        known = self._latest.get(key)
        if known is None or happened_ms > known[0] or (happened_ms == known[0] and is_newer):
            self._latest[key] = happened_ms, value
