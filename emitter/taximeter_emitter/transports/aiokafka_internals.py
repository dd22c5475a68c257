"""What only aiokafka's private attributes can tell or do; checked with the version that the tests name.

Of all other modules only node_connections and metering.kafka.tolerant_fetching use them.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from taximeter_emitter.deadlines import timeout

CHECKED_WITH: Final = "0.14"
"""The minor version of aiokafka whose source was read for what is here."""

DISCARD_SECONDS: Final = 2.0
ADD_LOOK_SECONDS: Final = 0.005


def client_of(owner: Any) -> Any:
    """The AIOKafkaClient inside a producer, a consumer or an administration client; or the owner itself, if it is one."""
    if isinstance(owner, AIOKafkaClient):
        return owner
    return owner.client if isinstance(owner, AIOKafkaProducer) else owner._client


def silent_seconds(owner: Any) -> float:
    """For how long no node has answered a producer, consumer or administration client that reaches nodes apart. A member of a group always asks."""
    found: float = client_of(owner).silent_seconds()
    return found


def limit_produce_wait(producer: AIOKafkaProducer, seconds: float) -> None:
    """How long a broker may hold back the answer to a produce request while a copy is not written; then the record is sent again.

    A broker answers one request of a connection after the other, and a request has records of many partitions. So this must be well below the
    time after which the connection is given up, and it is how long one partition keeps others of the same leader waiting.
    """
    producer._sender._request_timeout_ms = round(seconds * 1000)


async def add_to_transaction(producer: AIOKafkaProducer, place: TopicPartition) -> None:
    """Make a partition part of the transaction that has begun, without a record: its end then leaves a marker there, and nothing else.

    Waits for the broker; raises the KafkaError with which it refuses.
    """
    manager = producer._txn_manager
    manager.maybe_add_partition_to_txn(place)
    while place not in manager.txn_partitions:
        failed = manager.wait_for_transaction_end()
        if failed.done():
            failed.result()
        await asyncio.sleep(ADD_LOOK_SECONDS)


def is_dead(consumer: AIOKafkaConsumer) -> bool:
    """Whether the tasks behind a started consumer have ended, as they do on an error that aiokafka did not expect.

    It would then return nothing forever: `getmany` raises only for the group's task, and not for the one that fetches.
    """
    tasks = (consumer._fetcher._fetch_task, getattr(consumer._coordinator, "_coordination_task", None))
    return any(task is not None and task.done() for task in tasks)


async def discard(producer: AIOKafkaProducer) -> None:
    """Disconnect a producer, even from a silent broker; what was not acknowledged may or may not have arrived. Blocks a few seconds at most.

    `AIOKafkaProducer.stop` flushes first, which never ends while the broker is away, so its parts are stopped by hand.
    """
    producer._closed = True  # it is, from here on; its finaliser warns otherwise
    sender = producer._sender.sender_task
    with suppress(KafkaError, OSError, TimeoutError, asyncio.TimeoutError):
        async with timeout(DISCARD_SECONDS):
            await producer.client.close()
    metadata = producer.client._md_update_fut
    if metadata is not None and not metadata.done():
        # The task that would have resolved it is gone, and the sender waits for it.
        metadata.set_result(False)
    for _ in range(2):
        # The first cancellation waits for requests under way, the second does not.
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=DISCARD_SECONDS)
    if sender is not None and sender.done() and not sender.cancelled():
        sender.exception()
