"""A drill: the pipeline moves to another cluster in the middle of its work, and every event is billed once."""

import asyncio
import json
import os
import shlex
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import stripe
from aiokafka import AIOKafkaProducer
from taximeter_emitter import Emitter
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.partitioner import partition_of
from taximeter_sandbox.brokers.apache import ApacheBroker
from taximeter_sandbox.brokers.embedded import EmbeddedBroker
from taximeter_sandbox.brokers.interface import RunnableBroker

from audit.positions import Positions
from metering.kafka.clients import KafkaSettings, started
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.kafka.provision import ensure_topics
from metering.kafka.topics import TopicSpec
from metering.records.record import LogRecord
from taximeter import cli
from taximeter.exit_codes import DISCREPANCY, FAILED, INCOMPLETE, OK
from tests.support.aggregator_process import AggregatorProcess, aggregator, group_of
from tests.support.gateway_process import METERS, environment
from tests.support.reporter_process import ReporterProcess, reporter, reporting_to
from tests.support.repository import ROOT
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS

PATIENCE_S: Final = 120.0
ON: Final = ApacheBroker if os.environ.get("KAFKA_BROKER") == "apache" else EmbeddedBroker
PARTITIONS: Final = 2
HOLES: Final = 1 + 5 + 1  # of `emit_in_transactions`
CUSTOMERS: Final = ("cus_1", "cus_2", "cus_3")
PAGE: Final = (ROOT / "docs/disaster-recovery.md").read_text()


@dataclass(frozen=True, slots=True)
class Drill:
    """Two clusters and one Stripe."""

    old: KafkaSettings
    new: KafkaSettings
    simulator: SimulatorProcess
    folder: Path
    old_broker: RunnableBroker

    @property
    def old_servers(self) -> str:
        return self.old.bootstrap_servers[0]

    @property
    def new_servers(self) -> str:
        return self.new.bootstrap_servers[0]

    def counting(self, kafka: KafkaSettings) -> Any:
        return aggregator(kafka, self.folder / f"aggregator-{kafka.bootstrap_servers[0][-5:]}")

    def reporting(self, kafka: KafkaSettings, **more: str) -> Any:
        variables = {
            **reporting_to(self.simulator.url),
            "TAXIMETER_REPORTER_GROUP_ID": f"{kafka.topic_prefix}-reporter",
        }
        return reporter(kafka, self.folder / f"reporter-{kafka.bootstrap_servers[0][-5:]}", {**variables, **more})

    def command(self, kafka: KafkaSettings, *arguments: str) -> tuple[int, Any, str]:
        """Exit code, JSON if there is any, and stderr."""
        variables: Mapping[str, str] = {
            "STRIPE_API_KEY": KEY,
            "TAXIMETER_STRIPE_API_BASE": self.simulator.url,
            "TAXIMETER_AGGREGATOR_GROUP_ID": group_of(kafka),
            "TAXIMETER_REPORTER_GROUP_ID": f"{kafka.topic_prefix}-reporter",
        }
        with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(1) as thread:
            for name, value in environment(kafka, variables).items():
                patched.setenv(name, value)
            patched.chdir(self.folder / "commands")
            out, said = StringIO(), StringIO()
            with redirect_stdout(out), redirect_stderr(said):
                # In this process, which has imported it all; and in a thread, which has no event loop yet.
                code = thread.submit(cli.main, [*arguments, "--json"]).result(PATIENCE_S)
        return code, json.loads(out.getvalue()) if out.getvalue() else None, said.getvalue()

    def page(self, kafka: KafkaSettings, line: str) -> tuple[int, Any, str]:
        """The same, for a command as docs/disaster-recovery.md has it."""
        return self.command(kafka, *self.words(line))

    def words(self, line: str) -> list[str]:
        """A command of the page, with the addresses of this drill."""
        assert f"taximeter {line}" in PAGE
        addresses = {"OLD": self.old_servers, "NEW": self.new_servers, "kafka.other.example:9092": self.new_servers}
        return [addresses.get(word, word) for word in shlex.split(line)]

    def open_meter_events(self, kafka: KafkaSettings) -> int:
        return sum(each["open_meter_events"] for each in self.command(kafka, "status")[1]["partitions"])

    @property
    def billed(self) -> int:
        """Units that Stripe has."""
        return sum(int(event["value"]) for event in self.simulator.call("GET", "/_oracle/events")["events"])

    async def until_billed(self, units: int, *processes: AggregatorProcess | ReporterProcess) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.billed != units:
            assert time.monotonic() < deadline, (self.billed, units, *(process.log for process in processes))
            await asyncio.sleep(0.1)


