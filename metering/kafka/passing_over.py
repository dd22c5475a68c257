"""Passing over what stops usage.tallies or usage.ledger, on the record: a decision behind it in its topic. It is about one record that looks like
Taximeter's and is not, or about a whole batch that is damaged.

Nobody passes over a record that others build on: it was accepted, so a version of Taximeter wrote it and can read it. A damaged batch may also hold
what was accepted last. Tallies are counted again from their events, unless the ledger has reported them. Of the ledger it must be shown that
none of its intents is in the batch.
"""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson
from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError

from metering.folds.ledger import Ledger
from metering.kafka.around_damage import leave_out, records_around_damage
from metering.kafka.chain_records import PartitionPlace, chain_records, decision_about, passed_batch_at
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import Appender, LogReader, UnreadableBatch
from metering.kafka.topics import Topics
from metering.records.fail_closed import RecordCorrupt, RecordUnreadable
from metering.records.ledger_records import Intent, Receipt, decode_entry
from metering.records.notes.foreign_records import PassedBatch, PassedOver, digest_of_value, encode_decision, is_decision, is_foreign
from metering.records.record import LogRecord
from metering.records.tally import decode_tally

SHOWN_BYTES: Final = 200
WHY_CHARS_MAX: Final = 1_000
DECISION_ATTEMPTS_MAX: Final = 20
_FOLLOWS: Final = ("previous", "checkpoint")
_WAYS_ON: Final = "Let a broker lead that has a sound copy, or go on with the version that can read it"


class NotPassedOver(TaximeterError):
    """The record is not passed over; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A record that stops its partition. `chain`: the chain that it says it is of. `done`: the decision, if somebody made it before."""

    record: LogRecord
    why: str
    chain: str
    done: PassedOver | None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        value = self.record.value or b""
        done = self.done
        return {
            "offset": self.record.offset,
            "log_time_ms": self.record.timestamp,
            "value_bytes": len(value),
            "begins": value[:SHOWN_BYTES].decode(errors="replace"),
            "why": self.why,
            "chain": self.chain or None,
            "passed_over_before": None if done is None else {"reason": done.reason, "by": done.by, "at_ms": done.at_ms},
        }


@dataclass(frozen=True, slots=True)
class DamagedBatch:
    """A batch that stops its partition, [start, end), and why it cannot be read. `is_too_large`: it is sound, and nothing that Taximeter writes.

    `checked_to`: up to there nothing builds on it. `done`: the decision, if somebody made it before.
    """

    start: int
    end: int
    why: str
    is_too_large: bool
    checked_to: int
    done: PassedBatch | None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        done = self.done
        return {
            "offset": self.start,
            "end": self.end,
            "why": self.why,
            "too_large": self.is_too_large,
            "passed_over_before": None if done is None else {"reason": done.reason, "by": done.by, "at_ms": done.at_ms},
        }


