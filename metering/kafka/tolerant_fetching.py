"""Lets a started consumer of aiokafka read whatever brokers take, and charges what is damaged to its partition.

aiokafka gives up a partition for ever at a record that it cannot parse, loses the records before it, ends all fetching at lengths that cannot
be, and inflates what is compressed without a bound. Here each batch is inflated within bounds and read by itself, in one of two forms: AsRecords
or AsParts. If a batch cannot be read, `getmany` raises RecordsUnreadable for that partition once everything before it was returned, again and
again, until the position is moved.

This touches private attributes; it was written against the minor version CHECKED_WITH of taximeter_emitter.transports.aiokafka_internals.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.errors import KafkaError

from metering.kafka.batches.plain_batches import HEADER_BYTES, BatchUnreadable
from metering.kafka.batches.responses import AS_RECORDS, GivenForm, Response

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


def fetch_tolerantly(consumer: AIOKafkaConsumer, form: GivenForm = AS_RECORDS) -> None:
    """To be called right after `start`, before partitions are assigned or subscribed to."""
    fetcher = consumer._fetcher
    client = _FetchingClient(fetcher._client)
    fetcher._client = client
    fetcher._records = _Results(client, fetcher, form)


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

    def __init__(self, client: _FetchingClient, fetcher: Any, form: GivenForm) -> None:
        super().__init__()
        self._client = client
        self._fetcher = fetcher
        self._form = form

    def __setitem__(self, place: TopicPartition, result: Any) -> None:
        fetched = self._client.fetched.pop(place, None)
        if type(result) is FetchResult and fetched is not None:
            result = self._tolerant(place, result, fetched)
        super().__setitem__(place, result)

    def _tolerant(self, place: TopicPartition, result: Any, fetched: bytes) -> Any:
        try:
            result._partition_records = self._items(place, result._partition_records, fetched)
        except BatchUnreadable as error:
            offset = result._partition_records.next_fetch_offset
            return FetchError(error=RecordsUnreadable(place, offset, str(error)), backoff=self._fetcher._prefetch_backoff)
        return result

    def _items(self, place: TopicPartition, replaced: Any, fetched: bytes) -> "_FetchedItems":
        doubtful = self._client.doubtful
        aborted, offset = replaced._aborted_transactions, replaced.next_fetch_offset
        response = self._form.response(fetched, aborted, offset, doubtful=place in doubtful)
        doubtful.discard(place)
        return _FetchedItems(place, response, doubtful)


class _FetchedItems:
    """The items of a response, where the library has its PartitionRecords. A place whose next batch is damaged goes into `doubtful`."""

    def __init__(self, place: TopicPartition, response: Response, doubtful: set[TopicPartition]) -> None:
        self._place = place
        self._response = response
        self._doubtful = doubtful
        self._items = self._all()

    def __iter__(self) -> Iterator[Any]:
        return self._items

    @property
    def next_fetch_offset(self) -> int:
        return self._response.next_offset

    def _all(self) -> Iterator[Any]:
        yield from self._response.items()
        if self._response.is_damaged:
            self._doubtful.add(self._place)
