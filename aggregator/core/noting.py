"""Writes down what became of events that do not count: dead letters, forwarded events, and the places of the others. Pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent, check_not_in_future

from aggregator.core.counting_rules import CountingRules
from aggregator.core.judging import NOT_COUNTED, REASONS, Code, Codes
from aggregator.core.log_columns import LogColumns
from aggregator.core.pending_tally import Pending
from aggregator.reading.decoding import read
from aggregator.reading.events import Events, NumberedBatch, RefusedRecord
from aggregator.reading.origins import claimed, origin_of_batch, origin_of_event
from aggregator.reading.series import SeriesTable
from metering.records.dead_letter import DeadLetter
from metering.records.integer_columns import Integers
from metering.records.meters import Catalogue, below_zero_text
from metering.records.record import LogRecord
from metering.records.tally import WhyNotCounted


class JudgedEvents(NamedTuple):
    """Those in `part` of some records, and their events with the code of each. Batches, refusals and heartbeats are by the place of the record."""

    records: Sequence[LogRecord]
    columns: LogColumns
    part: range
    events: Events
    codes: Codes
    batches: Mapping[int, NumberedBatch]
    refusals: Mapping[int, RefusedRecord]
    heartbeats: Mapping[int, object]


class Noting:
    """Notes what was judged of one partition. `catalogue` is what it was judged by."""

    def __init__(self, partition: int, rules: CountingRules, series: SeriesTable, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._partition = partition
        self._rules = rules
        self._series = series

    def note(self, pending: Pending, judged: JudgedEvents) -> None:
        """Note all that does not count, in the order of the log."""
        events, codes = judged.events, judged.codes
        not_counted = np.flatnonzero(codes)
        found = zip(events.records[not_counted].tolist(), not_counted.tolist(), codes[not_counted].tolist(), strict=True)
        groups = {record: list(group) for record, group in groupby(found, itemgetter(0))}
        for place in sorted(judged.refusals.keys() | groups.keys()) if judged.refusals else groups:
            self._pass_over(pending, judged, place)
            refusal = judged.refusals.get(place)
            if refusal is not None:
                self._dead_letter(pending, judged.records[place], refusal)
            elif place in judged.batches:
                self._note_batch(pending, judged, judged.batches[place], [(event, code) for _, event, code in groups[place]])
            else:
                self._note_single(pending, judged.records[place], groups[place][0][2])
        self._pass_over(pending, judged, judged.part.stop)

    def _pass_over(self, pending: Pending, judged: JudgedEvents, place: int) -> None:
        """Note the offsets without events right before this record; there may be none."""
        offsets = judged.columns.offsets
        before = place - 1
        while before >= judged.part.start and before in judged.heartbeats:
            before -= 1
        start = int(offsets[before]) + 1 if before >= judged.part.start else int(offsets[judged.part.start])
        end = int(offsets[place]) if place < judged.part.stop else int(offsets[judged.part.stop - 1]) + 1
        if start < end:
            pending.pass_over(start, end)

    def _note_single(self, pending: Pending, record: LogRecord, code: int) -> None:
        if code == Code.DUPLICATE:
            pending.duplicates += 1
            pending.add_not_counted(record.offset, WhyNotCounted.DUPLICATE)
            return
        event = read(record)
        assert isinstance(event, UsageEvent), "a single event was read from this record"
        if code == Code.FOREIGN:
            pending.forwards.append(event)
            pending.add_not_counted(record.offset, WhyNotCounted.FORWARDED)
        elif code == Code.CONFLICT:
            conflict = EventRejected(Reason.CONFLICT, "id", "the same customer, source and id was counted with other content")
            self._dead_letter(pending, record, RefusedRecord(conflict, *claimed(record)))
        else:
            self._dead_letter(pending, record, RefusedRecord(self._why(event, record, code), 1, origin_of_event(event)))

    def _why(self, event: UsageEvent, record: LogRecord, code: int) -> EventRejected:
        """Of a single event."""
        if code == Code.PAST_HORIZON:
            return EventRejected(Reason.PAST_HORIZON, "time", "older than ids are remembered: it may have been counted")
        if code == Code.UNKNOWN_USAGE:
            meters = self.catalogue.of(event.dimensions)
            name, _ = meters.unknown_in(event.usage)[0]
            return EventRejected(Reason.UNKNOWN_USAGE_FIELD, f"usage.{name}", meters.why_unknown(name))
        if code == Code.BELOW_ZERO:
            meter = self.catalogue.of(event.dimensions).below_zero(event.usage)
            assert meter is not None, "it was judged so"
            return EventRejected(Reason.BELOW_ZERO, f"usage.{meter.less[0]}", below_zero_text(meter, event.usage))
        try:
            check_not_in_future(event.time_ms, record.timestamp)
        except EventRejected as rejected:
            return rejected
        raise AssertionError(f"code {code} of a single event")

    def _note_batch(self, pending: Pending, judged: JudgedEvents, batch: NumberedBatch, found: Sequence[tuple[int, int]]) -> None:
        """`found`: event and code of each event of a batch that does not count."""
        record = judged.records[batch.record]
        first = int(judged.events.records.searchsorted(batch.record))
        for code, group in groupby(sorted(found, key=itemgetter(1)), itemgetter(1)):
            places = [event for event, _ in group]
            indexes = [event - first for event in places]
            if code in NOT_COUNTED:
                pending.duplicates += len(indexes)
                pending.add_some_not_counted(record.offset, indexes, batch.count, NOT_COUNTED[code])
            else:
                reason = REASONS[code]
                rejected = EventRejected(reason, "", f"{len(indexes)} of the {batch.count} events of this batch")
                origin = origin_of_batch(batch.emitter, self.customers(judged.events.series[places]))
                self._dead_letter(pending, record, RefusedRecord(rejected, len(indexes), origin, is_batch=True), indexes)

    def customers(self, series: Integers) -> Sequence[str]:
        """Whose these series are."""
        return [self._series.names[number][0] for number in series.tolist()]

    def _dead_letter(self, pending: Pending, record: LogRecord, refusal: RefusedRecord, indexes: Sequence[int] = ()) -> None:
        rejected, events, origin, _ = refusal
        pending.add_dead_letter(
            DeadLetter(
                topic=self._rules.topic,
                partition=self._partition,
                offset=record.offset,
                log_time_ms=record.timestamp,
                reason=rejected.reason,
                field=rejected.field,
                detail=rejected.detail,
                indexes=indexes,
                events=events,
                key=record.key,
                value=record.value,
                headers=tuple(record.headers),
                origin=origin,
            )
        )
