"""Stepping over the one record at which a partition stands, on the record: a tally that covers it, and says who decided that, when, and why.

The tally is appended and compared like every other: if an aggregator counts the record after all, it comes first or is skipped by everybody. The
record becomes a dead letter, if it can be read, so that it can be sent again. Tallies and entries of the ledger are never stepped over: what
they say was billed, or is about to be.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import Reason, TaximeterError

from aggregator.reading.origins import claimed
from aggregator.tally_log import TallyLog, new_chain_id
from metering.folds.tallies import Tallies
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.records.chain import ChainLink
from metering.records.dead_letter import DeadLetter, encode_dead_letter
from metering.records.fail_closed import HistoryLost, RecordUnreadable
from metering.records.record import LogRecord
from metering.records.tally import EventCounts, RecordCounts, SteppedOver, Tally, encode_tally

LOOK_BACK_TALLIES: Final = 5_000
"""How many tallies are read to find out whether somebody did it before."""


class NothingSteppedOver(TaximeterError):
    """The record was not stepped over; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is stepped over: the offsets [start, end) of usage.events: one record, a whole batch that is damaged, or where records are missing.

    `record` is what stands there, None if it cannot be read; `unreadable` then says why. `done` is the decision, if somebody made it before.
    """

    partition: int
    start: int
    end: int
    record: LogRecord | None
    unreadable: str
    head: Tallies
    done: SteppedOver | None = None

    @property
    def events(self) -> int | None:
        """How many events the record says that it holds; None if it cannot be read."""
        return None if self.record is None else claimed(self.record).events

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        record = self.record
        origin = None if record is None else claimed(record).origin
        return {
            "partition": self.partition,
            "start": self.start,
            "end": self.end,
            "unreadable": self.unreadable or None,
            "events": self.events,
            "log_time_ms": None if record is None else record.timestamp,
            "value_bytes": None if record is None else len(record.value or b""),
            "source": None if origin is None else origin.source,
            "emitter": None if origin is None else origin.emitter,
            "customers": None if origin is None else [customer for customer, _ in origin.customers],
            "stepped_over_before": None if self.done is None else {"reason": self.done.reason, "by": self.done.by, "at_ms": self.done.at_ms},
        }


class SteppingOver:
    """One partition. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, topics: Topics, partition: int, *, clock: Clock) -> None:
        self._reader = reader
        self._topics = topics
        self._tallies = TallyLog(reader, topics.tallies.name)
        self._partition = partition
        self._clock = clock

    async def find(self, offset: int) -> Step:
        """What stands at this offset. Raises NothingSteppedOver unless the partition stands exactly there, or stood there and was let go on."""
        partition, events = self._partition, self._topics.events.name
        events_start, events_end = await self._reader.bounds(events, partition)
        start, end = await self._tallies.bounds(partition)
        if not await self._tallies.holds_any(partition, start, end):
            if start:
                raise HistoryLost(f"all tallies of partition {partition} were deleted: what was billed is not known, and nobody can accept that here")
            head, counted_to = Tallies(), events_start
        else:
            head = await self._tallies.head(partition, start, end)
            counted_to = head.chain.end
        if offset < counted_to:
            return await self._done(offset, start, end, head)
        if offset > counted_to:
            raise NothingSteppedOver(
                f"partition {partition} stands at offset {counted_to}, and what is before {offset} is not counted: only the record at which it stands"
                " can be stepped over"
            )
        if offset < events_start:
            raise NothingSteppedOver(f"offset {offset} of partition {partition} was deleted: see taximeter repair accept-loss {partition}")
        if offset >= events_end:
            raise NothingSteppedOver(f"partition {partition} ends at offset {events_end}: everything is counted")
        try:
            record = await self._reader.record(events, partition, offset)
        except RecordUnreadable as error:
            return Step(partition, offset, min(events_end, await self._reader.batch_end(events, partition, offset)), None, str(error), head)
        except HistoryLost as error:
            return Step(partition, offset, await self._reader.lost_to(events, partition, offset), None, str(error), head)
        if record is None:
            raise NothingSteppedOver(f"offset {offset} of partition {partition} holds no record, such as a transaction marker: nothing stops there")
        return Step(partition, offset, offset + 1, record, "", head)

    async def apply(self, step: Step, appender: Appender, *, reason: str, by: str) -> int:
        """Append the dead letter and the tally. Returns the tally's offset; raises NothingSteppedOver if another writer's tally came first."""
        if step.record is not None:
            letter = self._letter(step.record, reason)
            value, headers = encode_dead_letter(letter)
            await appender.append(self._topics.deadletters.name, self._partition, value, key=letter.written_key, headers=headers)
        head, founds = step.head, step.head.chain_id is None
        decision = SteppedOver(reason, by, self._clock.now_ms(), step.events)
        landed = await appender.append(self._topics.tallies.name, self._partition, encode_tally(self._tally(step, decision, founds=founds)))
        accepted = False
        async for offset, found in self._tallies.between(self._partition, head.chain.next_offset, landed.offset + 1):
            accepted = head.fold(offset, found)
        if not accepted:
            raise NothingSteppedOver("another writer's tally came first, so ours counts for nothing: look again where the partition stands")
        return landed.offset

    async def _done(self, offset: int, start: int, end: int, head: Tallies) -> Step:
        async for _, tally in self._tallies.between(self._partition, max(start, end - LOOK_BACK_TALLIES), end):
            if tally.stepped_over is not None and tally.link.start <= offset < tally.link.end:
                return Step(self._partition, tally.link.start, tally.link.end, None, "", head, tally.stepped_over)
        raise NothingSteppedOver(f"offset {offset} of partition {self._partition} is counted; the partition stands at {head.chain.end}")

    def _letter(self, record: LogRecord, reason: str) -> DeadLetter:
        unread = claimed(record)
        return DeadLetter(
            topic=self._topics.events.name,
            partition=self._partition,
            offset=record.offset,
            log_time_ms=record.timestamp,
            reason=Reason.STEPPED_OVER,
            field="",
            detail=reason,
            indexes=(),
            events=unread.events,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            origin=unread.origin,
        )

    def _tally(self, step: Step, decision: SteppedOver, *, founds: bool) -> Tally:
        head, record = step.head, step.record
        logged_ms = decision.at_ms if record is None and founds else 0 if record is None else record.timestamp
        return Tally(
            chain_id=head.chain_id or new_chain_id(),
            partition=self._partition,
            link=ChainLink(step.start, step.end, head.chain.head),
            checkpoint=head.checkpoint,
            instance=f"repair-{secrets.token_hex(4)}",
            catalogue=head.catalogue,
            log_time_ms=max(head.log_time_ms, logged_ms),
            records=RecordCounts(stepped_over=step.end - step.start),
            events=EventCounts(),
            rows=(),
            emitter_states=() if founds else None,
            losses=head.losses,
            stepped_over=decision,
        )
