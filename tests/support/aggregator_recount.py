"""A naive recount of what a tally says it counted: every event of its range but those that it names."""

from collections import Counter
from collections.abc import Iterable

from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions, UsageEvent

from aggregator.reading.decoding import read
from aggregator.reading.origins import claimed
from metering.records.meters import Catalogue, catalogue_from
from metering.records.record import LogRecord
from metering.records.tally import Tally

Sums = Counter[tuple[str, str, Dimensions, int]]


class Recount:
    """Takes accepted tallies in the order of their chain, with the records of each range. Asserts that each says what can be counted again."""

    def __init__(self) -> None:
        self._catalogues: dict[str, Catalogue] = {}
        self._previous = ""

    def check(self, tally: Tally, records: Iterable[LogRecord]) -> None:
        """Records outside the range of the tally are ignored."""
        self._learn(tally)
        dead = {(offset, index) for offset, indexes in tally.set_aside for index in indexes or (None,)}
        others: dict[tuple[int, int | None], str] = {}
        for run in tally.not_counted:
            assert tally.link.start <= run.offset < run.offset + run.offsets <= tally.link.end
            for offset in range(run.offset, run.offset + run.offsets):
                for index in range(run.first, run.first + run.events) if run.events else (None,):
                    assert others.setdefault((offset, index), run.why.value) == run.why.value
        sums: Sums = Counter()
        unknown: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for record in records:
            if tally.link.start <= record.offset < tally.link.end:
                for index, event in enumerate(_events(record)):
                    places = ((record.offset, None), (record.offset, index))
                    why = [others[place] for place in places if place in others]
                    why += ["dead" for place in places if place in dead]
                    assert len(why) <= 1, (record.offset, index, why)
                    found[why[0] if why else "counted"] += 1
                    if not why:
                        assert event is not None
                        self._add(sums, event, tally.catalogue)
                        known = self._catalogues[tally.catalogue].known_fields
                        unknown.update({name: quantity for name, quantity in event.usage if quantity and name not in known})
        assert (found["counted"], found["forwarded"]) == (tally.events.counted, tally.events.forwarded)
        assert found["duplicate"] + found["known_number"] == tally.events.duplicates
        assert found["dead"] == sum(tally.events.dead_lettered.values())
        assert unknown == {name: units for name, _, units in tally.unknown_usage}
        assert sums == Counter({(row.customer, row.meter, row.dimensions, row.window_start_ms): row.quantity for row in tally.rows})

    def _learn(self, tally: Tally) -> None:
        if tally.catalogue_definition is not None:
            self._catalogues[tally.catalogue] = catalogue_from(tally.catalogue_definition)
            assert self._catalogues[tally.catalogue].version == tally.catalogue
        assert (tally.catalogue_definition is not None) == (tally.emitter_states is not None or tally.catalogue != self._previous)
        assert tally.horizon_ms is not None
        self._previous = tally.catalogue

    def _add(self, sums: Sums, event: UsageEvent, catalogue: str) -> None:
        for meter in self._catalogues[catalogue].meters:
            quantity = sum(number for name, number in event.usage if name in meter.fields)
            if quantity:
                dimensions = tuple(pair for pair in event.dimensions if pair[0] in meter.dimensions)
                sums[event.customer, meter.event_name, dimensions, event.time_ms // 60_000 * 60_000] += quantity


def _time(batch: Batch, index: int, log_time_ms: int) -> int:
    time_ms = batch.base_time_ms + batch.time[index]
    stamped = batch.stamped if isinstance(batch.stamped, bool) else batch.stamped[index]
    return min(time_ms, log_time_ms) if stamped else time_ms


def _events(record: LogRecord) -> list[UsageEvent | None]:
    """The events of a record; None for each that cannot be read."""
    try:
        content = read(record)
    except EventRejected:
        return [None] * claimed(record).events
    if isinstance(content, UsageEvent):
        return [content]
    return [
        UsageEvent(
            event_id="",
            source="",
            customer=content.customers[series],
            time_ms=_time(content, index, record.timestamp),
            usage=tuple((name, column[index]) for name, column in content.usage.items()),
            dimensions=content.dimensions[content.series_dimensions[series]],
        )
        for index, series in enumerate(content.at[index] for index in range(content.count))
    ]