async def emit(kafka: KafkaSettings, customer: str, *values: bytes) -> None:
    appender = Appender(kafka, "test")
    try:
        for value in values:
            await appender.append(kafka.topics.events.name, partition_of(customer, PARTITIONS), value, key=customer.encode())
    finally:
        await appender.close()


def single(event_id: str, customer: str, units: int, field: str = "n") -> bytes:
    return orjson.dumps({"id": event_id, "source": "api", "customer": customer, "usage": {field: units}})


def numbered(number: int, units: int) -> bytes:
    """A batch of one event, by an emitter that goes on."""
    columns: dict[str, Any] = {"customers": ("cus_1",), "dimensions": ((),), "series_dimensions": (0,), "at": (0,), "time": (0,)}
    return encode_batch(Batch("emitter-1", 0, number, 1, **columns, base_time_ms=SystemClock().now_ms(), usage={"n": (units,)}))


def emit_batch(kafka: KafkaSettings, units: int) -> None:
    """A numbered batch of one event without an id, of each customer."""
    with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="sdk") as emitter:
        for customer in CUSTOMERS:
            assert emitter.emit(customer=customer, usage={"m": units})


async def emit_in_transactions(kafka: KafkaSettings) -> None:
    """What is aborted, and what was emitted already, in partition 0: holes of one offset and of several."""
    place = {"topic": kafka.topics.events.name, "partition": 0}
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers[0], transactional_id="drill")
    async with started(producer):
        async with producer.transaction():
            await producer.send_and_wait(value=single("a", "cus_1", 1), **place)
        await producer.begin_transaction()
        for number in range(5):
            await producer.send_and_wait(value=single(f"aborted-{number}", "cus_1", 7), **place)
        await producer.abort_transaction()


async def records_of(kafka: KafkaSettings, topic: str) -> list[tuple[int, LogRecord]]:
    """All records, with their partitions."""
    reader = LogReader(kafka, "test")
    try:
        return [
            (partition, record)
            for partition in range(PARTITIONS)
            async for records in reader.records(topic, partition, *await reader.bounds(topic, partition))
            for record in records
        ]
    finally:
        await reader.close()


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():  # another process reaches it
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def until_counted(kafka: KafkaSettings, process: AggregatorProcess) -> None:
    """Wait until no event is behind the chains."""
    positions = Positions(kafka, SystemClock())
    deadline = time.monotonic() + PATIENCE_S
    try:
        while any(position.uncounted for position in await positions.read()):
            assert time.monotonic() < deadline, process.log
            await asyncio.sleep(0.1)
    finally:
        await positions.close()


@pytest.fixture
async def drill(tmp_path: Path) -> AsyncIterator[Drill]:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "taximeter.toml").write_text(METERS)
    process = SimulatorProcess(tmp_path)
    with ExitStack() as running:
        brokers = [ON(tmp_path / name) for name in ("old", "new")]
        clusters = []
        for broker in brokers:
            bootstrap = broker.start()
            running.callback(broker.stop)
            clusters.append(KafkaSettings(bootstrap_servers=(bootstrap,), topic_prefix="usage", partitions=PARTITIONS, replication_factor=1))
        process.start()
        running.callback(process.stop)
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": list(CUSTOMERS)})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        yield Drill(clusters[0], clusters[1], process, tmp_path, brokers[0])


