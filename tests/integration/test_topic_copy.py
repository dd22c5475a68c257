"""Copies of topics on a broker: the same offsets and times, a start that retention moved, holes where the broker has transactions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from kio.schema.errors import ErrorCode
from taximeter_emitter.clock import SystemClock

from aggregator.stepping_over import SteppingOver
from metering.copying.copied_topics import NotACopy, prepare_copy, set_time_type, time_type
from metering.copying.copy_original import CopyOriginal
from metering.copying.copy_rounds import CopyRounds
from metering.copying.copy_target import CopyDiverged, CopyTarget
from metering.copying.partition_copy import TopicCopy
from metering.kafka.clients import KafkaSettings, make_admin, started
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.kafka.provision import ensure_topics, topic_problems
from metering.kafka.topics import CREATE_TIME, LOG_APPEND_TIME
from metering.records.fail_closed import RecordUnreadable
from metering.records.service_limits import BATCH_INFLATED_BYTES_MAX
from taximeter import cli
from taximeter.exit_codes import FAILED, USAGE
from tests.support.broker import RunningBroker
from tests.support.broker_topics import unique_name
from tests.support.broker_wire import produce_batch
from tests.support.gateway_process import METERS, environment
from tests.support.wire_records import ZSTD, WireBatch, WireRecord

pytestmark = pytest.mark.broker


@pytest.fixture
async def pair(running_broker: RunningBroker) -> AsyncIterator[tuple[KafkaSettings, KafkaSettings, LogReader, CopyTarget]]:
    """Topics, and those of their copy, of one partition on the same broker."""
    source = KafkaSettings(bootstrap_servers=(running_broker.bootstrap,), topic_prefix=unique_name("original"), partitions=1, replication_factor=1)
    other = replace(source, topic_prefix=unique_name("copy"))
    assert await ensure_topics(source, source.topics, clock=SystemClock()) == []
    reader, target = LogReader(source, "test"), CopyTarget(other)
    try:
        yield source, other, reader, target
    finally:
        await reader.close()
        await target.close()


async def contents(reader: LogReader, topic: str) -> list[tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]]:
    found = [record async for batch in reader.records(topic, 0, *await reader.bounds(topic, 0)) for record in batch]
    return [(record.offset, record.timestamp, record.key, record.value, tuple(record.headers)) for record in found]


async def append(kafka: KafkaSettings, topic: str, *values: bytes) -> None:
    appender = Appender(kafka, "test")
    try:
        for value in values:
            await appender.append(topic, 0, value, key=b"k", headers=[("h", b"1"), ("n", None)])
    finally:
        await appender.close()


async def test_a_copy_has_the_offsets_the_times_and_the_holes_of_the_original(
    pair: tuple[KafkaSettings, KafkaSettings, LogReader, CopyTarget], running_broker: RunningBroker
) -> None:
    source, other, reader, target = pair
    original, copied = source.topics.events.name, other.topics.events.name
    await append(source, original, *(b"%d" % number for number in range(10)), b"x" * 900_000)
    if running_broker.broker.name == "apache":
        await write_holes(source, original)
    await append(source, original, b"last")
    admin = make_admin(source, client_id="test")
    await admin.start()
    await admin.delete_records({TopicPartition(original, 0): RecordsToDelete(before_offset=4)})
    await admin.close()

    assert await prepare_copy(other, target, clock=SystemClock()) == []
    copy = TopicCopy(reader, target, original, copied)
    start, end = await reader.bounds(original, 0)
    assert start == 4
    for until in (7, end):
        await copy.copy(0, until)
        assert await target.bounds(copied, 0) == (4, until)
    assert await contents(reader, copied) == await contents(reader, original)
    if end > 12:
        assert await reader.holds_no_record(copied, 0, 12, 13)

    # Services refuse it, until it takes the broker's time again: then records that it has keep theirs, and all other settings are as before.
    assert any("taximeter repair adopt" in problem for problem in await topic_problems(other, other.topics, clock=SystemClock()))
    for spec in other.topics:
        assert await time_type(other, spec) == CREATE_TIME
        await set_time_type(other, spec, LOG_APPEND_TIME)
    await asyncio.sleep(0)
    assert await topic_problems(other, other.topics, clock=SystemClock()) == []
    await append(other, copied, b"new")
    found = await contents(reader, copied)
    assert found[:-1] == await contents(reader, original)
    assert found[-1][0] == end
    with pytest.raises(CopyDiverged, match=f"ends at {end + 1}, and the original at {end}"):
        await copy.copy(0, end)
    with pytest.raises(NotACopy, match="has records that are no copy"):
        await prepare_copy(other, target, clock=SystemClock())


async def test_a_record_of_somebody_else_is_noticed_with_the_next_that_is_copied(
    pair: tuple[KafkaSettings, KafkaSettings, LogReader, CopyTarget],
) -> None:
    source, other, reader, target = pair
    original, copied = source.topics.tallies.name, other.topics.tallies.name
    await append(source, original, b"a", b"b")
    assert await prepare_copy(other, target, clock=SystemClock()) == []
    records = [record async for batch in reader.records(original, 0, 0, 2) for record in batch]
    await target.append(copied, 0, records[:1])
    await append(other, copied, b"foreign")
    with pytest.raises(CopyDiverged, match="was at 1, and the next record landed at 2"):
        await target.append(copied, 0, records[1:])


async def test_a_batch_that_cannot_be_read_stops_its_partition_and_once_stepped_over_nothing(running_broker: RunningBroker) -> None:
    source = KafkaSettings(bootstrap_servers=(running_broker.bootstrap,), topic_prefix=unique_name("original"), partitions=2, replication_factor=1)
    other = replace(source, topic_prefix=unique_name("copy"))
    assert await ensure_topics(source, source.topics, clock=SystemClock()) == []
    reader, appender, target = LogReader(source, "test"), Appender(source, "test"), CopyTarget(other)
    topic, copied = source.topics.events.name, other.topics.events.name
    too_large = WireBatch([WireRecord(None, bytes(BATCH_INFLATED_BYTES_MAX + 1))], ZSTD).encoded()
    try:
        assert (await produce_batch(running_broker.bootstrap, topic, too_large)).error_code is ErrorCode.none
        for partition in (0, 1):
            await appender.append(topic, partition, b"behind")
        assert await prepare_copy(other, target, clock=SystemClock()) == []
        rounds = CopyRounds(CopyOriginal(reader, source.topics), target, original=source.topics, copied=other.topics, partitions=2)
        with pytest.raises(RecordUnreadable, match=r"all but 1 of 2 partitions.*repair skip --partition 0 --offset 0"):
            await rounds.copy()
        assert [await target.bounds(copied, partition) for partition in (0, 1)] == [(0, 0), (0, 1)]
        stepping = SteppingOver(reader, source.topics, 0, clock=SystemClock())
        await stepping.apply(await stepping.find(0), appender, reason="a mis-set producer", by="ann")
        if running_broker.broker.name != "apache":
            with pytest.raises(LogUnavailable, match="has no transactions"):
                await rounds.copy()
            return
        await rounds.copy()
        assert [await target.bounds(copied, partition) for partition in (0, 1)] == [(0, 2), (0, 1)]
        assert await reader.holds_no_record(copied, 0, 0, 1)
        await rounds.check()
    finally:
        for each in (reader, appender, target):
            await each.close()


async def write_holes(kafka: KafkaSettings, topic: str) -> None:
    """A marker behind a record, and two aborted records with theirs."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers[0], transactional_id=unique_name("holes"))
    async with started(producer):
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=0)
        await producer.begin_transaction()
        for _ in range(2):
            await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("topics", "copy", "--yes"), USAGE, "say where to"),
        (("topics", "copy", "--to", "HERE", "--yes"), FAILED, "of the same cluster"),
        (("topics", "copy", "--to", "HERE", "--json"), FAILED, "add --yes"),
        (("topics", "catch-up"), USAGE, "say which cluster was left"),
        (("repair", "adopt"), USAGE, "say which cluster is left"),
        (("repair", "adopt", "--from", "HERE", "--old-gone"), USAGE, "say which cluster is left"),
        (("repair", "adopt", "--from", "HERE"), FAILED, "that is this cluster"),
        (("repair", "adopt", "--old-gone"), FAILED, "they are in use here"),
        (("repair", "adopt", "--reopen"), FAILED, "no ledger here is closed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_cannot_be_right_is_refused(
    pair: tuple[KafkaSettings, KafkaSettings, LogReader, CopyTarget], arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "taximeter.toml").write_text(METERS)
    servers = pair[0].bootstrap_servers[0]
    words = [servers if word == "HERE" else word for word in arguments]

    def run() -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patched, redirect_stderr(StringIO()) as shown:
            for name, value in environment(pair[0], {}).items():
                patched.setenv(name, value)
            patched.chdir(tmp_path)
            try:
                return cli.main(words), shown.getvalue()
            except SystemExit as ended:
                return int(ended.code or 0), shown.getvalue()

    found, shown = await asyncio.to_thread(run)
    assert (found, said in shown) == (code, True), shown
