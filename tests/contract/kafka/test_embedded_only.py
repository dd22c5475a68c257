"""What only the embedded broker does: faults on demand, and plain refusals of what it leaves out."""

import asyncio
import io
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.errors import TransactionalIdAuthorizationFailed
from kio.index import load_request_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer
from taximeter_sandbox.kafka.control_port import send_control
from taximeter_sandbox.kafka.protocol.codec import build_entity

from tests.support.broker_clients import admin_on, consumer_on, producer_on, read_records
from tests.support.broker_process import BrokerProcess, embedded_broker, spawn_broker
from tests.support.broker_topics import LOG_APPEND_TIME, make_topic
from tests.support.broker_wire import call, exchange, produce_batch, produce_request, record_batch

_HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with embedded_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def _produce_bytes(topic: str, batch: bytes) -> bytes:
    """What follows the correlation id in a produce request of version 8."""
    schema = load_request_schema(0, 8)
    buffer = io.BytesIO()
    entity_writer(schema)(buffer, build_entity(schema, produce_request(topic, batch)))
    return struct.pack(">h", -1) + buffer.getvalue()


async def _values(bootstrap: str, topic: str) -> list[bytes]:
    async with consumer_on(bootstrap) as consumer:
        partition = TopicPartition(topic, 0)
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.assign([partition])
        consumer.seek(partition, (await consumer.beginning_offsets([partition]))[partition])
        return [record.value for record in await read_records(consumer, end)] if end else []


