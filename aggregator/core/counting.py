"""The aggregator's core: one partition's records in, tallies and dead letters out. Synchronous, without I/O and without a clock.

Life of a PartitionCounter:

    observe(tally)...      fold usage.tallies from a checkpoint to its end (or found() where there is none)
    remember(record)...    re-read the records inside `memory`, to know their ids
    count_many(records)... fold new records; cut() takes what was folded as a tally to append
    observe(own tally)     its append was accepted: what it counted is final
    observe(other tally)   somebody else's was: what was folded is forgotten, and counting goes on from that tally's end
    follow(timeline)       more is known of the versions of the catalogue: each record is counted by that which is in force at its log time
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX

from aggregator.core.counting_rules import CountingRules
from aggregator.core.judging import Circumstances, Code, judge
from aggregator.core.log_columns import LogColumns, columns_of
from aggregator.core.noting import JudgedEvents, Noting
from aggregator.core.numbering import Numbering, at_log_times
from aggregator.core.pending_tally import Cut, Pending
from aggregator.core.sequences import SequenceIndex, merged
from aggregator.core.uncounted_places import UncountedPlaces
from aggregator.ids.fingerprints import Mask
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_index import IdIndex
from aggregator.reading.events import Reading, RefusedRecord
from aggregator.reading.origins import origin_of_batch
from aggregator.reading.series import SeriesTable
from aggregator.sums.rows import Rows
from aggregator.sums.series_meters import SeriesMeters
from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.folds.tallies import Tallies
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.integer_columns import Integers
from metering.records.record import LogRecord
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.records.tally import NO_DIGESTED_EMITTERS, EventCounts, RecordCounts, Tally, encode_tally

TALLIES_PER_CHECKPOINT: Final = 200
EMITTERS_PER_TALLY: Final = 64  # a checkpoint with many emitters is written as many tallies later


class PartitionCounter:
    """Counts one partition of usage.events. Every method may raise FailClosed: the partition must then stop, and this object be dropped."""

    def __init__(self, partition: int, rules: CountingRules, tallies: Tallies, archive: IdArchive | None = None) -> None:
        self.partition = partition
        self.tallies = tallies
        self.ids = IdIndex(rules.deduplication_horizon_ms, archive)
        self.sequences = SequenceIndex()
        self.timeline = rules.timeline
        self._rules = rules
        self._version = self.timeline.in_force(tallies.log_time_ms)
        self._series = SeriesTable(self.ids.identities, lambda customer: rules.partition_of(customer) == partition)
        self._reader = rules.make_reader(partition, self._version.catalogue.known_fields, self._series)
        self._meters = SeriesMeters(self._version.catalogue, self._series)
        self._rows = Rows(self._version.catalogue, self._series, self._meters)
        self._numbering = Numbering(partition, self.sequences)
        self._noting = Noting(partition, rules, self._series, self._version.catalogue)
        self._not_counted = UncountedPlaces()  # of the records whose ids are learnt
        self.stepped_over: list[range] = []  # offsets that must not be read again
        self._tallies_to_checkpoint = 0  # a new owner begins with one
        self._chain_id: str | None = None
        self._cut: Tally | None = None
        self.position = tallies.chain.end
        self._pending = Pending(start=self.position, log_time_ms=tallies.log_time_ms)

    # Taking over

    def found(self, start: int, chain_id: str) -> None:
        """There is no tally yet: found the chain at this offset of usage.events."""
        if self.tallies.chain.head != NO_OFFSET:
            raise ChainBroken(f"partition {self.partition} has tallies already")
        self._chain_id = chain_id
        self._reset(start)

    def observe(self, offset: int, tally: Tally) -> bool:
        """Fold a record of usage.tallies, in log order. Returns whether it is accepted."""
        if not self.tallies.fold(offset, tally):
            return False
        self._chain_id = tally.chain_id
        if tally is self._cut:
            self._commit(tally)
            return True
        if tally.adjustment is not None:
            return True  # it covers nothing, so what is pending still continues the chain
        self._rollback(self.tallies.chain.end)
        self.sequences.restore(tally)
        self._not_counted.add(tally)
        if tally.stepped_over is not None:
            self.stepped_over.append(range(tally.link.start, tally.link.end))
        return True

    def remember(self, records: Sequence[LogRecord]) -> None:
        """Re-read records that accepted tallies have counted, in log order, to know their ids. Call `remembered()` after the last ones."""
        self._series_are_bounded()
        columns = columns_of(records)
        late = np.flatnonzero(columns.moments > self.tallies.log_time_ms)
        if len(late) and self.tallies.losses.last == NO_OFFSET:
            # A tally's log time is the latest of what it counted: this is another record than the one that was counted here.
            offset = int(columns.offsets[late[0]])
            raise ChainBroken(f"record {offset} of partition {self.partition} was appended after it was counted: the log was cut and went on")
        events = self._reader.read(records).events
        # An event without an id has zeros. One of another partition was forwarded, and is known where it is counted.
        wanted = events.fingerprints.any(axis=1) & self._series.are_home(events.series)
        self._leave_out_uncounted(wanted, events.records, columns)
        events = events.chosen(wanted)
        if len(events.times):
            moments = columns.moments[events.records]
            self.ids.remember(self._series.identities(events), self._series.contents(events), int(moments.max()))

    def remembered(self) -> None:
        """All records that had to be re-read were."""
        self.ids.commit(self.tallies.log_time_ms)
        self._not_counted = UncountedPlaces()

    # The versions of the catalogue

    def follow(self, timeline: CatalogueTimeline) -> bool:
        """More is known of the versions. Returns whether what is pending is still counted by the right one; if not, drop this object."""
        self.timeline = timeline
        if timeline.in_force(self._pending.log_time_ms).number == self._version.number:
            return True
        if self.pending_records:
            return False
        self._count_by(timeline.in_force(self._pending.log_time_ms))
        return True

    @property
    def log_time_ms(self) -> int:
        """The latest log time of what is counted, pending or not, Unix ms."""
        return self._pending.log_time_ms

    def is_known(self, log_time_ms: int) -> bool:
        """Whether the version is known by which a record of this log time is counted, if it comes next. If not, read on and `follow`."""
        return max(self._pending.log_time_ms, log_time_ms) < self.timeline.known_until_ms

    # Counting

    def count_many(self, records: Sequence[LogRecord], until_bytes: int) -> int:
        """Fold the next records of usage.events, as `count` does one by one, until `pending_bytes` reaches `until_bytes`; returns how many.

        What goes beyond `until_bytes` is at most what one record of the largest size would. It ends before a record whose version of the catalogue
        is not known (`is_known`), and before one of another version while something is pending: then `cut`.
        """
        self._series_are_bounded()
        columns = columns_of(records)
        alike = self._of_one_version(columns)
        if not alike:
            return 0
        if alike < len(records):
            records = records[:alike]
            columns = columns_of(records)
        reading = self._reader.read(records)
        self._pending.ways = self._pending.ways.plus(reading.ways)
        of_events = reading.events.records
        start = first = 0
        while start < len(records):
            end, last = len(records), len(of_events)
            if last - first > BATCH_EVENTS_MAX:  # up to the record whose events are too many
                end = max(start + 1, int(of_events[first + BATCH_EVENTS_MAX]))
                last = int(of_events.searchsorted(end))
            self._fold(records, columns, reading, range(start, end), range(first, last))
            start, first = end, last
            if self.pending_bytes >= until_bytes:
                break
        return start

    def count(self, record: LogRecord) -> None:
        """Fold the next record of usage.events, which is of the version of what is pending."""
        if not self.count_many((record,), sys.maxsize):
            raise ChainBroken(f"record {record.offset} of partition {self.partition} is of another version of the catalogue, or of one not known")

    def skip_to(self, end: int) -> None:
        """Fold offsets up to `end`, which hold no record, as is proved."""
        self._enter(end)
        self.position = end

    @property
    def pending_records(self) -> int:
        """Records folded since the last cut."""
        return self.position - self._pending.start

    @property
    def pending_input_bytes(self) -> int:
        """Bytes of the values folded since the last cut."""
        return self._pending.input_bytes

    @property
    def pending_bytes(self) -> int:
        """About how large the record of the next tally would be."""
        return self._rows.bytes + self._pending.entry_bytes

    def cut(self) -> Cut:
        """Take what was folded as a tally (an empty one if nothing was). Until it is settled by `observe`, nothing more may be counted."""
        chain = self.tallies.chain
        if self._chain_id is None:
            raise ChainBroken("the chain was neither found nor founded")
        if not self.is_known(0):
            raise ChainBroken("the version of the catalogue is not known by which this tally would be counted")
        checkpoint = self._tallies_to_checkpoint <= 0
        pending, catalogue = self._pending, self._version.catalogue
        rows, latest = self._rows.take()
        tally = Tally(
            chain_id=self._chain_id,
            partition=self.partition,
            link=ChainLink(pending.start, self.position, chain.head),
            checkpoint=self.tallies.checkpoint,
            instance=self._rules.instance,
            catalogue=catalogue.version,
            log_time_ms=pending.log_time_ms,
            records=RecordCounts(pending.heartbeats, pending.batches, pending.singles, pending.skipped),
            events=EventCounts(pending.counted, pending.duplicates, len(pending.forwards), pending.dead),
            rows=rows,
            ranges=merged(pending.ranges),
            finals=sorted(pending.finals.items()),
            abandoned=pending.abandoned,
            dropped=sorted(pending.dropped.items()),
            emitter_states=self.sequences.states() if checkpoint else None,
            digested_emitters=self.sequences.digested() if checkpoint else NO_DIGESTED_EMITTERS,
            emitters_from_ms=self.sequences.known_from_ms,
            set_aside=pending.set_aside(),
            not_counted=pending.not_counted,
            horizon_ms=self.ids.horizon_ms,
            catalogue_definition=catalogue.definition if checkpoint or catalogue.version != self.tallies.catalogue else None,
            losses=self.tallies.losses,
            unknown_usage=[(name, *found) for name, found in sorted(pending.unknown.items())],
            latest=latest,
        )
        self._cut = tally
        value = encode_tally(tally)
        if checkpoint and len(value) > CHAIN_RECORD_BYTES_MAX:  # the next tally may have room for what is known of emitters
            tally = self._cut = replace(tally, emitter_states=None, digested_emitters=NO_DIGESTED_EMITTERS)
            value = encode_tally(tally)
        return Cut(tally, value, pending.letters, pending.forwards, pending.ahead, pending.ways)

    # Inside

    def _of_one_version(self, columns: LogColumns) -> int:
        """How many of the records, from the first on, are counted by the version of what is pending; by that of the first if nothing is."""
        if not len(columns.moments):
            return 0
        moments, timeline = columns.moments, self.timeline
        first = max(int(moments[0]), self._pending.log_time_ms)
        if first >= timeline.known_until_ms:
            return 0
        version = timeline.in_force(first)
        if version.number != self._version.number:
            if self.pending_records:
                return 0
            self._count_by(version)
        end = min(timeline.end_of(version), timeline.known_until_ms)
        return len(moments) if moments.max() < end else int(np.argmax(moments >= end))

    def _count_by(self, version: CatalogueVersion) -> None:
        """From now on. Nothing is pending."""
        self._version = version
        self._reader = self._rules.make_reader(self.partition, version.catalogue.known_fields, self._series)
        self._meters = SeriesMeters(version.catalogue, self._series)
        self._rows = Rows(version.catalogue, self._series, self._meters)
        self._noting.catalogue = version.catalogue

    def _enter(self, offset: int) -> None:
        """The next record is at this offset."""
        if offset < self.position:
            raise ChainBroken(f"record {offset} of partition {self.partition} was counted already; next is {self.position}")
        if offset > self.position:
            self._pending.skipped += offset - self.position
            self._pending.pass_over(self.position, offset)

    def _leave_out_uncounted(self, wanted: Mask, records: Integers, columns: LogColumns) -> None:
        """Take out of `wanted` the events that accepted tallies name as not counted. `records`: the place of the record of each event."""
        for place, offset in enumerate(columns.offsets.tolist()):
            not_counted = self._not_counted.of(offset)
            if not_counted is None or not_counted:
                first, end = records.searchsorted([place, place + 1]).tolist()
                chosen = range(end - first) if not_counted is None else [index for index in not_counted if index < end - first]
                wanted[[first + index for index in chosen]] = False

    def _series_are_bounded(self) -> None:
        """Restart the numbering of the series when there are too many."""
        if self._series.is_full:
            self._rows.move()
            self._series.clear()
            self._reader.forget()

    def _fold(self, records: Sequence[LogRecord], columns: LogColumns, reading: Reading, part: range, events_part: range) -> None:
        """Fold these of the records, in log order, whose events are these of all events."""
        pending, events = self._pending, self._meters.sorted_out(reading.events.part(events_part.start, events_part.stop))
        batches = [batch for batch in reading.batches if batch.record in part]
        heartbeats = {place: beat for place, beat in reading.heartbeats.items() if place in part}
        refusals = {place: refusal for place, refusal in reading.refusals.items() if place in part}
        self._enter_all(columns, part)
        whole_batches = len(batches) + sum(refusal.is_batch for refusal in refusals.values())
        pending.batches += whole_batches
        pending.heartbeats += len(heartbeats)
        pending.singles += len(part) - whole_batches - len(heartbeats)
        moments = columns.moments[events.records]
        numbers = self._numbering.claim(pending, events, columns, batches, heartbeats)
        codes = numbers.codes
        if batches:
            events = at_log_times(pending, events, moments, batches, codes)
        meters = self._meters
        about = Circumstances(
            moments, numbers.numbered, numbers.known_from, self._ids_known_from(moments), meters.below_zero(events), meters.count_whatever(events)
        )
        judge(events, codes, about, self._series, self.ids)
        by_record = {batch.record: batch for batch in batches}
        for place, rejected in numbers.refused.items():
            batch = by_record[place]
            series = events.series[events.records == place]
            refusals[place] = RefusedRecord(rejected, batch.count, origin_of_batch(batch.emitter, self._noting.customers(series)), is_batch=True)
        all_count = not codes.any()
        if refusals or heartbeats or not all_count:
            self._noting.note(pending, JudgedEvents(records, columns, part, events, codes, by_record, refusals, heartbeats))
        if not all_count:
            events = events.chosen(codes == Code.COUNTED)
        self._rows.add(events)
        pending.counted += len(events.times)
        for _, name, quantity in events.unknown:
            pending.add_unknown(name, 1, quantity)

    def _ids_known_from(self, moments: Integers) -> Integers:
        """The own time before which an event of these log times may have been counted although its id is not known."""
        return np.maximum(moments - self.ids.horizon_ms, self.tallies.losses.ids_from_ms)

    def _enter_all(self, columns: LogColumns, part: range) -> None:
        """The next records are these."""
        pending, offsets = self._pending, columns.offsets[part.start : part.stop]
        first, last = int(offsets[0]), int(offsets[-1])
        self._enter(first)
        if len(part) > 1 and (np.diff(offsets) <= 0).any():
            raise ChainBroken(f"records of partition {self.partition} are not in order from offset {first} on")
        pending.skipped += last + 1 - first - len(part)
        self.position = last + 1
        pending.log_time_ms = max(pending.log_time_ms, int(columns.moments[part.start : part.stop].max()))
        pending.input_bytes += int(columns.sizes[part.start : part.stop].sum())

    def _commit(self, tally: Tally) -> None:
        self.sequences.commit(tally.log_time_ms)
        self.ids.commit(tally.log_time_ms)
        if tally.emitter_states is not None:
            self._tallies_to_checkpoint = TALLIES_PER_CHECKPOINT + len(self.sequences) // EMITTERS_PER_TALLY
        else:
            self._tallies_to_checkpoint -= 1
        self._reset(self.tallies.chain.end)

    def _rollback(self, position: int) -> None:
        self.sequences.rollback()
        self.ids.rollback()
        self._rows.clear()
        self._reset(position)

    def _reset(self, position: int) -> None:
        """Nothing is folded; the next record is at `position`."""
        self.position = position
        self._cut = None
        self._pending = Pending(start=position, log_time_ms=self.tallies.log_time_ms)
        version = self.timeline.in_force(self.tallies.log_time_ms)
        if version.number != self._version.number:
            self._count_by(version)
