"""Whatever a broker takes is an event or a dead letter; what is damaged costs its partition, and no other."""

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode
from taximeter_emitter.wire.partitioner import partition_of

from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordUnreadable
from metering.records.tally import Tally, decode_tally
from tests.support import wire_strategies
from tests.support.aggregator_process import aggregator
from tests.support.broker_wire import produce_batch
from tests.support.gateway_process import environment
from tests.support.usage_topic import PARTITIONS, make_topics, read_topic, settings_for
from tests.support.wire_records import GZIP, LZ4, SNAPPY, ZSTD, WireBatch, WireRecord

pytestmark = pytest.mark.broker

BATCHES = 60
HOME = {partition: next(f"cus_{n}" for n in range(1_000) if partition_of(f"cus_{n}", PARTITIONS) == partition) for partition in range(PARTITIONS)}
VALUES = st.one_of(
    wire_strategies.FIELDS,
    st.sampled_from([b'{"customer":"cus_1","usage":{"n":1}}', b"{", b"[]", b'{"taximeter":2}', b'{"customer":"\xff"}', b'{"usage":{"n":1e400}}']),
)


def good(partition: int, number: int) -> WireRecord:
    value = {"id": f"good-{partition}-{number}", "customer": HOME[partition], "usage": {"n": 1}, "dimensions": {"good": "yes"}}
    return WireRecord(HOME[partition].encode(), orjson.dumps(value))


async def put(kafka: KafkaSettings, partition: int, batch: bytes) -> bool:
    """Whether the broker took it."""
    for _ in range(100):
        answer = await produce_batch(kafka.bootstrap_servers[0], kafka.topics.events.name, batch, partition=partition)
        if answer.error_code is not ErrorCode.not_leader_or_follower:
            return bool(answer.error_code is ErrorCode.none)
        await asyncio.sleep(0.05)
    return False