async def test_an_append_is_acknowledged_and_lost(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    await send_control(_HOST, embedded.control_port, {"fault": "lose_append", "topic": topic})
    async with producer_on(embedded.bootstrap, enable_idempotence=False) as producer:
        lost = await producer.send_and_wait(topic, b"lost")
        kept = await producer.send_and_wait(topic, b"kept")
    assert (lost.offset, kept.offset) == (0, 0)
    assert await _values(embedded.bootstrap, topic) == [b"kept"]


async def test_a_lost_acknowledgement_makes_an_idempotent_producer_retry_and_store_once(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    async with producer_on(embedded.bootstrap, retry_backoff_ms=20) as producer:
        await producer.send_and_wait(topic, b"first")
        await send_control(_HOST, embedded.control_port, {"fault": "lose_acknowledgement", "topic": topic})
        placed = await producer.send_and_wait(topic, b"once")
    assert placed.offset == 1
    assert await _values(embedded.bootstrap, topic) == [b"first", b"once"]


async def test_a_lost_acknowledgement_makes_a_plain_producer_store_twice(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    await send_control(_HOST, embedded.control_port, {"fault": "lose_acknowledgement"})
    async with producer_on(embedded.bootstrap, enable_idempotence=False, retry_backoff_ms=20) as producer:
        await producer.send_and_wait(topic, b"twice")
    assert await _values(embedded.bootstrap, topic) == [b"twice", b"twice"]


async def test_a_frozen_broker_answers_when_it_thaws(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    async with producer_on(embedded.bootstrap) as producer:
        started = time.monotonic()
        await send_control(_HOST, embedded.control_port, {"fault": "freeze", "seconds": 1})
        await producer.send_and_wait(topic, b"x")
    assert time.monotonic() - started >= 0.9


async def test_a_slow_broker_answers_late_until_it_is_told_to_stop(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    async with producer_on(embedded.bootstrap) as producer:
        await send_control(_HOST, embedded.control_port, {"fault": "delay", "milliseconds": 300, "seconds": 60})
        started = time.monotonic()
        await producer.send_and_wait(topic, b"x")
        assert time.monotonic() - started >= 0.3
        await send_control(_HOST, embedded.control_port, {"fault": "clear"})
        await producer.send_and_wait(topic, b"x")


@pytest.mark.parametrize("command", [{"fault": "earthquake"}, {"fault": "freeze"}, {"fault": "freeze", "seconds": "long"}, {}])
async def test_an_unknown_fault_is_refused(embedded: BrokerProcess, command: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await send_control(_HOST, embedded.control_port, command)


async def test_transactions_are_refused_at_once(embedded: BrokerProcess) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap, transactional_id="t")
    try:
        with pytest.raises(TransactionalIdAuthorizationFailed):
            await producer.start()
    finally:
        await producer.stop()


async def test_compaction_and_recompression_are_refused(embedded: BrokerProcess) -> None:
    async with admin_on(embedded.bootstrap) as admin:
        for config in ({"cleanup.policy": "compact"}, {"compression.type": "zstd"}):
            response = await admin.create_topics([NewTopic("refused", 1, 1, topic_configs=config)])
            assert response.topic_errors[0][1] == ErrorCode.invalid_config
        assert "refused" not in await admin.list_topics()


async def test_writes_that_want_more_replicas_are_refused(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap, config={"min.insync.replicas": "2"})
    assert (await produce_batch(embedded.bootstrap, topic, record_batch([b"x"]))).error_code is ErrorCode.not_enough_replicas


async def test_a_newer_client_is_told_which_versions_there_are(embedded: BrokerProcess) -> None:
    answer = await exchange(embedded.bootstrap, struct.pack(">hhih", 18, 99, 5, -1))
    correlation_id, error, count = struct.unpack_from(">ihi", answer)
    assert (correlation_id, error) == (5, ErrorCode.unsupported_version)
    assert count > 20


@pytest.mark.parametrize(
    "message",
    [
        b"\x00",
        struct.pack(">hhih", 999, 0, 1, -1),
        struct.pack(">hhih", 0, 2, 1, -1),
        struct.pack(">hhih", 3, 12, 1, -1) + b"\xff" * 40,
        struct.pack(">hhih", 1, 11, 1, -1) + b"\x7f" * 200,
        struct.pack(">hhih", 18, 0, 1, -1) + b"too much",
    ],
    ids=["short", "unknown-api", "old-version", "garbage", "absurd-lengths", "trailing"],
)
async def test_nonsense_closes_that_connection_only(embedded: BrokerProcess, message: bytes) -> None:
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await exchange(embedded.bootstrap, message)
    assert (await call(embedded.bootstrap, 18, 0, {})).error_code is ErrorCode.none


async def test_a_request_that_announces_too_much_closes_the_connection(embedded: BrokerProcess) -> None:
    host, _, port = embedded.bootstrap.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(struct.pack(">i", 2**31 - 1))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1)
    writer.close()


async def test_requests_sent_all_at_once_are_answered_in_order(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    host, _, port = embedded.bootstrap.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    # Many small ones and enough bytes for the broker to stop reading; nothing is read from it until all is sent.
    small = [struct.pack(">hhih", 18, 0, number, -1) for number in range(500)]
    large = [struct.pack(">hhi", 0, 8, number) + _produce_bytes(topic, record_batch([b"x" * 900_000])) for number in range(500, 512)]
    for message in (*small, *large):
        writer.write(struct.pack(">i", len(message)) + message)
    for number in range(512):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        assert struct.unpack_from(">i", await reader.readexactly(size)) == (number,)
    writer.close()
    await writer.wait_closed()
    assert len(await _values(embedded.bootstrap, topic)) == 12


async def test_without_acknowledgement_nothing_is_answered_and_the_record_is_there(embedded: BrokerProcess) -> None:
    topic = await make_topic(embedded.bootstrap)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await call(embedded.bootstrap, 0, 8, produce_request(topic, record_batch([b"x"]), acks=0))
    assert await _values(embedded.bootstrap, topic) == [b"x"]


async def test_an_orderly_stop_exits_with_0_and_keeps_everything(tmp_path: Path) -> None:
    with embedded_broker(tmp_path, "--fsync", "always") as running:
        topic = await make_topic(running.bootstrap, config=LOG_APPEND_TIME)
        async with producer_on(running.bootstrap) as producer:
            for number in range(20):
                await producer.send_and_wait(topic, b"%d" % number)
            running.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.process.wait, 10) == 0
    with embedded_broker(tmp_path) as running:
        assert await _values(running.bootstrap, topic) == [b"%d" % number for number in range(20)]


async def test_a_moved_log_start_survives_kill_9(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as running:
        topic = await make_topic(running.bootstrap)
        async with producer_on(running.bootstrap) as producer, admin_on(running.bootstrap) as admin:
            for number in range(10):
                await producer.send_and_wait(topic, b"%d" % number)
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
        running.process.kill()
    with embedded_broker(tmp_path) as running:
        async with consumer_on(running.bootstrap) as consumer:
            assert (await consumer.beginning_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)] == 4


async def test_a_second_broker_on_the_same_folder_does_not_start(tmp_path: Path) -> None:
    with embedded_broker(tmp_path):
        second = spawn_broker(tmp_path)
        _, errors = await asyncio.to_thread(second.communicate, None, 20)
        assert second.returncode == 1
        assert "another broker runs" in errors


async def test_a_damaged_log_is_not_served(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as running:
        topic = await make_topic(running.bootstrap)
        async with producer_on(running.bootstrap) as producer:
            for number in range(3):
                await producer.send_and_wait(topic, b"%d" % number)
    (log,) = (tmp_path / "logs").glob("*/0.log")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    broken = spawn_broker(tmp_path)
    _, errors = await asyncio.to_thread(broken.communicate, None, 20)
    assert broken.returncode == 1
    assert "is damaged" in errors
