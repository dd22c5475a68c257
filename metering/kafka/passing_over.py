"""Passing over a record of usage.tallies or usage.ledger that looks like Taximeter's and is not, on the record: a decision behind it in its topic.

Nobody passes over a record that others build on: it was accepted, so a version of Taximeter wrote it and can read it.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson
from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError

from metering.kafka.chain_records import PartitionPlace, decision_about
from metering.kafka.partition_log import Appender, LogReader
from metering.records.fail_closed import RecordCorrupt
from metering.records.ledger_records import decode_entry
from metering.records.notes.foreign_records import PassedOver, digest_of_value, encode_decision, is_decision, is_foreign
from metering.records.record import LogRecord
from metering.records.tally import decode_tally

SHOWN_BYTES: Final = 200
_FOLLOWS: Final = ("previous", "checkpoint")


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


class PassingOver:
    """One partition of one of the two topics. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader stays its owner's."""

    def __init__(self, reader: LogReader, place: PartitionPlace, *, is_ledger: bool, clock: Clock) -> None:
        self._reader = reader
        self._place = place
        self._decode = decode_entry if is_ledger else decode_tally
        self._clock = clock

    async def find(self, offset: int) -> Undecodable:
        """What stands at this offset. Raises NotPassedOver unless it is a record that looks like ours, cannot be decoded, and nobody builds on."""
        topic, partition = self._place
        start, end = await self._reader.bounds(*self._place)
        if not start <= offset < end:
            raise NotPassedOver(f"{topic}/{partition} holds the offsets {start} to {end - 1}")
        record = await self._reader.record(topic, partition, offset)
        if record is None or is_foreign(record.value) or is_decision(record.value):
            what = "no record" if record is None else "a decision" if is_decision(record.value) else "a foreign record"
            raise NotPassedOver(f"offset {offset} of {topic}/{partition} holds {what}: every reader passes over it anyway")
        try:
            self._decode(record.value)
        except RecordCorrupt as error:
            why = str(error)
        else:
            raise NotPassedOver(f"offset {offset} of {topic}/{partition} can be read: nothing stops there")
        done = await decision_about(self._reader, self._place, record)
        if done is None:
            await self._check_that_nobody_follows(offset, end)
        return Undecodable(record, why, _text_in(record.value, "chain"), done)

    async def apply(self, found: Undecodable, appender: Appender, *, reason: str, by: str) -> int:
        """Append the decision. Returns its offset."""
        partition, record = self._place.partition, found.record
        decision = PassedOver(partition, record.offset, digest_of_value(record.value), reason, by, self._clock.now_ms())
        return (await appender.append(self._place.topic, partition, encode_decision(decision))).offset

    async def _check_that_nobody_follows(self, offset: int, end: int) -> None:
        async for records in self._reader.records(*self._place, offset + 1, end):
            for record in records:
                if not is_foreign(record.value) and offset in _followed_by(record.value):
                    raise NotPassedOver(
                        f"record {record.offset} of {self._place.topic}/{self._place.partition} builds on the one at {offset}: a version of Taximeter"
                        " wrote it, and can read it. Go on with that version"
                    )


def _followed_by(value: bytes | None) -> set[int]:
    """Offsets of accepted records that this one names."""
    document = _document(value)
    return {found for name in _FOLLOWS if isinstance(found := document.get(name), int)}


def _text_in(value: bytes | None, name: str) -> str:
    found = _document(value).get(name)
    return found if isinstance(found, str) else ""


def _document(value: bytes | None) -> dict[str, Any]:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
