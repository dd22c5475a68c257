"""Reading and appending to single partitions by offset: what a chain needs of Kafka, outside consumer groups."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from taximeter_emitter.transports.aiokafka_internals import discard, is_dead
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.batch_fetcher import BatchFetcher
from metering.kafka.batches.hole_proofs import HoleProofs
from metering.kafka.batches.plain_batches import first_batch_bytes, first_batch_end, first_batch_start, is_too_large
from metering.kafka.clients import FetchLimits, KafkaSettings, client_cancelled_itself, make_log_reader
from metering.kafka.tolerant_fetching import RecordsUnreadable, fetch_tolerantly
from metering.kafka.topics import MAKE_TOPICS
from metering.records.fail_closed import HistoryLost, RecordUnreadable
from metering.records.record import LogRecord
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX

READ_POLL_MS: Final = 500
STALL_SECONDS: Final = 60.0
TURN_SECONDS: Final = 1.0
READS_MAX: Final = 4
MISSING_LOOKS: Final = 5  # a topic that was just made may not be known to every broker yet
MISSING_LOOK_SECONDS: Final = 0.2
UNREADABLE_MAX: Final = 3  # attempts to fetch records that are damaged: the damage may have happened on the way
# What is asked for is there already: waiting at the broker for more would only delay the next range.
_FETCH: Final = FetchLimits(wait_ms_max=5)
_FOLLOWING_BYTES: Final = 2 * EVENT_RECORD_BYTES_MAX  # some brokers send whole batches only


class LogUnavailable(TaximeterError):
    """Kafka did not answer, or not in time. Whether an append arrived is not known. Worth trying again."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where and when the broker put a record."""

    offset: int
    log_time_ms: int


@dataclass(frozen=True, slots=True)
class LogEnds:
    """Next offsets. `end` is the high watermark. If `stable_end` is below it, an open transaction begins there: nobody can read further."""

    stable_end: int
    end: int


class UnreadableBatch(NamedTuple):
    """The offsets [start, end) of a batch. `is_too_large`: it is sound, and larger than anything that Taximeter writes."""

    start: int
    end: int
    is_too_large: bool


