"""A client that cancels what waits for it is Kafka that did not answer; a task that somebody cancels is cancelled."""

import asyncio

import pytest

from metering.kafka import partition_log
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable

KAFKA = KafkaSettings(bootstrap_servers=("127.0.0.1:9",))


class Consumer:
    """Which waits for ever, or is cancelled by its own client."""

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels

    async def start(self) -> None:
        if self._cancels:
            raise asyncio.CancelledError
        await asyncio.sleep(600)

    async def stop(self) -> None: ...


@pytest.mark.parametrize("read", ["bounds", "ends", "record"])
async def test_a_client_that_cancels_itself_is_kafka_that_did_not_answer(read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_log, "make_log_reader", lambda *_, **__: Consumer(cancels=True))
    reader = LogReader(KAFKA, "test")
    work = {"bounds": reader.bounds("t", 0), "ends": reader.ends("t", 0), "record": reader.record("t", 0, 7)}
    for name, each in work.items():
        if name != read:
            each.close()
    with pytest.raises(LogUnavailable, match="cancelled what waited for it"):
        await work[read]


async def test_a_task_that_somebody_cancels_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_log, "make_log_reader", lambda *_, **__: Consumer(cancels=False))
    task = asyncio.create_task(LogReader(KAFKA, "test").bounds("t", 0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_of_the_caller_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_log, "make_log_reader", lambda *_, **__: Consumer(cancels=False))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await LogReader(KAFKA, "test").bounds("t", 0)


class Producer:
    """Which waits for ever, or is cancelled by its own client."""

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels

    async def send_and_wait(self, *_: object, **__: object) -> None:
        if self._cancels:
            raise asyncio.CancelledError
        await asyncio.sleep(600)


@pytest.mark.parametrize("cancels", [True, False])
async def test_an_append_that_the_client_cancels_may_have_arrived_and_one_that_somebody_cancels_is_cancelled(
    cancels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer, discarded = Producer(cancels=cancels), list[object]()

    async def started(_appender: Appender) -> Producer:
        return producer

    async def discard(found: object) -> None:
        discarded.append(found)

    monkeypatch.setattr(Appender, "_started", started)
    monkeypatch.setattr(partition_log, "discard", discard)
    appender = Appender(KAFKA, "test")
    monkeypatch.setattr(appender, "_producer", producer)
    task = asyncio.create_task(appender.append("t", 0, b""))
    await asyncio.sleep(0)
    if not cancels:
        task.cancel()
    with pytest.raises(LogUnavailable if cancels else asyncio.CancelledError):
        await task
    assert discarded == ([producer] if cancels else [])
