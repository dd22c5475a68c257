"""Writing a copy: records with their times at the offsets that they had, and nothing where the original has nothing."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError
from taximeter_emitter.transports.aiokafka_internals import add_to_transaction, discard
from taximeter_emitter.transports.kafka_connection import connection_arguments, make_producer, reaching_nodes_apart
from taximeter_emitter.wire.errors import TaximeterError

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.records.record import LogRecord
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX

MARKER_SECONDS_MAX: Final = 30.0  # how long the marker of a transaction may take after the answer
_LOOK_SECONDS: Final = 0.02
_EMPTY: Final = b""
_EMPTY_TIME_MS: Final = 1


class CopyDiverged(TaximeterError):
    """The copy is not what the original is, at an offset: somebody else wrote there, or a record arrived late. It cannot be mended in place."""


class CopyTarget:
    """One cluster that is written to. Blocks on Kafka; every method may raise LogUnavailable, and then what was written may be there or not.

    Owns its Kafka clients. One caller at a time: offsets are checked when a write is answered, and CopyDiverged raised if another came between.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._reader = LogReader(settings, "copy-target")
        self._producer: AIOKafkaProducer | None = None
        self._transactions: AIOKafkaProducer | None = None

    async def close(self) -> None:
        """Close the connections."""
        producers, self._producer, self._transactions = (self._producer, self._transactions), None, None
        for producer in producers:
            if producer is not None:
                await discard(producer)
        await self._reader.close()

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept, and the next one."""
        start, _ = await self._reader.bounds(topic, partition)
        return start, (await self._reader.ends(topic, partition)).end

    async def records(self, topic: str, partition: int, start: int, end: int) -> list[LogRecord]:
        """What the copy has at [start, end)."""
        return [record async for records in self._reader.records(topic, partition, start, end) for record in records]

    async def append(self, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
        """Append records that follow each other, each at the offset that it has."""
        producer = await self._started()
        place = 0
        while place < len(records):
            builder = producer.create_batch()
            first = records[place].offset
            while place < len(records) and _add(builder, records[place]):
                place += 1
            await self._send(producer, builder, topic, partition, first)

    async def skip(self, topic: str, partition: int, start: int, end: int) -> None:
        """Make [start, end) offsets without a record, as transactions do: proof that there never was one to read is the same as in the original."""
        producer = await self._started_transactions()
        try:
            await producer.begin_transaction()
            if end - start > 1:
                await self._append_empty(producer, topic, partition, start, end - 1)
            else:
                await add_to_transaction(producer, TopicPartition(topic, partition))
            await producer.abort_transaction()
            found = await self._end_from(topic, partition, end)
        except (KafkaError, TimeoutError, RuntimeError) as error:
            await self.close()
            raise LogUnavailable(f"offsets {start} to {end - 1} of {topic}/{partition} cannot be skipped: {error!r}") from error
        if found > end:
            raise _diverged(topic, partition, start, found)

    async def _end_from(self, topic: str, partition: int, end: int) -> int:
        """The log's end, once it is no lower than this: the marker is written after the answer. Raises TimeoutError."""
        async with asyncio.timeout(MARKER_SECONDS_MAX):
            while True:
                found = (await self.bounds(topic, partition))[1]
                if found >= end:
                    return found
                await asyncio.sleep(_LOOK_SECONDS)

    async def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """Make the log begin there: what is missing before is filled with empty records, and all of it deleted."""
        _, end = await self.bounds(topic, partition)
        await self._append_empty(await self._started(), topic, partition, end, offset)
        admin = make_admin(self._settings, client_id="copy-begin")
        try:
            await admin.start()
            place = TopicPartition(topic, partition)
            await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(f"{topic}/{partition} cannot be made to begin at {offset}: {error!r}") from error
        finally:
            await admin.close()

    async def _append_empty(self, producer: AIOKafkaProducer, topic: str, partition: int, start: int, end: int) -> None:
        position = start
        while position < end:
            builder = producer.create_batch()
            first = position
            while position < end and builder.append(timestamp=_EMPTY_TIME_MS, key=None, value=_EMPTY) is not None:
                position += 1
            await self._send(producer, builder, topic, partition, first)

    async def _send(self, producer: AIOKafkaProducer, builder: Any, topic: str, partition: int, expected: int) -> None:
        try:
            found = await (await producer.send_batch(builder, topic, partition=partition))
        except (KafkaError, TimeoutError, RuntimeError) as error:
            await self.close()
            raise LogUnavailable(f"records cannot be copied to {topic}/{partition}: {error!r}") from error
        if found.offset < 0:
            raise LogUnavailable(f"records are in {topic}/{partition}, and the broker does not say at which offset")
        if found.offset != expected:
            raise _diverged(topic, partition, expected, found.offset)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await _connected(make_producer(self._settings.options(), client_id="copy", record_bytes_max=CHAIN_RECORD_BYTES_MAX))
        return self._producer

    async def _started_transactions(self) -> AIOKafkaProducer:
        if self._transactions is None:
            options = self._settings.options()
            producer = AIOKafkaProducer(
                **connection_arguments(options, "copy-skip"), acks="all", transactional_id=f"taximeter-copy-{secrets.token_hex(8)}"
            )
            self._transactions = await _connected(reaching_nodes_apart(producer, options))
        return self._transactions


async def _connected(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    try:
        await producer.start()
    except KafkaError as error:
        await discard(producer)
        raise LogUnavailable(f"Kafka cannot be reached, or has no transactions, which offsets without a record take: {error!r}") from error
    except BaseException:
        await discard(producer)
        raise
    return producer


def _add(builder: Any, record: LogRecord) -> bool:
    added = builder.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None


def _diverged(topic: str, partition: int, expected: int, found: int) -> CopyDiverged:
    return CopyDiverged(
        f"the copy of {topic}/{partition} was at {expected}, and the next record landed at {found}: somebody else writes there. Find out who;"
        " then delete the topics of the copy, and copy again"
    )
