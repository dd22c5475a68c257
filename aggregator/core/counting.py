"""The aggregator's core: one partition's records in, tallies and dead letters out. Synchronous, without I/O and without a clock.

Life of a PartitionCounter:

    observe(tally)...      fold usage.tallies from a checkpoint to its end (or found() where there is none)
    remember(record)...    re-read the records inside `memory`, to know their ids
    count_many(records)... fold new records; cut() takes what was folded as a tally to append
    observe(own tally)     its append was accepted: what it counted is final
    observe(other tally)   somebody else's was: what was folded is forgotten, and counting goes on from that tally's end
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
from taximeter_emitter.wire.batch import NO_ID, Batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent, check_not_in_future
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from aggregator.core.counting_rules import CountingRules
from aggregator.core.pending_tally import Cut, Pending
from aggregator.core.sequences import SequenceIndex, merged
from aggregator.core.uncounted_places import UncountedPlaces
from aggregator.ids.fingerprints import Fingerprints, Words, fingerprints_of
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_index import IdIndex, Seen, content_of
from aggregator.reading.decoding import decode_all, has_id, read
from aggregator.reading.joined_batches import alike, first_batches, join
from aggregator.reading.origins import claimed, origin_of_batch, origin_of_event
from aggregator.reading.plain_events import PlainColumns, PlainEvents, first_run
from aggregator.reading.screening import set_aside_reasons, unknown_usage
from aggregator.reading.stamped_times import at_log_time
from aggregator.sums.plain_sums import PlainSums
from aggregator.sums.rows import Rows
from metering.folds.tallies import Tallies
from metering.records.batch_decoding import KnownTexts
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.dead_letter import DeadLetter, Origin
from metering.records.fail_closed import ChainBroken
from metering.records.integer_columns import greatest, least
from metering.records.record import LogRecord
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.records.tally import NO_DIGESTED_EMITTERS, EventCounts, RecordCounts, Tally, WhyNotCounted, encode_tally

TALLIES_PER_CHECKPOINT: Final = 200
EMITTERS_PER_TALLY: Final = 64  # a checkpoint with many emitters is written as many tallies later
_timestamp = attrgetter("timestamp")
_value = attrgetter("value")


class _BatchIds(NamedTuple):
    """The identities of the events of a batch, which mean nothing for one without an id, and their content numbers; empty if none has an id."""

    identities: Fingerprints
    contents: Words


_NO_IDS: Final = _BatchIds(np.zeros((0, 2), np.uint64), np.zeros(0, np.uint64))


class PartitionCounter:
    """Counts one partition of usage.events. Every method may raise FailClosed: the partition must then stop, and this object be dropped."""

    def __init__(self, partition: int, rules: CountingRules, tallies: Tallies, archive: IdArchive | None = None) -> None:
        self.partition = partition
        self.tallies = tallies
        self.ids = IdIndex(rules.deduplication_horizon_ms, archive)
        self.sequences = SequenceIndex()
        self._rules = rules
        self._rows = Rows(rules.catalogue)
        self._known = KnownTexts()  # the customers in it are at home in this partition
        self._plain = PlainEvents(rules.catalogue.known_fields, lambda customer: rules.partition_of(customer) == partition, self.ids.identities)
        self._plain_sums = PlainSums(rules.catalogue, self._plain)
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

    def remember(self, record: LogRecord) -> None:
        """Re-read a record that an accepted tally has counted, to know its ids. Call `remembered()` after the last one."""
        if record.timestamp > self.tallies.log_time_ms and self.tallies.losses.last == NO_OFFSET:
            # A tally's log time is the latest of what it counted: this is another record than the one that was counted here.
            raise ChainBroken(f"record {record.offset} of partition {self.partition} was appended after it was counted: the log was cut and went on")
        not_counted = self._not_counted.of(record.offset)
        if not_counted is None:
            return
        try:
            content = read(record, self._known)
        except EventRejected:
            return
        if isinstance(content, UsageEvent):
            if self._rules.partition_of(content.customer) != self.partition:
                return  # it was forwarded, and is known where it is counted
            number = content_of(content.customer, content.dimensions, content.usage)
            identity = self.ids.identities.of(content.customer, content.fingerprint)
            self.ids.remember(fingerprints_of(identity), np.array([number], np.uint64), record.timestamp)
        elif content.ids:
            self._remember_batch(content, not_counted, record.timestamp)

    def remembered(self) -> None:
        """All records that had to be re-read were."""
        self.ids.commit(self.tallies.log_time_ms)
        self._not_counted = UncountedPlaces()

    # Counting

    def count_many(self, records: Sequence[LogRecord], until_bytes: int) -> int:
        """Fold the next records of usage.events, as `count` does one by one, until `pending_bytes` reaches `until_bytes`; returns how many.

        Single events are folded in runs: what goes beyond `until_bytes` is at most what one record of the largest size would.
        """
        taken = 0
        while taken < len(records):
            run = first_run(records, taken)
            batches = first_batches(records, taken) if not run else ()
            if len(run) >= self._rules.run_min:
                taken += self._count_run(run, until_bytes)
            elif len(batches) >= self._rules.batches_min:
                taken += self._count_batches(batches, until_bytes)
            else:
                self.count(records[taken])
                taken += 1
            if self.pending_bytes >= until_bytes:
                break
        return taken

    def count(self, record: LogRecord) -> None:
        """Fold the next record of usage.events."""
        self._enter(record.offset)
        self.position = record.offset + 1
        self._pending.log_time_ms = max(self._pending.log_time_ms, record.timestamp)
        self._pending.input_bytes += len(record.value or b"")
        try:
            content = read(record, self._known)
        except EventRejected as rejected:
            unread = claimed(record)
            self._pending.singles += 1
            self._dead_letter(record, rejected, unread.events, unread.origin)
            return
        if isinstance(content, UsageEvent):
            self._pending.singles += 1
            self._count_event(record, content)
        elif not content.count:
            self._pending.heartbeats += 1
            self._pending.pass_over(record.offset, record.offset + 1)
            self._heartbeat(record, content)
        else:
            self._pending.batches += 1
            self._count_batch(record, content)

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
        return self._rows.bytes + self._plain_sums.bytes + self._pending.entry_bytes

    def cut(self) -> Cut:
        """Take what was folded as a tally (an empty one if nothing was). Until it is settled by `observe`, nothing more may be counted."""
        chain = self.tallies.chain
        if self._chain_id is None:
            raise ChainBroken("the chain was neither found nor founded")
        checkpoint = self._tallies_to_checkpoint <= 0
        pending, catalogue = self._pending, self._rules.catalogue
        self._plain_sums.move_to(self._rows)
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
            rows=self._rows.take(),
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
        )
        self._cut = tally
        value = encode_tally(tally)
        if checkpoint and len(value) > CHAIN_RECORD_BYTES_MAX:  # the next tally may have room for what is known of emitters
            tally = self._cut = replace(tally, emitter_states=None, digested_emitters=NO_DIGESTED_EMITTERS)
            value = encode_tally(tally)
        return Cut(tally, value, pending.letters, pending.forwards, pending.ahead)

    # Inside

    def _enter(self, offset: int) -> None:
        """The next record is at this offset."""
        if offset < self.position:
            raise ChainBroken(f"record {offset} of partition {self.partition} was counted already; next is {self.position}")
        if offset > self.position:
            self._pending.skipped += offset - self.position
            self._pending.pass_over(self.position, offset)

    def _count_run(self, records: Sequence[LogRecord], until_bytes: int) -> int:
        """Fold records that may be plain events, and have a value; returns how many."""
        if self._plain.is_full:
            self._plain_sums.move_to(self._rows)
            self._plain.forget()
        moments = np.array(list(map(_timestamp, records)), np.int64)
        known_from = np.maximum(moments - self.ids.horizon_ms, self.tallies.losses.ids_from_ms)
        odd, plain = self._plain.read(records, moments, known_from, moments + FUTURE_TOLERANCE_MS)
        if plain is not None and not odd:
            self._count_plain(records, plain)
            return len(records)
        start = columns = 0
        for place in (*odd, len(records)):
            if plain is not None and place > start:
                self._count_plain(records[start:place], plain.part(columns, columns + place - start))
                columns += place - start
            if place == len(records) or (place and self.pending_bytes >= until_bytes):
                return place
            self.count(records[place])
            start = place + 1
        return len(records)

    def _count_batches(self, records: Sequence[LogRecord], until_bytes: int) -> int:
        """Fold records that look like small batches, and have a value; returns how many."""
        documents = decode_all(list(map(_value, records)))
        taken = 0
        while taken < len(records):
            similar = alike(documents, taken)
            end = taken + max(1, similar)
            if similar < self._rules.batches_min or not self._count_joined(records[taken:end], documents[taken:end]):
                for place in range(taken, end):
                    self.count(records[place])
                    if self.pending_bytes >= until_bytes:
                        return place + 1
            taken = end
            if self.pending_bytes >= until_bytes:
                break
        return taken

    def _count_joined(self, records: Sequence[LogRecord], documents: Sequence[Any]) -> bool:
        """Fold batches that are alike and follow each other without a gap, if nothing in them is unusual; otherwise changes nothing."""
        log_times = list(map(_timestamp, records))
        joined = join(
            documents,
            log_times,
            partition=self.partition,
            fields=self._rules.catalogue.known_fields,
            known=self._known,
            partition_of=self._rules.partition_of,
        )
        if joined is None:
            return False
        ranges = self.sequences.claim_following(joined.emitters, joined.firsts, joined.counts, log_times, latest_ms=joined.latest_ms)
        if not ranges:
            return False
        pending = self._pending
        self._enter(records[0].offset)
        self.position = records[-1].offset + 1
        pending.log_time_ms = max(pending.log_time_ms, *log_times)
        pending.input_bytes += sum(map(len, map(_value, records)))
        pending.batches += len(records)
        pending.counted += joined.events.count
        for emitter, first, last in ranges:
            pending.add_ranges(emitter, [(first, last)])
        for emitter, ahead in joined.ahead.items():
            pending.add_ahead(emitter, ahead)
        self._rows.add_batch(joined.events, None)
        return True

    def _count_plain(self, records: Sequence[LogRecord], plain: PlainColumns) -> None:
        """Fold plain events. Offsets between them hold no record."""
        pending = self._pending
        self._enter(records[0].offset)
        self.position = records[-1].offset + 1
        pending.skipped += self.position - records[0].offset - len(records)
        pending.log_time_ms = max(pending.log_time_ms, *map(_timestamp, records))
        pending.input_bytes += sum(map(len, map(_value, records)))
        pending.singles += len(records)
        new = self.ids.claim(plain.identities, plain.contents)
        not_new = np.flatnonzero(~new).tolist()
        for place in not_new:
            if place and records[place].offset > records[place - 1].offset + 1:
                pending.pass_over(records[place - 1].offset + 1, records[place].offset)
            self._count_seen(records[place], plain.identities[place].tobytes(), int(plain.contents[place]))
        pending.counted += len(records) - len(not_new)
        if not_new:
            plain = plain.chosen(new)
        if len(plain):
            self._plain_sums.add(plain, self._rows)

    def _count_event(self, record: LogRecord, event: UsageEvent) -> None:
        try:
            check_not_in_future(event.time_ms, record.timestamp)
        except EventRejected as rejected:
            self._dead_letter(record, rejected, 1, origin_of_event(event))
            return
        unknown = self._rules.catalogue.unknown_in(event.usage)
        if unknown and self._rules.catalogue.knows_nothing_of(event.usage):
            refusal = EventRejected(Reason.UNKNOWN_USAGE_FIELD, f"usage.{unknown[0][0]}", "no meter of the catalogue sums it")
            self._dead_letter(record, refusal, 1, origin_of_event(event))
            return
        if self._rules.partition_of(event.customer) != self.partition:
            self._pending.forwards.append(event)
            self._pending.add_not_counted(record.offset, WhyNotCounted.FORWARDED)
            return
        identity, content = self.ids.identities.of(event.customer, event.fingerprint), content_of(event.customer, event.dimensions, event.usage)
        if self.ids.look_up(identity, content) is not Seen.NEVER:
            self._count_seen(record, identity, content)
        elif event.time_ms < self._ids_known_from(record):
            refusal = EventRejected(Reason.PAST_HORIZON, "time", "older than ids are remembered: it may have been counted")
            self._dead_letter(record, refusal, 1, origin_of_event(event))
        else:
            self.ids.add(identity, content)
            self._rows.add_event(event)
            self._pending.counted += 1
            for name, quantity in unknown:
                self._pending.add_unknown(name, 1, quantity)

    def _count_seen(self, record: LogRecord, identity: bytes, content: int) -> None:
        """Count an event whose identity is known."""
        if self.ids.look_up(identity, content) is Seen.SAME:
            self._pending.duplicates += 1
            self._pending.add_not_counted(record.offset, WhyNotCounted.DUPLICATE)
        else:
            refusal = EventRejected(Reason.CONFLICT, "id", "the same customer, source and id was counted with other content")
            self._dead_letter(record, refusal, *claimed(record))

    def _heartbeat(self, record: LogRecord, beat: Batch) -> None:
        if beat.partition != self.partition:
            return  # its numbers are of another partition: nothing to learn here
        final = beat.first_seq if beat.final else None
        self.sequences.heartbeat(beat.emitter, record.timestamp, final)
        if final is not None:
            self._pending.finals[beat.emitter] = final
        self._pending.abandoned += [(beat.emitter, first, last) for first, last in beat.abandoned]
        if beat.dropped:
            self._pending.dropped[beat.emitter] = beat.dropped

    def _count_batch(self, record: LogRecord, batch: Batch) -> None:
        if batch.partition != self.partition:
            detail = f"it was numbered for partition {batch.partition} and stands in {self.partition}"
            self._dead_letter(record, EventRejected(Reason.WRONG_PARTITION, "partition", detail), batch.count, origin_of_batch(batch, ()))
            return
        try:
            ranges = self.sequences.claim(
                batch.emitter, batch.first_seq, batch.count, record.timestamp, latest_ms=batch.base_time_ms + greatest(batch.time)
            )
        except EventRejected as rejected:
            self._dead_letter(record, rejected, batch.count, origin_of_batch(batch, ()))
            return
        if not ranges:
            self._pending.duplicates += batch.count
            self._pending.add_not_counted(record.offset, WhyNotCounted.KNOWN_NUMBER)
            return
        self._pending.add_ranges(batch.emitter, ranges)
        batch, ahead = at_log_time(batch, record.timestamp)
        if ahead.events:
            self._pending.add_ahead(batch.emitter, ahead)
        reasons = set_aside_reasons(
            batch,
            record.timestamp,
            self._rules.catalogue,
            self._rules.partition_of,
            home=self._known.customers,
            numbers_from_ms=self.sequences.known_from(batch.emitter),
        )
        whole = not reasons and ranges[0] == (batch.first_seq, batch.first_seq + batch.count - 1)
        one_by_one: Sequence[int] = range(batch.count) if batch.ids or not whole else ()
        ids = self._batch_ids(batch)
        if whole and batch.ids and self._all_may_be_new(record, batch):
            one_by_one = np.flatnonzero(~self.ids.claim(*ids)).tolist()
        if not one_by_one:
            self._add_batch(batch, None)
            self._pending.counted += batch.count
            return
        keep = [False] * batch.count
        for first, last in ranges:
            keep[first - batch.first_seq : last + 1 - batch.first_seq] = [True] * (last - first + 1)
        known = [index for index, wanted in enumerate(keep) if not wanted]
        self._pending.add_some_not_counted(record.offset, known, batch.count, WhyNotCounted.KNOWN_NUMBER)
        self._count_some(record, batch, ids, keep, {index: reasons.get(index) for index in one_by_one})

    def _batch_ids(self, batch: Batch) -> _BatchIds:
        return _BatchIds(self.ids.identities.of_batch(batch), self._rows.contents(batch)) if batch.ids else _NO_IDS

    def _all_may_be_new(self, record: LogRecord, batch: Batch) -> bool:
        """Whether every event of a batch has an id, and is young enough to be counted if that is new."""
        oldest = self._ids_known_from(record) - batch.base_time_ms
        if oldest > 0 and least(batch.time) < oldest:
            return False
        # The first finds zeros anywhere, and is quick.
        return NO_ID not in batch.ids or bool(fingerprints_of(batch.ids).any(axis=1).all())

    def _count_some(self, record: LogRecord, batch: Batch, ids: _BatchIds, keep: list[bool], one_by_one: Mapping[int, Reason | None]) -> None:
        """Count the events of a batch, those at the positions `one_by_one` singly: they may be repeated, set aside for a reason that is known
        already, or carry no id.
        """
        oldest = self._ids_known_from(record) - batch.base_time_ms
        self._pending.duplicates += keep.count(False)
        again: list[int] = []
        bad: dict[Reason, list[int]] = {}
        for index, known in one_by_one.items():
            if not keep[index]:
                continue
            reason = known
            if reason is None and has_id(batch, index):
                identity, content = ids.identities[index].tobytes(), int(ids.contents[index])
                seen = self.ids.look_up(identity, content)
                if seen is Seen.SAME:
                    again.append(index)
                    keep[index] = False
                    continue
                if seen is Seen.OTHER_CONTENT:
                    reason = Reason.CONFLICT
                elif batch.time[index] < oldest:
                    reason = Reason.PAST_HORIZON
                else:
                    self.ids.add(identity, content)
            if reason is not None:
                bad.setdefault(reason, []).append(index)
                keep[index] = False
        self._pending.duplicates += len(again)
        self._pending.add_some_not_counted(record.offset, again, batch.count, WhyNotCounted.DUPLICATE)
        for reason, indexes in bad.items():
            refusal = EventRejected(reason, "", f"{len(indexes)} of the {batch.count} events of this batch")
            self._dead_letter(record, refusal, len(indexes), origin_of_batch(batch, indexes), indexes)
        self._add_batch(batch, keep)
        self._pending.counted += sum(keep)

    def _add_batch(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        """Add up those events of a batch that count (None: all)."""
        self._rows.add_batch(batch, keep)
        for name, events, units in unknown_usage(batch, keep, self._rules.catalogue):
            self._pending.add_unknown(name, events, units)

    def _ids_known_from(self, record: LogRecord) -> int:
        """The own time before which an event of this record may have been counted although its id is not known."""
        return max(record.timestamp - self.ids.horizon_ms, self.tallies.losses.ids_from_ms)

    def _remember_batch(self, batch: Batch, not_counted: Collection[int], log_time_ms: int) -> None:
        identities, contents = self._batch_ids(batch)
        wanted = (fingerprints_of(batch.ids) != 0).any(axis=1)
        wanted[[index for index in not_counted if index < batch.count]] = False
        self.ids.remember(identities[wanted], contents[wanted], log_time_ms)

    def _dead_letter(self, record: LogRecord, rejected: EventRejected, events: int, origin: Origin, indexes: Sequence[int] = ()) -> None:
        self._pending.add_dead_letter(
            DeadLetter(
                topic=self._rules.topic,
                partition=self.partition,
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
        self._plain_sums.clear()
        self._reset(position)

    def _reset(self, position: int) -> None:
        """Nothing is folded; the next record is at `position`."""
        self.position = position
        self._cut = None
        self._pending = Pending(start=position, log_time_ms=self.tallies.log_time_ms)