async def test_a_move_in_the_middle_of_the_work_bills_every_event_once(drill: Drill) -> None:
    old, new = drill.old, drill.new
    assert await ensure_topics(old, old.topics, clock=SystemClock()) == []
    with drill.counting(old) as counting:
        # Stripe has these, and the reporter is killed before it writes their outcomes.
        with drill.reporting(old, TAXIMETER_REPORTER_RECEIPT_SECONDS="60") as reporting:
            await emit(old, "cus_1", single("a", "cus_1", 1), single("bad", "cus_1", 1000, "cached"))
            await asyncio.to_thread(emit_batch, old, 10)
            if ON is ApacheBroker:
                await emit_in_transactions(old)
            await drill.until_billed(1 + 30, counting, reporting)
            reporting.kill()
        # These are counted, and nobody reports them; then come some that nobody counts.
        await emit(old, "cus_2", single("b", "cus_2", 100))
        await until_counted(old, counting)
        assert counting.terminate() == 0
    await emit(old, "cus_3", single("c", "cus_3", 1000))

    code, copied, _ = drill.page(old, "topics copy --to NEW --yes")
    assert code == OK
    assert sum(copied["copied_records"].values()) == sum(each["to_copy"] for each in copied["topics"]) - (HOLES if ON is ApacheBroker else 0)
    await emit(old, "cus_1", single("d", "cus_1", 10_000))
    await adopted(drill)

    # A copy is what the original was, offset by offset and with the same times.
    for spec in (old.topics.events, old.topics.tallies, old.topics.deadletters):
        originals = [(number, each.offset, each.timestamp, each.key, each.value) for number, each in await records_of(old, spec.name)]
        assert [(number, each.offset, each.timestamp, each.key, each.value) for number, each in await records_of(new, spec.name)] == originals

    # A reporter of the cluster that was left stops, whatever is counted there.
    late = single("e", "cus_2", 100_000)
    await emit(old, "cus_2", late)
    with drill.counting(old) as counting, drill.reporting(old) as reporting:
        await until_counted(old, counting)
        await until(lambda: "LedgerClosed" in reporting.log)
        assert drill.billed == 31
    code, _, told = drill.command(old, "status")
    assert code == DISCREPANCY
    assert "goes on in the cluster" in told
    code, verified, _ = drill.command(old, "verify")
    assert code == INCOMPLETE
    assert "closed" in {term["name"] for term in verified["terms"]["exact_but"]}

    # Emitters repeat what they do not know to have arrived: it counts once.
    numbered = [(number, record) for number, record in await records_of(old, "usage.events") if b'"taximeter"' in (record.value or b"")]
    appender = Appender(new, "test")
    for number, record in numbered:
        await appender.append("usage.events", number, record.value, key=record.key)
    await appender.close()
    await emit(new, "cus_1", single("a", "cus_1", 1), single("f", "cus_1", 1_000_000))
    with drill.counting(new) as counting, drill.reporting(new) as reporting:
        await drill.until_billed(1_011_131, counting, reporting)
        for _ in range(2):
            code, late_found, _ = drill.page(new, "topics catch-up --from OLD --yes")
            assert (code, late_found["records"]) == (OK, 1)
        await drill.until_billed(1_111_131, counting, reporting)
        # What was set aside there is taken back here.
        code, _, told = drill.command(new, "deadletters", "redrive", "--rename", "cached=n", "--reason", "misspelt", "--yes")
        assert code == OK, told
        await drill.until_billed(1_112_131, counting, reporting)
        await until_counted(new, counting)
        await until(lambda: not drill.open_meter_events(new))
    drill.simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})
    code, verified, told = drill.page(new, "verify --with-stripe")
    assert (code, verified["verdict"]) == (OK, "EXACT"), (verified, told)
    assert [(each["kind"], each["partition"]) for each in verified["handovers"]] == [("closing", 0), ("adoption", 0), ("closing", 1), ("adoption", 1)]
    code, traced, _ = drill.command(new, "trace", "b", "--source", "api", "--customer", "cus_2")
    assert (code, [each["outcome"] for each in traced["events"]]) == (OK, ["counted"])


