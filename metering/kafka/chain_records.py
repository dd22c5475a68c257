"""Records of usage.tallies and usage.ledger as all readers take them: decoded, without those that are foreign or that a person passed over."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from metering.kafka.around_damage import leave_out, records_around_damage, records_past_damage
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import ChainBroken, RecordCorrupt, RecordUnreadable
from metering.records.notes.foreign_records import PassedBatch, PassedOver, PassingDecision, decision_in, digest_of_value, is_decision, is_foreign
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


async def kept_records(
    reader: LogReader, place: PartitionPlace, start: int, end: int, *, passed: list[PassedBatch] | None = None
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """The records of [start, end), without batches that cannot be read and that a person passed over: `passed` gets these.

    Raises as `LogReader.records` does; RecordUnreadable for another batch says what to type. Close the generator if you stop before its end.
    """

    async def go_on(offset: int, error: RecordUnreadable) -> int:
        decision = await passed_batch_at(reader, place, offset)
        if decision is None:
            raise RecordUnreadable(f"{error}. {what_to_type(place, offset)}", offset=offset) from error
        if passed is not None:
            passed.append(decision)
        return decision.end

    async with aclosing(records_past_damage(reader, *place, start, end, go_on=go_on)) as blocks:
        async for records in blocks:
            yield records


def what_to_type(place: PartitionPlace, offset: int) -> str:
    """What an operator may do about a batch of usage.tallies or usage.ledger that cannot be read."""
    topic = place.topic.rsplit(".", 1)[-1]
    return f"If no copy of it can be read: taximeter repair skip --topic {topic} --partition {place.partition} --offset {offset}"


async def chain_records(
    reader: LogReader, place: PartitionPlace, start: int, end: int, decode: Decode[T], *, on_other: OnOther = _pass
) -> AsyncGenerator[tuple[int, int, T], None]:
    """Offset, log time (Unix ms) and content of the records of [start, end). Raises as `taken_in` and `kept_records` do, and ChainBroken where
    a batch can be read that a person passed over.

    `on_other` gets each record that is not taken in: foreign ones, decisions, and what these are about. A caller that stops before the end
    must close the generator (`aclosing`).
    """
    passed: list[PassedBatch] = []
    async with aclosing(kept_records(reader, place, start, end, passed=passed)) as blocks:
        async for records in blocks:
            for record in records:
                content = await taken_in(reader, place, record, decode)
                if content is not None:
                    yield record.offset, record.timestamp, content
                    continue
                decision = decision_in(record)
                if isinstance(decision, PassedBatch) and start <= decision.offset and decision not in passed:
                    await check_unread(reader, place, decision)
                on_other(record)


async def check_unread(reader: LogReader, place: PartitionPlace, decision: PassedBatch) -> None:
    """Raise ChainBroken where a batch can be read that others passed over. In a copy of the topic there is nothing in its place, as is proved."""
    if not await reader.holds_no_record(*place, decision.offset, decision.end):
        raise ChainBroken(
            f"offsets {decision.offset} to {decision.end - 1} of {place.topic}/{place.partition} were passed over as damaged by {decision.by}, and"
            " can be read here: other readers took nothing from them. Let the broker lead that has the damaged copy"
        )


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
            if isinstance(decision, PassedOver) and (decision.partition, decision.offset, decision.digest) == (*place[1:], record.offset, digest):
                return decision
    return None


async def passed_batch_at(reader: LogReader, place: PartitionPlace, offset: int) -> PassedBatch | None:
    """The decision of a person to pass over the batch that holds this offset, which is behind it; None if there is none."""
    _, end = await reader.bounds(*place)
    async with aclosing(decisions_in(reader, place, min(end, await reader.batch_end(*place, offset)), end)) as decisions:
        async for decision in decisions:
            if isinstance(decision, PassedBatch) and decision.partition == place.partition and decision.offset <= offset < decision.end:
                return decision
    return None


async def decisions_in(reader: LogReader, place: PartitionPlace, start: int, end: int) -> AsyncGenerator[PassingDecision, None]:
    """All decisions of [start, end), also behind damage. Close the generator if you stop before its end."""
    async with aclosing(records_around_damage(reader, *place, start, end, on_damage=leave_out)) as blocks:
        async for records in blocks:
            for record in records:
                decision = decision_in(record)
                if decision is not None:
                    yield decision
