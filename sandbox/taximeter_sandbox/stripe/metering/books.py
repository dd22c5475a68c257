"""The exact books: what Stripe would bill, per meter and customer, kept up to date with every event.

For a meter with an event time window, only the event received last in a window counts; taking that one away brings the
one before it back. Counting follows acceptance, not the processing lag; summaries look at the lag themselves.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

from taximeter_sandbox.stripe.http.routes import Lane
from taximeter_sandbox.stripe.metering.meter_events import EventState, EventStore, MeterEvent
from taximeter_sandbox.stripe.metering.meters import WINDOW_SECONDS, EventWindow
from taximeter_sandbox.stripe.metering.quantities import Quantity, add, is_number, negated, quantity

DAY_S = 86_400


class Line(NamedTuple):
    """The total and the number of the events that count."""

    total: Quantity
    events: int


def value_of(event: MeterEvent) -> Quantity:
    """The number an event stands for; 0 where a count meter's event carries none."""
    value = event.value
    if value.isascii() and value.isdigit():  # nearly all, and ten times as quick
        return int(value)
    return quantity(value) if is_number(value) else 0


class Books:
    """Running totals per lane over an event store. `window_of` gives a meter's event time window by event name."""

    def __init__(self, events: EventStore, window_of: Callable[[str], EventWindow | None]) -> None:
        self._events = events
        self._window_of = window_of
        self._lines: dict[Lane, Line] = {}
        self._history: dict[Lane, list[int]] = {}
        self._days: dict[Lane, dict[int, list[int]]] = {}  # the history by the UTC day of the timestamp
        self._winners: dict[tuple[Lane, int], int] = {}

    def add(self, event: MeterEvent) -> None:
        """Enter an event that was just accepted."""
        lane = (event.event_name, event.customer)
        self._history.setdefault(lane, []).append(event.sequence)
        self._days.setdefault(lane, {}).setdefault(event.timestamp // DAY_S, []).append(event.sequence)
        window = self._window_of(event.event_name)
        if window is not None:
            slot = (lane, event.timestamp // WINDOW_SECONDS[window])
            previous = self._winners.get(slot)
            if previous is not None:
                self._change(lane, negated(value_of(self._events[previous])), -1)
            self._winners[slot] = event.sequence
        self._change(lane, value_of(event), 1)

    def remove(self, event: MeterEvent) -> None:
        """Take out an event that was dropped or cancelled; its state must say so already."""
        lane = (event.event_name, event.customer)
        window = self._window_of(event.event_name)
        if window is not None:
            slot = (lane, event.timestamp // WINDOW_SECONDS[window])
            if self._winners[slot] != event.sequence:
                return
            successor = self._last_standing(lane, slot[1], window)
            if successor is None:
                del self._winners[slot]
            else:
                self._winners[slot] = successor.sequence
                self._change(lane, value_of(successor), 1)
        self._change(lane, negated(value_of(event)), -1)

    def _last_standing(self, lane: Lane, index: int, window: EventWindow) -> MeterEvent | None:
        for sequence in reversed(self._days[lane][index * WINDOW_SECONDS[window] // DAY_S]):
            event = self._events[sequence]
            if event.timestamp // WINDOW_SECONDS[window] == index and self._standing(sequence):
                return event
        return None

    def _change(self, lane: Lane, amount: Quantity, events: int) -> None:
        line = self._lines.get(lane)
        self._lines[lane] = Line(amount, events) if line is None else Line(add(line.total, amount), line.events + events)

    def _standing(self, sequence: int) -> bool:
        return self._events.state(sequence) in (EventState.PENDING, EventState.COUNTED)

    def lines(self) -> Iterator[tuple[Lane, Line]]:
        """Each lane with events that count, and its line."""
        return ((lane, line) for lane, line in self._lines.items() if line.events)

    def counted(self) -> Iterator[MeterEvent]:
        """The events behind the lines, in no particular order across lanes."""
        for lane, history in self._history.items():
            yield from self._effective(lane, history, (EventState.PENDING, EventState.COUNTED))

    def visible(self, lane: Lane) -> list[MeterEvent]:
        """The events of one lane that processing has reached and that count."""
        return list(self._effective(lane, self._history.get(lane, []), (EventState.COUNTED,)))

    def within(self, lane: Lane, start: int, end: int, *, processed: bool, first_sequence: int = 0) -> list[MeterEvent]:
        """The events of one lane that count, with a timestamp in [start, end) and at least this sequence number, by day and receipt.

        With `processed`, only those that processing has reached.
        """
        states = (EventState.COUNTED,) if processed else (EventState.PENDING, EventState.COUNTED)
        by_day = self._days.get(lane, {})
        first_day, last_day = start // DAY_S, (end - 1) // DAY_S
        window = self._window_of(lane[0])
        found: list[MeterEvent] = []
        for day in sorted(day for day in by_day if first_day <= day <= last_day):
            sequences = by_day[day]
            late = sequences[bisect_left(sequences, first_sequence) :] if first_sequence else sequences
            events = self._events.within(late, start, end, states)
            found.extend(events if window is None else {event.timestamp // WINDOW_SECONDS[window]: event for event in events}.values())
        return found

    def _effective(self, lane: Lane, history: list[int], states: tuple[EventState, ...]) -> Iterator[MeterEvent]:
        standing = (self._events[sequence] for sequence in history if self._events.state(sequence) in states)
        window = self._window_of(lane[0])
        if window is None:
            yield from standing
            return
        seconds = WINDOW_SECONDS[window]
        yield from {event.timestamp // seconds: event for event in standing}.values()
