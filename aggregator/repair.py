"""What retention took from one partition before it was counted, or before its ids could be forgotten; and accepting that, in the chain.

Nothing is guessed: a loss is exactly the offsets between the end of the chain and the first event that is kept. It is accepted by a tally,
appended and compared like every other, so it cannot count twice, nor against an aggregator that had the events after all.
"""

import secrets
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected, TaximeterError

from aggregator.core.sequences import SequenceIndex
from aggregator.ids.id_index import memory_ms
from aggregator.reading.decoding import read
from aggregator.tally_log import GoneIds, TallyLog, first_kept_ms, new_chain_id
from metering.folds.tallies import Tallies
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.records.chain import ChainLink
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.tally import Acceptance, EventCounts, RecordCounts, Tally, encode_tally

LOOK_AHEAD_RECORDS: Final = 5_000
"""How many of the kept events are read to find the numbers that emitters continued with."""


class NothingAccepted(TaximeterError):
    """The loss was not accepted; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class EmitterGap:
    """Numbers of one emitter that may be in what is lost: from `first` on, up to `last` if it went on afterwards (None: not known)."""

    emitter: str
    first: int
    last: int | None


@dataclass(frozen=True, slots=True)
class Lost:
    """What one partition lost: the events [start, end), none if they are equal, and the ids of events counted before.

    `ids_from_ms`: own times (Unix ms) of events whose ids are surely known begin here; 0 where all that matter are known. `ids_matter`: whether
    events that are still to be counted may be older than that, so that those with ids must be set aside. Log times are Unix ms, None where
    there is no such record.
    """

    partition: int
    start: int
    end: int
    last_counted_ms: int | None
    first_kept_ms: int | None
    ids_from_ms: int
    ids_matter: bool
    emitters: Sequence[EmitterGap]
    head: Tallies

    @property
    def records(self) -> int:
        """How many offsets are lost; some of them may have held no record."""
        return self.end - self.start

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "partition": self.partition,
            "start": self.start,
            "end": self.end,
            "lost_records": self.records,
            "last_counted_log_time_ms": self.last_counted_ms,
            "first_kept_log_time_ms": self.first_kept_ms,
            "ids_known_from_ms": self.ids_from_ms,
            "ids_matter": self.ids_matter,
            "accepted_before": self.head.losses.records,
            "emitters": [{"emitter": gap.emitter, "first": gap.first, "last": gap.last} for gap in self.emitters],
        }


class AcceptingLoss:
    """One partition. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, topics: Topics, partition: int, *, horizon_ms: int, clock: Clock) -> None:
        self._reader = reader
        self._events = topics.events.name
        self._tallies_topic = topics.tallies.name
        self._tallies = TallyLog(reader, topics.tallies.name)
        self._partition = partition
        self._horizon_ms = horizon_ms
        self._clock = clock

    async def find(self) -> Lost:
        """What is lost by now. Raises NothingAccepted if nothing is, and where accepting would not help."""
        tallies_start, tallies_end = await self._tallies.bounds(self._partition)
        events_start, events_end = await self._reader.bounds(self._events, self._partition)
        kept_ms = await first_kept_ms(self._reader, self._events, self._partition)
        if not await self._tallies.holds_any(self._partition, tallies_start, tallies_end):
            if tallies_start > 0:
                raise HistoryLost(
                    f"all tallies of partition {self._partition} were deleted: what was billed is not known, and nobody can accept that here"
                )
            lost = Lost(self._partition, 0, events_start, None, kept_ms, 0, False, (), Tallies())
        else:
            lost = await self._after(tallies_start, tallies_end, events_start, events_end, kept_ms)
        if not lost.records and not lost.ids_matter:
            raise NothingAccepted(f"nothing of partition {self._partition} is lost: its events are kept from {events_start} on")
        return lost

    async def accept(self, lost: Lost, appender: Appender, *, reason: str, by: str) -> int:
        """Append the tally that accepts it. Returns its offset; raises NothingAccepted if another writer's tally came first."""
        head = replace(lost.head, chain=replace(lost.head.chain))
        tally = self._tally(lost, Acceptance(reason, by, self._clock.now_ms()))
        landed = await appender.append(self._tallies_topic, self._partition, encode_tally(tally))
        accepted = False
        async for offset, found in self._tallies.between(self._partition, head.chain.next_offset, landed.offset + 1):
            accepted = head.fold(offset, found)
        if not accepted:
            raise NothingAccepted("another writer's tally came first, so ours counts for nothing: look again at what is lost")
        return landed.offset

    async def _after(self, start: int, end: int, events_start: int, events_end: int, kept_ms: int | None) -> Lost:
        partition = self._partition
        head = await self._tallies.head(partition, start, end)
        counted_to = head.chain.end
        if counted_to > events_end:
            raise ChainBroken(
                f"the tallies of partition {partition} end at {counted_to}, its events at {events_end}: the topic was cut or created again. That is"
                " no loss that can be accepted: the offsets mean other events. Use a new TAXIMETER_KAFKA_TOPIC_PREFIX"
            )
        begin = await self._tallies.covering(partition, start, end, head.log_time_ms - memory_ms(self._horizon_ms))
        fold = await self._tallies.fold_at(partition, begin)
        holes = await self._reader.lost_in(self._events, partition, max(events_start, fold.chain.end), counted_to)
        gone, sequences = GoneIds(events_start, holes), SequenceIndex()
        async for offset, tally in self._tallies.between(partition, begin, end):
            if fold.fold(offset, tally):
                gone.take(tally)
                sequences.restore(tally)
        if gone.matter(head.log_time_ms, self._horizon_ms):
            gone.narrow(kept_ms)
        ids_from_ms = gone.ids_from_ms if gone.matter(head.log_time_ms, self._horizon_ms) else 0
        accepted = ids_from_ms <= head.losses.ids_from_ms
        next_ms = self._clock.now_ms() if kept_ms is None else kept_ms
        return Lost(
            partition,
            counted_to,
            max(counted_to, events_start),
            head.log_time_ms,
            kept_ms,
            ids_from_ms,
            # Where events were counted up to what is lost, the aggregator asks of the ids before them; the next event may be far younger.
            not accepted and (counted_to >= events_start or gone.matter(next_ms, self._horizon_ms)),
            await self._emitter_gaps(sequences, events_start, events_end) if events_start > counted_to else (),
            head,
        )

    async def _emitter_gaps(self, known: SequenceIndex, start: int, end: int) -> list[EmitterGap]:
        """Which numbers each emitter had used when the chain ended, and which it continued with."""
        went_on: dict[str, int] = {}
        async with aclosing(self._reader.records(self._events, self._partition, start, min(end, start + LOOK_AHEAD_RECORDS))) as batches:
            async for records in batches:
                for record in records:
                    try:
                        content = read(record)
                    except EventRejected:
                        continue
                    if isinstance(content, Batch) and content.partition == self._partition:
                        went_on[content.emitter] = min(content.first_seq, went_on.get(content.emitter, content.first_seq))
        alive = {state.emitter for state in known.states() if state.final is None or state.final > known.following(state.emitter)}
        gaps = []
        for emitter in sorted(alive | went_on.keys()):
            first, after = known.following(emitter), went_on.get(emitter)
            if after is None or after > first:
                gaps.append(EmitterGap(emitter, first, None if after is None else after - 1))
        return gaps

    def _tally(self, lost: Lost, acceptance: Acceptance) -> Tally:
        head = lost.head
        founds = head.chain_id is None
        return Tally(
            chain_id=head.chain_id or new_chain_id(),
            partition=self._partition,
            link=ChainLink(lost.start, lost.end, head.chain.head),
            checkpoint=head.checkpoint,
            instance=f"repair-{secrets.token_hex(4)}",
            catalogue="",
            log_time_ms=(lost.first_kept_ms or acceptance.at_ms) if founds else head.log_time_ms,
            records=RecordCounts(lost=lost.records),
            events=EventCounts(),
            rows=(),
            emitter_states=() if founds else None,
            losses=replace(head.losses, ids_from_ms=max(head.losses.ids_from_ms, lost.ids_from_ms)),
            acceptance=acceptance,
        )