def drawn_batches(wanted: int) -> list[WireBatch]:
    """The same ones in each run."""
    found: list[WireBatch] = []

    @seed(11)
    @settings(max_examples=wanted, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(wire_strategies.batches(VALUES))
    def draw(batch: WireBatch) -> None:
        found.append(batch)

    draw()
    return found


def step_over(kafka: KafkaSettings, *, partition: int = 0, offset: int = 2) -> str:
    """What the command says that steps over the damaged batch."""
    command = ["repair", "skip", "--partition", str(partition), "--offset", str(offset), "--reason", "the disk broke", "--by", "ann", "--yes"]
    return subprocess.run(
        [sys.executable, "-m", "taximeter", *command], env=environment(kafka, {}), check=True, capture_output=True, text=True
    ).stdout


async def tallies(kafka: KafkaSettings) -> list[Tally]:
    """There is one aggregator, so each of them is accepted."""
    return [decode_tally(value) for _, value in await read_topic(kafka, kafka.topics.tallies.name)]


async def outcomes(kafka: KafkaSettings) -> tuple[int, int]:
    """Records that are in tallies, and good events that are."""
    found = await tallies(kafka)
    return sum(tally.records.total for tally in found), sum(row.events for tally in found for row in tally.rows if row.customer in HOME.values())


async def test_every_batch_that_the_broker_takes_is_accounted_for_and_its_neighbours_count(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    records = goods = 0
    with aggregator(kafka, tmp_path) as process:
        for number, batch in enumerate(drawn_batches(BATCHES)):
            partition = number % PARTITIONS
            records += len(batch.records) * await put(kafka, 0, batch.encoded())
            assert await put(kafka, partition, WireBatch([good(partition, number)]).encoded())
            goods += 1
        assert records > BATCHES
        async with asyncio.timeout(120):
            while (found := await outcomes(kafka))[0] < records + goods:
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        process.until_it_says('"ok":true')
    assert found[0] == records + goods
    assert found[1] >= goods
    report = await verify(kafka)
    assert report.problems.shown == []


async def test_a_damaged_batch_stops_its_partition_by_name_and_no_other(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    assert await put(kafka, 0, WireBatch([good(0, 0), good(0, 1)]).encoded())
    if not await put(kafka, 0, WireBatch([good(0, 2)]).around(b"\xff\xff\xff")):
        pytest.skip("this broker looks into batches and takes no damaged ones")
    assert await put(kafka, 0, WireBatch([good(0, 3)]).encoded())
    with aggregator(kafka, tmp_path) as process:
        for partition in range(1, PARTITIONS):
            assert await put(kafka, partition, WireBatch([good(partition, 0)]).encoded())
        async with asyncio.timeout(120):
            while (await outcomes(kafka))[1] < 2 + PARTITIONS - 1:
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        process.until_it_says("RecordUnreadable: the records from offset 2 on cannot be read: a record is cut off")
        for partition in range(1, PARTITIONS):
            assert await put(kafka, partition, WireBatch([good(partition, 1)]).encoded())
        async with asyncio.timeout(120):
            while (await outcomes(kafka))[1] < 2 + 2 * (PARTITIONS - 1):
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        # Somebody steps over it, and what is behind it is counted without a restart.
        said = [await asyncio.to_thread(step_over, kafka) for _ in range(2)]
        assert "was stepped over by ann" in said[-1]
        async with asyncio.timeout(120):
            while (await outcomes(kafka))[1] < 3 + 2 * (PARTITIONS - 1):
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        process.until_it_says('"ok":true')
    with aggregator(kafka, tmp_path) as process:  # a new owner does not read there again
        process.until_it_says('"ok":true')
    reader = LogReader(kafka, "test")
    try:
        with pytest.raises(RecordUnreadable, match="offset 2 on"):
            async for _ in reader.records(kafka.topics.events.name, 0, 0, 4):
                pass
        assert await reader.record(kafka.topics.events.name, 0, 3) is not None
    finally:
        await reader.close()


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


async def test_a_batch_that_inflates_to_gigabytes_stops_its_partition_takes_no_memory_and_can_be_stepped_over(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    inflating = {0: (GZIP, 400), 1: (ZSTD, 400), 2: (LZ4, 200)}  # Kafka's limit on what is compressed is a megabyte
    with aggregator(kafka, tmp_path) as process:
        for partition in range(PARTITIONS):
            assert await put(kafka, partition, WireBatch([good(partition, 0)]).encoded())
        async with asyncio.timeout(120):
            while (await outcomes(kafka))[1] < PARTITIONS:
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        before = peak_bytes(process.process)
        for partition, (codec, mebibytes) in inflating.items():
            assert await put(kafka, partition, WireBatch([WireRecord(), WireRecord(None, bytes(mebibytes * 1024 * 1024))], codec).encoded())
        # Snappy makes at most a twentieth of anything, so this one is read, and is no event.
        assert await put(kafka, 3, WireBatch([WireRecord(None, bytes(18 * 1024 * 1024))], SNAPPY).encoded())
        for partition in range(PARTITIONS):
            assert await put(kafka, partition, WireBatch([good(partition, 1)]).encoded())
        for partition in inflating:
            process.until_it_says(
                f"partition {partition}: RecordUnreadable: the records from offset 1 on cannot be read: its records inflate to more"
            )
        for partition in inflating:
            assert "was stepped over" not in await asyncio.to_thread(step_over, kafka, partition=partition, offset=1)
        async with asyncio.timeout(120):
            while (await outcomes(kafka))[1] < 2 * PARTITIONS:
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.2)
        process.until_it_says('"ok":true')
        assert peak_bytes(process.process) - before < 300 * 1024 * 1024
    report = await verify(kafka)
    assert report.problems.shown == []
    assert [(step.partition, step.start, step.end) for step in sorted(report.steps, key=lambda step: step.partition)] == [
        (partition, 1, 3) for partition in inflating
    ]
    assert sum(report.dead_lettered.values()) == 1
    command = ["trace", "good-0-1", "--customer", HOME[0], "--json"]
    traced = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "taximeter", *command], env=environment(kafka, {}), capture_output=True, text=True, check=False
    )
    assert traced.returncode == 0, traced.stderr
    assert "cannot be read from offset 1 on" in traced.stderr
    assert [event["outcome"] for event in orjson.loads(traced.stdout)["events"]] == ["counted"]
