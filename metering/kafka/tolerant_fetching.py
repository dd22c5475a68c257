"""Lets a started consumer of aiokafka read whatever brokers take, and charges what is damaged to its partition.

aiokafka gives up a partition for ever at a record that it cannot parse, loses the records before it, ends all fetching at lengths that cannot
be, and inflates what is compressed without a bound. Here each batch is inflated within bounds and read by itself: by aiokafka, which is quick,
and if that fails by metering.kafka.batches.plain_batches. If that fails too,
`getmany` raises RecordsUnreadable for that partition once everything before it was returned, again and again, until the position is moved.

This touches private attributes; it was written against the minor version CHECKED_WITH of taximeter_emitter.transports.aiokafka_internals.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import ConsumerRecord

from metering.kafka.batches.plain_batches import HEADER_BYTES, BatchHeader, BatchUnreadable, batches, header_of, records_of, uncompressed
from metering.records.service_limits import BATCH_INFLATED_BYTES_MAX

_FETCH: Final = 1  # the number of the request
# What the library parses in place of what was fetched: the header of a batch without records.
_STAND_IN: Final = bytes(8) + (HEADER_BYTES - 12).to_bytes(4, "big") + bytes(4) + b"\2" + bytes(HEADER_BYTES - 17)


class RecordsUnreadable(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The batch at this offset of a partition is damaged, or of a form that nobody knows."""

    def __init__(self, place: TopicPartition, offset: int, reason: str) -> None:
        super().__init__(f"{place.topic}/{place.partition} cannot be read from offset {offset} on: {reason}")
        self.place = place
        self.offset = offset
        self.reason = reason


def fetch_tolerantly(consumer: AIOKafkaConsumer) -> None:
    """To be called right after `start`, before partitions are assigned or subscribed to."""
    fetcher = consumer._fetcher
    client = _FetchingClient(fetcher._client)
    fetcher._client = client
    fetcher._records = _Results(client, fetcher)


class _FetchingClient:
    """The library's client, which keeps what was fetched to itself."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.fetched: dict[TopicPartition, bytes] = {}
        self.doubtful: set[TopicPartition] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        response = await self._client.send(node_id, request, **options)
        if response is not None and response.API_KEY == _FETCH:
            for topic, partitions in response.topics:
                for place, (partition, *about, fetched) in enumerate(partitions):
                    self.fetched.pop(TopicPartition(topic, partition), None)
                    if fetched:
                        self.fetched[TopicPartition(topic, partition)] = bytes(fetched)
                        partitions[place] = (partition, *about, _STAND_IN)
        return response


class _Results(OrderedDict[TopicPartition, Any]):
    """Fetched and not returned yet, by partition."""

    def __init__(self, client: _FetchingClient, fetcher: Any) -> None:
        super().__init__()
        self._client = client
        self._fetcher = fetcher

    def __setitem__(self, place: TopicPartition, result: Any) -> None:
        fetched = self._client.fetched.pop(place, None)
        if type(result) is FetchResult and fetched is not None:
            result = self._tolerant(place, result, fetched)
        super().__setitem__(place, result)

    def _tolerant(self, place: TopicPartition, result: Any, fetched: bytes) -> Any:
        try:
            result._partition_records = _FetchedRecords(place, result._partition_records, fetched, doubtful=self._client.doubtful)
        except BatchUnreadable as error:
            offset = result._partition_records.next_fetch_offset
            return FetchError(error=RecordsUnreadable(place, offset, str(error)), backoff=self._fetcher._prefetch_backoff)
        return result


class _OpenedBatch(NamedTuple):
    """A batch whose checksum is right: its bytes, its header as read here, and what the library sees of it before its records."""

    data: memoryview
    header: BatchHeader
    batch: Any


class _FetchedRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """The records of one partition of one response, up to the first batch that cannot be read.

    Raises BatchUnreadable if that is the very first: at once for a wrong checksum or form, and for its records if the place is in `doubtful`. That
    they cannot be read is found out when they are asked for, and then the place is put there; the next response begins with the same batch.
    """

    def __init__(self, place: TopicPartition, replaced: Any, fetched: bytes, *, doubtful: set[TopicPartition]) -> None:
        super().__init__(place, None, replaced._aborted_transactions, replaced.next_fetch_offset, None, None, True, replaced._isolation_level)
        self.next_fetch_offset: int = replaced.next_fetch_offset
        self._doubtful = doubtful
        self._batches = batches(fetched)
        self._first: _OpenedBatch | None = _opened(next(self._batches))
        if place in doubtful:
            records_of(self._first.data, self._first.header)
            doubtful.discard(place)

    def _unpack_records(self) -> Iterator[ConsumerRecord[bytes, bytes]]:
        found = self._first
        self._first = None
        inflated = 0
        while found is not None:
            if not self._leaves_out(found.batch):
                try:
                    # One at a time, when it is its turn: others wait as they were fetched.
                    clear, header = uncompressed(found.data, found.header)
                    yield from self._records_of(clear, header)
                except BatchUnreadable:
                    self._doubtful.add(self._tp)
                    return
                inflated += len(clear)
            # Beyond the last record there may be offsets that compaction emptied.
            self.next_fetch_offset = max(self.next_fetch_offset, found.header.next_offset)
            if inflated >= BATCH_INFLATED_BYTES_MAX:
                return  # the next fetch begins here
            found = self._next()

    def _records_of(self, clear: memoryview, header: BatchHeader) -> Iterator[ConsumerRecord[bytes, bytes]]:
        try:
            yield from self._new(_in_order(clear, header))
        except Exception:  # the library's parsers raise whatever they come upon
            yield from self._new(records_of(clear, header))

    def _new(self, records: Iterable[Any]) -> Iterator[ConsumerRecord[bytes, bytes]]:
        """Those that were not given out yet."""
        for record in records:
            if record.offset >= self.next_fetch_offset:
                consumer_record = self._consumer_record(self._tp, record)
                self.next_fetch_offset = record.offset + 1
                yield consumer_record

    def _next(self) -> _OpenedBatch | None:
        try:
            return _opened(next(self._batches))
        except (StopIteration, BatchUnreadable):
            return None  # the next fetch begins there, and says so

    def _leaves_out(self, batch: Any) -> bool:
        """Whether a batch holds the marker of a transaction, or records of one that was aborted."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)


def _in_order(clear: memoryview, header: BatchHeader) -> Iterator[Any]:
    """The records as the library reads them, while their offsets are those that follow. Raises BatchUnreadable where they are not.

    It takes the attributes of a record for a number of several bytes. Where that goes wrong it may raise nothing, and give a wrong offset.
    """
    expected = header.base_offset
    for record in DefaultRecordBatch(clear):
        if record.offset != expected:
            break
        expected += 1
        yield record
    if expected != header.next_offset:
        raise BatchUnreadable(f"the library finds no record at offset {expected}")


def _opened(data: memoryview) -> _OpenedBatch:
    """Raises BatchUnreadable."""
    header = header_of(data)
    if header.is_control:  # the library looks into it before anything else
        data, header = uncompressed(data, header)
    return _OpenedBatch(data, header, DefaultRecordBatch(data))
