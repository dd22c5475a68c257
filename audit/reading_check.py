"""Does the ledger tell the latest values that the tallies hold, each the latest of its billing period? Pure: all is handed in, in log order."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from audit.verification.report import Report, latest_name
from metering.folds.corrections import TAKEN
from metering.folds.told_readings import ToldReadings
from metering.records.ledger_records import Intent, MeterEvent, Outcome, ReadingTime
from metering.records.tally import Tally

_Series = tuple[str, str]
"""Customer and meter."""


class ReadingCheck:
    """One partition. What an intent must tell: for each value that it covers, that value or a later one of the same period."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._uncovered: defaultdict[_Series, list[tuple[int, int]]] = defaultdict(list)  # when they happened, and values, in the order of the log
        self._taken: dict[tuple[str, str, int], int] = {}  # by start of the period: when the latest happened that Stripe took
        self._not_taken: list[tuple[MeterEvent, Outcome]] = []

    def add(self, tally: Tally) -> None:
        """The next accepted tally."""
        for value in tally.latest:
            self._uncovered[value.customer, value.meter].append((value.time_ms, value.value))

    def compare(self, intent: Intent, waiting: Sequence[MeterEvent], before: ToldReadings) -> Iterator[str]:
        """What is wrong with an accepted intent, a phrase each. `waiting`: what it had to take in. `before`: what older intents told."""
        listed: defaultdict[_Series, list[MeterEvent]] = defaultdict(list)
        for event in intent.all_events:
            if event.reading is not None:
                listed[event.customer, event.meter].append(event)
        held: defaultdict[_Series, list[tuple[int, int]]] = defaultdict(list)
        for event in waiting:
            if event.reading is not None:
                held[event.customer, event.meter].append((event.reading.happened_ms, event.value))
        for series in listed.keys() | self._uncovered.keys() | held.keys():
            yield from _phrases(series, listed[series], held[series], self._uncovered[series])
            ends = sum(event.reading is not None for event in listed[series]) - len([each for each in intent.superseded if _is_of(each, series)])
            self._report.meter(latest_name(series[1])).passed += len(held[series]) + len(self._uncovered[series]) - ends
        for event in intent.superseded:
            if not any(_takes_the_place(told, event) for told in before.of(event.customer, event.meter)):
                yield f"leaves out the value {event.value} of {event.meter} for {event.customer}, and no later one was told before"
        for event in intent.meter_events:
            reading = event.reading
            if reading is None or event.is_for_nobody:
                continue  # Stripe never hears of what is for nobody
            if any(told.happened_ms > reading.happened_ms and told.since_s == reading.since_s for told in before.of(event.customer, event.meter)):
                yield f"tells the value {event.value} of {event.meter} for {event.customer} behind a later one"
        self._uncovered.clear()

    def settle(self, event: MeterEvent, outcome: Outcome) -> None:
        """What became of a latest value."""
        assert event.reading is not None, "of a latest value"
        if outcome in TAKEN:
            key = event.customer, event.meter, event.reading.since_s
            self._taken[key] = max(event.reading.happened_ms, self._taken.get(key, 0))
        elif outcome in {Outcome.REJECTED, Outcome.PARKED, Outcome.UNBILLABLE}:
            self._not_taken.append((event, outcome))

    def has_later(self, event: MeterEvent) -> bool:
        """Whether Stripe took a later value of the same period."""
        return any(
            (customer, meter) == (event.customer, event.meter) and _takes_the_place(ReadingTime(happened_ms, since_s), event)
            for (customer, meter, since_s), happened_ms in self._taken.items()
        )

    def finish(self) -> None:
        """After the last entry: what is left is on its way, and what Stripe did not take is nothing to miss where it took a later one."""
        for (_, meter), values in self._uncovered.items():
            self._report.meter(latest_name(meter)).uncovered += len(values)
        for event, outcome in self._not_taken:
            if self.has_later(event):
                totals = self._report.told(event)
                totals.outcomes[outcome] -= 1
                totals.passed += 1


def _phrases(series: _Series, listed: Sequence[MeterEvent], held: Sequence[tuple[int, int]], counted: Sequence[tuple[int, int]]) -> Iterator[str]:
    customer, meter = series
    latest = dict(counted)  # of one millisecond the last in the log
    told = [(event.reading.happened_ms, event.value) for event in listed if event.reading is not None]
    for happened_ms, value in told:
        if latest.get(happened_ms) != value and (happened_ms, value) not in held:
            yield f"tells the value {value} of {meter} for {customer}, which no tally holds of that time"
    if len(set(told)) != len(told):
        yield f"tells a value of {meter} for {customer} twice"
    for happened_ms, value in {*held, *latest.items()}:
        if (happened_ms, value) not in told and not any(_covers(event, happened_ms) for event in listed):
            yield f"leaves out the value {value} of {meter} for {customer}, and tells no later one"


def _covers(event: MeterEvent, happened_ms: int) -> bool:
    return event.reading is not None and event.reading.happened_ms >= happened_ms and event.reading.since_s * 1000 <= happened_ms


def _takes_the_place(told: ReadingTime, event: MeterEvent) -> bool:
    return event.reading is not None and told.happened_ms > event.reading.happened_ms and told.since_s * 1000 <= event.reading.happened_ms


def _is_of(event: MeterEvent, series: _Series) -> bool:
    return (event.customer, event.meter) == series