class PassingOver:
    """One partition of usage.ledger or usage.tallies. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader stays its
    owner's.
    """

    def __init__(self, reader: LogReader, topics: Topics, partition: int, *, is_ledger: bool, clock: Clock) -> None:
        self.place = PartitionPlace((topics.ledger if is_ledger else topics.tallies).name, partition)
        self._ledger = PartitionPlace(topics.ledger.name, partition)
        self._reader = reader
        self._is_ledger = is_ledger
        self._decode = decode_entry if is_ledger else decode_tally
        self._clock = clock

    async def find(self, offset: int) -> Undecodable | DamagedBatch:
        """What stands at this offset. Raises NotPassedOver unless it stops the partition and nobody builds on it."""
        topic, partition = self.place
        start, end = await self._reader.bounds(*self.place)
        if not start <= offset < end:
            raise NotPassedOver(f"{topic}/{partition} holds the offsets {start} to {end - 1}")
        try:
            record = await self._reader.record(topic, partition, offset)
        except RecordUnreadable as error:
            return await self._damaged(offset, str(error))
        if record is None or is_foreign(record.value) or is_decision(record.value):
            what = "no record" if record is None else "a decision" if is_decision(record.value) else "a foreign record"
            raise NotPassedOver(f"offset {offset} of {topic}/{partition} holds {what}: every reader passes over it anyway")
        try:
            self._decode(record.value)
        except RecordCorrupt as error:
            why = str(error)
        else:
            raise NotPassedOver(f"offset {offset} of {topic}/{partition} can be read: nothing stops there")
        done = await decision_about(self._reader, self.place, record)
        if done is None:
            await self._check_that_nobody_follows(range(offset, offset + 1), end)
        return Undecodable(record, why, _text_in(record.value, "chain"), done)

    async def apply(self, found: Undecodable | DamagedBatch, appender: Appender, *, reason: str, by: str) -> int:
        """Append the decision. Returns its offset. Raises NotPassedOver when others write so much that it never lands where it must."""
        topic, partition = self.place
        now_ms = self._clock.now_ms()
        if isinstance(found, Undecodable):
            record = found.record
            decision = PassedOver(partition, record.offset, digest_of_value(record.value), reason, by, now_ms)
            return (await appender.append(topic, partition, encode_decision(decision))).offset
        for _ in range(DECISION_ATTEMPTS_MAX):
            batch = PassedBatch(partition, found.start, found.end, found.checked_to, found.why[:WHY_CHARS_MAX], reason, by, now_ms)
            landed = await appender.append(topic, partition, encode_decision(batch))
            if landed.offset == batch.at:
                return landed.offset
            found = await self._damaged(found.start, found.why)
        raise NotPassedOver(f"others write to {topic}/{partition} too often: stop what still runs there, and try again")

    async def _damaged(self, offset: int, why: str) -> DamagedBatch:
        batch = await self._reader.unreadable_batch(*self.place, offset)
        done = await passed_batch_at(self._reader, self.place, offset)
        _, end = await self._reader.bounds(*self.place)
        if done is None:
            await self._check_that_nobody_follows(range(batch.start, batch.end), end)
            if not batch.is_too_large:
                await (self._check_intents(batch, end) if self._is_ledger else self._check_reported(batch))
        return DamagedBatch(batch.start, batch.end, why, batch.is_too_large, end, done)

    async def _check_that_nobody_follows(self, offsets: range, end: int) -> None:
        topic, partition = self.place
        async with aclosing(records_around_damage(self._reader, *self.place, offsets.stop, end, on_damage=leave_out)) as blocks:
            async for records in blocks:
                for record in records:
                    followed = set() if is_foreign(record.value) or is_decision(record.value) else _followed_by(record.value)
                    if any(each in offsets for each in followed):
                        raise NotPassedOver(
                            f"record {record.offset} of {topic}/{partition} builds on what is at {offsets.start} to {offsets[-1]}:"
                            f" a version of Taximeter wrote that. {_WAYS_ON}"
                        )

    async def _check_reported(self, batch: UnreadableBatch) -> None:
        """What no intent reported is counted again from usage.events. What one did must not be."""
        _, end = await self._reader.bounds(*self._ledger)
        ledger = await self._fold_ledger(end)
        if batch.start <= ledger.tally_head < batch.end:
            raise NotPassedOver(
                f"the ledger has reported up to tally {ledger.tally_head}, which is in this batch."
                f" Counted again, it would be billed twice. {_WAYS_ON}"
            )

    async def _check_intents(self, batch: UnreadableBatch, end: int) -> None:
        """An intent in the batch may have been sent to Stripe. That there is none shows only a writer behind it who had read the batch."""
        before = (await self._fold_ledger(batch.start)).chain
        intents: set[int] = set()
        async for offset, _, entry in chain_records(self._reader, self.place, batch.end, end, decode_entry):
            if isinstance(entry, Intent) and before.continues(entry.link) and entry.link.previous == before.head:
                intents.add(offset)
            elif isinstance(entry, Intent | Receipt) and _previous(entry) in intents:
                return
        raise NotPassedOver(
            f"offsets {batch.start} to {batch.end - 1} may hold an intent that was sent to Stripe. Without it, the same usage would be sent"
            f" again, under other identifiers. Nothing behind them shows that there is none. {_WAYS_ON}"
        )

    async def _fold_ledger(self, end: int) -> Ledger:
        start, _ = await self._reader.bounds(*self._ledger)
        begin, ledger = await ledger_start(self._reader, *self._ledger, start, end)
        async for offset, log_time_ms, entry in chain_records(self._reader, self._ledger, begin, end, decode_entry):
            ledger.fold(offset, log_time_ms, entry)
        return ledger


def _previous(entry: Intent | Receipt) -> int:
    """The intent that its writer knew to be accepted."""
    return entry.link.previous if isinstance(entry, Intent) else entry.previous


def _followed_by(value: bytes | None) -> set[int]:
    """Offsets of accepted records that this one names."""
    document = _document(value)
    settled = document.get("settlements")
    intents = [entry[0] for entry in settled if isinstance(entry, list) and entry] if isinstance(settled, list) else []
    named = [*(document.get(name) for name in _FOLLOWS), *intents]
    return {found for found in named if type(found) is int}


def _text_in(value: bytes | None, name: str) -> str:
    found = _document(value).get(name)
    return found if isinstance(found, str) else ""


def _document(value: bytes | None) -> dict[str, Any]:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
