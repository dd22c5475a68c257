"""Fetching a part of a partition as the broker stores it, transaction markers and aborted data included: no consumer shows those."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from aiokafka import AIOKafkaClient, TopicPartition
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from taximeter_emitter.transports.kafka_connection import connection_arguments, reaching_nodes_apart

from metering.kafka.clients import KafkaSettings
from metering.records.fail_closed import HistoryLost

LEADER_SECONDS_MAX: Final = 5.0  # how long a partition may be without a leader that answers: a new topic, or leadership that moves
_LEADER_POLL_SECONDS: Final = 0.1
_READ_COMMITTED: Final = 1


class Fetched(NamedTuple):
    """Batches from the one that holds the offset asked for. `end` is the high watermark, `stable_end` the end of what is committed or aborted.

    `aborted`: producer id and first offset of the aborted transactions among the batches.
    """

    end: int
    stable_end: int
    aborted: Sequence[tuple[int, int]]
    data: bytes


class BatchFetcher:
    """Owns a Kafka client, which is opened with the first fetch."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaClient | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections; the next fetch opens them again."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaError):
                await client.close()

    async def fetch(self, topic: str, partition: int, offset: int, *, bytes_max: int) -> Fetched:
        """What is there now, one batch at least if there is any: no record is waited for. Raises HistoryLost outside the log, or KafkaError.

        Takes LEADER_SECONDS_MAX longer while the partition has no leader.
        """
        deadline = asyncio.get_running_loop().time() + LEADER_SECONDS_MAX
        while True:
            try:
                return await self._fetch(TopicPartition(topic, partition), offset, bytes_max)
            except OffsetOutOfRangeError as error:
                raise HistoryLost(f"offset {offset} of {topic}/{partition} is not kept any more") from error
            except KafkaError as error:
                # Others may fetch from other brokers meanwhile: the client stays, and learns who leads.
                if self._client is None or not error.invalid_metadata:
                    raise
                await self._client.force_metadata_update()
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_LEADER_POLL_SECONDS)

    async def _fetch(self, place: TopicPartition, offset: int, bytes_max: int) -> Fetched:
        client = await self._started()
        leader = client.cluster.leader_for_partition(place)
        if leader is None or leader < 0:
            await client.add_topic(place.topic)
            await client.force_metadata_update()
            leader = client.cluster.leader_for_partition(place)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{place.topic}/{place.partition}")
        request = FetchRequest(0, 0, bytes_max, _READ_COMMITTED, [(place.topic, [(place.partition, offset, bytes_max)])])
        response = await client.send(leader, request)
        for _, partitions in response.topics:
            for _, code, end, stable_end, *rest in partitions:
                if for_code(code) is not NoError:
                    raise for_code(code)(f"fetching from offset {offset}")
                # Between them, depending on the version: log start and preferred replica.
                aborted = next((entry for entry in rest if isinstance(entry, list)), None)
                return Fetched(end, stable_end, aborted or (), bytes(rest[-1] or b""))
        raise KafkaError(f"the answer for {place.topic}/{place.partition} is empty")

    async def _started(self) -> AIOKafkaClient:
        async with self._lock:
            if self._client is None:
                options = self._settings.options()
                client = reaching_nodes_apart(AIOKafkaClient(**connection_arguments(options, self._client_id)), options)
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client