class LogReader:
    """Reads ranges of partitions. One range at a time, and a second caller waits for the first; but not long, since that one may wait for a broker
    that is silent: then the second reads beside it. Owns its Kafka consumers.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._idle: AIOKafkaConsumer | None = None
        self._reads = 0
        self._partitions: dict[str, int] = {}  # how many each topic has, as it was asked last
        self._missing: set[TopicPartition] = set()  # that were not there when they were asked for last
        self._turns = asyncio.Condition()
        self._batches = BatchFetcher(settings, f"{client_id}-batches")
        self._proofs = HoleProofs(self._batches.fetch)

    async def close(self) -> None:
        """Close the connections; the next read opens them again."""
        await self._batches.close()
        self._proofs.forget()
        consumer, self._idle = self._idle, None
        if consumer is not None:
            await _stop(consumer)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept, and the end of what can be read: that of the log, or the first open transaction. Raises LogUnavailable."""
        place = TopicPartition(topic, partition)
        with _as_unavailable(f"the bounds of {topic}/{partition} cannot be read"):
            async with self._consumer() as consumer, asyncio.timeout(STALL_SECONDS):
                if await self._is_there(consumer, place):
                    starts = await consumer.beginning_offsets([place])
                    ends = await consumer.end_offsets([place])
                    return starts[place], ends[place]
        raise self._nothing_at(place)

    async def ends(self, topic: str, partition: int) -> LogEnds:
        """The end of what can be read, and that of the log: they differ while a transaction is open. Raises LogUnavailable or HistoryLost."""
        _, readable = await self.bounds(topic, partition)
        with _as_unavailable(f"the end of {topic}/{partition} cannot be read"):
            fetched = await self._batches.fetch(topic, partition, readable, bytes_max=1)
        return LogEnds(max(readable, fetched.stable_end), max(readable, fetched.end))

    async def holds_no_record(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether the offsets [start, end) never had a record to read: they are transaction markers, or data of aborted transactions.

        False: there is one. Raises HistoryLost where records were taken away, LogUnavailable when Kafka does not answer.
        """
        with _as_unavailable(f"a hole in {topic}/{partition} at {start} cannot be looked at"):
            return await self._proofs.holds_no_record(topic, partition, start, end)

    async def lost_to(self, topic: str, partition: int, start: int) -> int:
        """The end of the offsets from `start` on of which nothing is left; `start` if there are none. Raises LogUnavailable or HistoryLost."""
        with _as_unavailable(f"{topic}/{partition} cannot be looked at from {start} on"):
            return await self._proofs.lost_to(topic, partition, start)

    def is_proved_empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        """`holds_no_record`, as far as it is known without asking."""
        return self._proofs.is_proved(topic, partition, start, end)

    async def offset_for_time(self, topic: str, partition: int, log_time_ms: int) -> int | None:
        """The first offset whose log time is at least this; None if there is none. Raises LogUnavailable."""
        place = TopicPartition(topic, partition)
        with _as_unavailable(f"offsets of {topic}/{partition} by time cannot be read"):
            async with self._consumer() as consumer, asyncio.timeout(STALL_SECONDS):
                if await self._is_there(consumer, place):
                    entry = (await consumer.offsets_for_times({place: max(0, log_time_ms)}))[place]
                    return None if entry is None else int(entry.offset)
        raise self._nothing_at(place)

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[LogRecord], None]:
        """The records of [start, end), in order, as they arrive. Offsets without one are transaction markers or aborted data, which is proved.

        Raises HistoryLost if `start` is not kept any more or records were taken away in between, RecordUnreadable for damaged records, LogUnavailable
        otherwise.

        A caller that stops before the end must close the generator (`aclosing`): it holds the reader.
        """
        if start >= end:
            return
        place = TopicPartition(topic, partition)
        position = start
        try:
            async with self._consumer() as consumer:
                consumer.assign([place])
                consumer.seek(place, start)
                async for records in _until(consumer, place, end):
                    if records[-1].offset - position != len(records) - 1:
                        await self._check_holes(place, position, records)
                    position = records[-1].offset + 1
                    yield records
                if position < end:
                    await self._check_hole(place, position, end)
        except RecordUnreadable as error:
            # What the damage is behind must be all there.
            if error.offset is not None and position < error.offset:
                await self._check_hole(place, position, error.offset)
            raise
        except KafkaError as error:
            if type(error).__name__ == "OffsetOutOfRangeError":
                raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more") from error
            raise LogUnavailable(f"{topic}/{partition} cannot be read: {error!r}") from error

    async def lost_in(self, topic: str, partition: int, start: int, end: int) -> list[range]:
        """All offsets of [start, end) of which nothing is left: compaction or a deletion took it. Raises LogUnavailable or HistoryLost."""
        with _as_unavailable(f"{topic}/{partition} cannot be looked at from {start} on"):
            return await self._proofs.lost_in(topic, partition, start, end)

    async def batch_end(self, topic: str, partition: int, offset: int) -> int:
        """The offset behind the batch that holds `offset`, however damaged the batch is: where the next one begins. Raises as `records` does."""
        with _as_unavailable(f"{topic}/{partition} cannot be looked at from {offset} on"):
            fetched = await self._batches.fetch(topic, partition, offset, bytes_max=1)  # one batch always comes, whole
            size = first_batch_bytes(fetched.data)
            fetched = await self._batches.fetch(topic, partition, offset, bytes_max=size + _FOLLOWING_BYTES)
        return max(offset + 1, min(first_batch_end(fetched.data), fetched.end))

    async def unreadable_batch(self, topic: str, partition: int, offset: int) -> UnreadableBatch:
        """The batch that holds `offset`, which cannot be read. Raises as `records` does."""
        with _as_unavailable(f"{topic}/{partition} cannot be looked at from {offset} on"):
            fetched = await self._batches.fetch(topic, partition, offset, bytes_max=1)
        start = first_batch_start(fetched.data)
        end = await self.batch_end(topic, partition, offset)
        return UnreadableBatch(start if 0 <= start <= offset else offset, end, is_too_large(fetched.data))

    async def record(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        """The record at this offset, or None if the offset holds none. Raises as `records` does."""
        async with aclosing(self.records(topic, partition, offset, offset + 1)) as found:
            async for records in found:
                return records[0]
        return None

    async def _check_holes(self, place: TopicPartition, position: int, records: Sequence[LogRecord]) -> None:
        for record in records:
            if record.offset > position:
                await self._check_hole(place, position, record.offset)
            position = record.offset + 1

    async def _check_hole(self, place: TopicPartition, start: int, end: int) -> None:
        if not await self.holds_no_record(place.topic, place.partition, start, end):
            raise LogUnavailable(f"the client passed over records of {place.topic}/{place.partition} from {start} on")

    async def _is_there(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> bool:
        """Asked for the offsets of a partition that does not exist, the client waits for seconds, and then says nothing of it."""
        if self._knows(place):
            return True
        for look in range(1 if place in self._missing else MISSING_LOOKS):
            if look:
                await asyncio.sleep(MISSING_LOOK_SECONDS)
            # The public way says the names of topics alone. All are asked for, since asking for one by name may make it.
            cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001
            self._partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}
            if self._knows(place):
                self._missing.discard(place)
                return True
        self._missing.add(place)
        return False

    def _knows(self, place: TopicPartition) -> bool:
        there = self._partitions.get(place.topic, 0)
        return int(place.partition) < there

    def _nothing_at(self, place: TopicPartition) -> LogUnavailable:
        there = self._partitions.get(place.topic)
        if there is None:
            return LogUnavailable(f"topic {place.topic} does not exist at {', '.join(self._settings.bootstrap_servers)}; {MAKE_TOPICS}")
        asked = f"no number {place.partition}, and TAXIMETER_KAFKA_PARTITIONS is {self._settings.partitions}"
        return LogUnavailable(f"topic {place.topic} has {there} partitions: {asked}; see taximeter topics check")

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer for one read. It is kept for the next one, unless there is one already, or this one failed."""
        await self._wait_for_turn()
        consumer, self._idle = self._idle, None
        keep = True
        try:
            if consumer is None:
                consumer = make_log_reader(self._settings, client_id=self._client_id, fetch=_FETCH)
                keep = False
                await consumer.start()
                fetch_tolerantly(consumer)
                keep = True
            yield consumer
        except (KafkaError, LogUnavailable, TimeoutError):
            keep = False
            raise
        except asyncio.CancelledError:
            keep = False
            if client_cancelled_itself():
                raise LogUnavailable("the client cancelled what waited for it") from None
            raise
        finally:
            if keep and self._idle is None:
                self._idle = consumer
            elif consumer is not None:
                await _stop(consumer)
            async with self._turns:
                self._reads -= 1
                self._turns.notify_all()

    async def _wait_for_turn(self) -> None:
        async with self._turns:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._turns.wait_for(lambda: not self._reads)
            except TimeoutError:
                await self._turns.wait_for(lambda: self._reads < READS_MAX)
            self._reads += 1


@contextmanager
def _as_unavailable(what: str) -> Iterator[None]:
    """What the client fails with, as LogUnavailable; `what` cannot be done then."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"{what}: {error!r}") from error
    except asyncio.CancelledError:
        if client_cancelled_itself():
            raise LogUnavailable(f"{what}: the client cancelled what waited for it") from None
        raise


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError):
        await consumer.stop()


async def _until(consumer: AIOKafkaConsumer, place: TopicPartition, end: int) -> AsyncIterator[Sequence[LogRecord]]:
    loop = asyncio.get_running_loop()
    moved = loop.time()
    position = await consumer.position(place)
    unreadable = 0
    while position < end:
        try:
            batch = await consumer.getmany(place, timeout_ms=READ_POLL_MS)
        except RecordsUnreadable as error:
            unreadable += 1
            if unreadable >= UNREADABLE_MAX:
                raise RecordUnreadable(str(error), offset=error.offset) from error
            continue
        records = [record for record in batch.get(place, ()) if record.offset < end]
        if records:
            yield records
        # The position passes control records, which are never returned.
        after = await consumer.position(place)
        if after > position:
            position, moved, unreadable = after, loop.time(), 0
        elif is_dead(consumer) or loop.time() - moved > STALL_SECONDS:
            raise LogUnavailable(f"{place.topic}/{place.partition} stands at {position} of {end}")


class Appender:
    """Appends records and says where they landed. After a failure the producer is replaced: its sequence of numbers is broken."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections; what was not acknowledged may or may not have arrived."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await discard(producer)

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        """Append one record; returns when all in-sync replicas have it. Raises LogUnavailable, and then it may have arrived or not."""
        producer = await self._started()
        try:
            found = await producer.send_and_wait(topic, value, key=key, partition=partition, headers=list(headers))
        except (KafkaError, TimeoutError, RuntimeError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not client_cancelled_itself():
                raise
            if self._producer is producer:
                await self.close()
            raise LogUnavailable(f"a record could not be appended to {topic}/{partition}: {error!r}") from error
        if found.offset < 0 or (found.log_start_offset or 0) < 0:
            # A broker that took the record before, and has forgotten where, calls it a duplicate; the client calls that success. Every answer with
            # an offset that is known has a log start, also where the client has added a record's place in its batch to an offset of -1.
            raise LogUnavailable(f"a record is in {topic}/{partition}, and the broker does not say at which offset")
        return Appended(found.offset, found.timestamp)

    async def _started(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = make_producer(self._settings.options(), client_id=self._client_id, record_bytes_max=CHAIN_RECORD_BYTES_MAX)
                try:
                    await producer.start()
                except KafkaError as error:
                    await discard(producer)
                    raise LogUnavailable(f"Kafka cannot be reached: {error!r}") from error
                except BaseException:
                    await discard(producer)
                    raise
                self._producer = producer
            return self._producer
