"""Records of usage.tallies and usage.ledger as all readers take them: decoded, without those that are foreign or that a person passed over."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.foreign_records import PassedOver, decision_in, digest_of_value, is_decision, is_foreign
from metering.records.record import LogRecord

BLOCK_RECORDS_MAX: Final = 1_024

T = TypeVar("T")
Decode = Callable[[bytes | None], T]
"""What a value says; None if it says nothing that is asked for. Raises RecordCorrupt."""


OnOther = Callable[[LogRecord], None]


def _pass(_record: LogRecord) -> None:
    """Nobody wants to know."""


class PartitionPlace(NamedTuple):
    """A partition of one of the two topics."""

    topic: str
    partition: int


async def taken_in(reader: LogReader, place: PartitionPlace, record: LogRecord, decode: Decode[T]) -> T | None:
    """What this record says; None for a foreign one, a decision, and one that a person passed over.

    Raises RecordCorrupt, with its offset, if Taximeter wrote it and it cannot be decoded. Blocks on Kafka only then.
    """
    if is_foreign(record.value) or is_decision(record.value):
        return None
    try:
        return decode(record.value)
    except RecordCorrupt as error:
        if await decision_about(reader, place, record) is not None:
            return None
        raise RecordCorrupt(
            f"offset {record.offset} of {place.topic}/{place.partition}: {error}."
            " If no version of Taximeter wrote it, see taximeter repair skip --topic",
            offset=record.offset,
        ) from error


async def chain_records(
    reader: LogReader, place: PartitionPlace, start: int, end: int, decode: Decode[T], *, on_other: OnOther = _pass
) -> AsyncGenerator[tuple[int, int, T], None]:
    """Offset, log time (Unix ms) and content of the records of [start, end). Raises as `taken_in` and `LogReader.records` do.

    `on_other` gets each record that is not taken in: foreign ones, decisions, and what these are about. A caller that stops before the end
    must close the generator (`aclosing`).
    """
    async with aclosing(reader.records(place.topic, place.partition, start, end)) as blocks:
        async for records in blocks:
            for record in records:
                content = await taken_in(reader, place, record, decode)
                if content is not None:
                    yield record.offset, record.timestamp, content
                else:
                    on_other(record)


async def first_chain_record(reader: LogReader, place: PartitionPlace, start: int, end: int, decode: Decode[T]) -> tuple[int, T] | None:
    """The first record of [start, end) that is taken in: its offset, and what it says."""
    async with aclosing(chain_records(reader, place, start, end, decode)) as found:
        async for offset, _, content in found:
            return offset, content
    return None


async def last_chain_record(reader: LogReader, place: PartitionPlace, start: int, end: int, decode: Decode[T]) -> tuple[int, T] | None:
    """The last one. It is looked for from the end on, in growing steps: transaction markers and foreign records may be behind it."""
    size = 1
    while start < end:
        begin = max(start, end - size)
        last: tuple[int, T] | None = None
        async with aclosing(chain_records(reader, place, begin, end, decode)) as found:
            async for offset, _, content in found:
                last = offset, content
        if last is not None:
            return last
        end, size = begin, min(2 * size, BLOCK_RECORDS_MAX)
    return None


async def decision_about(reader: LogReader, place: PartitionPlace, record: LogRecord) -> PassedOver | None:
    """The decision of a person to pass over this record, which is behind it; None if there is none."""
    _, end = await reader.bounds(*place)
    digest = digest_of_value(record.value)
    async with aclosing(decisions_in(reader, place, record.offset + 1, end)) as decisions:
        async for decision in decisions:
            if (decision.partition, decision.offset, decision.digest) == (place.partition, record.offset, digest):
                return decision
    return None


async def decisions_in(reader: LogReader, place: PartitionPlace, start: int, end: int) -> AsyncGenerator[PassedOver, None]:
    """All decisions of [start, end). Close the generator if you stop before its end."""
    async with aclosing(reader.records(place.topic, place.partition, start, end)) as blocks:
        async for records in blocks:
            for record in records:
                decision = decision_in(record.value)
                if decision is not None:
                    yield decision