async def adopted(drill: Drill) -> None:
    """Show what would be done, do it, and do it again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:  # the reporter that was killed is a member of its group until its session ends
        code, plan, told = drill.page(drill.new, "repair adopt --from OLD")
        if code == OK:
            break
        assert (code, "still run" in told) == (FAILED, True), told
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
    assert sum(each["open_meter_events"] for each in plan["partitions"]) > 0
    assert sum(each["waiting"].get("tokens", 0) for each in plan["partitions"]) == 100
    assert [each["closed_at"] for each in plan["partitions"]] == [None, None]
    found = []
    for _ in range(2):
        code, done, told = drill.page(drill.new, 'repair adopt --from OLD --reason "the data centre is given up" --yes')
        assert code == OK, told
        found.append(done)
    assert found[0] == found[1]
    assert all(each["adopted_at"] is not None and each["closed_at"] is None for each in found[0]["partitions"])


async def follow_until_copied(drill: Drill, line: str) -> None:
    command = [sys.executable, "-m", "taximeter", *drill.words(line)]
    process = await asyncio.create_subprocess_exec(*command, cwd=drill.folder / "commands", env=dict(environment(drill.old, {})), stdout=DEVNULL)
    try:
        wanted = [await ends_of(drill.old, spec) for spec in drill.old.topics]
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert process.returncode is None
                with suppress(LogUnavailable):  # the topics are not there yet
                    if [await ends_of(drill.new, spec) for spec in drill.new.topics] == wanted:
                        return
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        await process.wait()


async def ends_of(kafka: KafkaSettings, spec: TopicSpec) -> list[int]:
    reader = LogReader(kafka, "test")
    try:
        return [(await reader.bounds(spec.name, partition))[1] for partition in range(spec.partitions_of(PARTITIONS))]
    finally:
        await reader.close()


async def test_a_lost_cluster_leaves_a_copy_that_goes_on_and_says_what_is_in_doubt(drill: Drill) -> None:
    old, new = drill.old, drill.new
    assert await ensure_topics(old, old.topics, clock=SystemClock()) == []
    with drill.counting(old) as counting:
        with drill.reporting(old) as reporting:
            await emit(old, "cus_1", single("a", "cus_1", 1), numbered(0, 2))
            await drill.until_billed(3, counting, reporting)
            await until(lambda: not drill.open_meter_events(old))
            assert reporting.terminate() == 0
        await emit(old, "cus_1", single("b", "cus_1", 10))
        await until_counted(old, counting)
        assert counting.terminate() == 0
        await emit(old, "cus_1", single("c", "cus_1", 100))
        # A standing copy, until it is killed.
        await follow_until_copied(drill, "topics copy --to kafka.other.example:9092 --follow --yes")
        # What comes now is not in the copy: it is counted, and Stripe has it, when the cluster is lost.
        lost = single("d", "cus_1", 1_000)
        await emit(old, "cus_1", lost, numbered(1, 20))
    with drill.counting(old) as counting, drill.reporting(old) as reporting:
        await drill.until_billed(1_133, counting, reporting)
    drill.old_broker.kill()

    # Nobody works on a copy that was not adopted.
    with drill.counting(new) as counting:
        assert counting.ended() != 0
        assert "taximeter repair adopt" in counting.log
    code, plan, told = drill.page(new, "repair adopt --old-gone")
    assert code == OK, told
    assert sum(each["waiting"].get("tokens", 0) for each in plan["partitions"]) == 10
    code, _, told = drill.page(new, 'repair adopt --old-gone --reason "the data centre burnt down" --yes')
    assert code == OK, told

    # Before a reporter starts, Stripe's sums say that lost entries of the ledger told it of more.
    with drill.counting(new) as counting:
        await until_counted(new, counting)
        drill.simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})
        code, compared, told = drill.command(new, "reconcile", "--all", "--settle-seconds", "0")
        assert [(cell["verdict"], cell["difference"]) for cell in compared["cells"] if cell["verdict"] != "settled"] == [("extra", "1130")], compared
        await emit(new, "cus_1", single("e", "cus_1", 10_000), numbered(2, 200))
        await until_counted(new, counting)
        with drill.reporting(new) as reporting:
            # What was in doubt is at Stripe twice: only Stripe's sums show it, and the person went on all the same.
            await drill.until_billed(1_133 + 110 + 10_200, counting, reporting)
            # An emitter's numbers say what the copy lacks; its spool, or the source, has it.
            code, verified, _ = drill.command(new, "verify")
            assert (code, [each["missing"] for each in verified["emitters"]]) == (DISCREPANCY, [1])
            assert any("emitter-1" in problem for problem in verified["problems"]["first"])
            await emit(new, "cus_1", numbered(1, 20))
            await drill.until_billed(1_133 + 110 + 10_220, counting, reporting)
            await until(lambda: not drill.open_meter_events(new))
    code, verified, told = drill.command(new, "verify")
    assert (code, verified["word"]) == (INCOMPLETE, "EXACT BUT"), told
    assert [(term["name"], term["units"]) for term in verified["terms"]["exact_but"]] == [("in_doubt", {"tokens": 10})]
    assert [(each["kind"], each["in_doubt"], each["uncounted"]) for each in verified["handovers"] if each["in_doubt"]] == [
        ("adoption", {"tokens": 10}, 1)
    ]

    # The lost cluster comes back. What its own intents told Stripe of stays there, and what nobody counted comes over.
    drill.old_broker.restart()
    await emit(old, "cus_1", single("g", "cus_1", 100_000))
    code, late_found, told = drill.page(new, "topics catch-up --from OLD --yes")
    assert (code, late_found["records"]) == (OK, 1), told
    assert b'"g"' in ((await records_of(new, "usage.events"))[-1][1].value or b"")
