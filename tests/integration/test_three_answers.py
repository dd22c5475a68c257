"""`verify`, `status` and `/readyz` never contradict each other in any state; a pipeline that has finished is exact, ready and idle."""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import stripe
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from kio.schema.errors import ErrorCode
from taximeter_emitter.clock import SystemClock

from audit.positions import PartitionPosition, Positions
from audit.verification.term import ProofWord
from audit.verification.verdict import ProofVerdict, verdict_of
from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.provision import ensure_topics
from metering.plans.import_records import IMPORT_HEADER
from metering.records.dead_letter import LETTER_HEADER
from metering.records.ledger_records import Rejection, encode_rejection
from metering.records.notes.looked_up_ids import LOOKED_UP_HEADER
from metering.records.redrive import REDRIVE_HEADER
from metering.records.service_limits import BATCH_INFLATED_BYTES_MAX
from tests.support.aggregator_process import aggregator
from tests.support.broker import RunningBroker
from tests.support.broker_topics import unique_name, visible
from tests.support.broker_wire import produce_batch
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, simulated_stripe
from tests.support.usage_on_broker import PATIENCE_SECONDS, emit, event, taximeter
from tests.support.wire_records import ZSTD, WireBatch, WireRecord

pytestmark = pytest.mark.broker
GOOD: Final = {ProofWord.EXACT, ProofWord.EXACT_BUT}


@dataclass(frozen=True)
class Answers:
    """What the three say at about one moment; `ready` by service."""

    verdict: ProofVerdict
    positions: list[PartitionPosition]
    ready: dict[str, bool]

    @property
    def terms(self) -> set[str]:
        return {term.name for term in self.verdict.all_terms}

    @property
    def settled(self) -> bool:
        return all(position.is_settled for position in self.positions)

    def contradictions(self) -> list[str]:
        """Each way in which one of the three says that all is well and another that it is not."""
        found = []
        if self.verdict.word in GOOD and not self.settled:
            found.append("verify finds nothing on its way, status does")
        if self.verdict.word in GOOD and not all(self.ready.values()):
            found.append("verify finds nothing wrong, a service is not ready")
        if self.verdict.word is ProofWord.PENDING and self.settled:
            found.append("verify finds something on its way, status does not")
        said = {term.name: term.count for term in self.verdict.all_terms}
        if said.get("uncounted", 0) != sum(position.uncounted for position in self.positions):
            found.append("verify and status count other records that wait")
        if said.get("open", 0) != sum(position.open_meter_events for position in self.positions):
            found.append("verify and status count other open meter events")
        return found


class Pipeline:
    """Topics, a Stripe, and services that are started when they are asked for."""

    def __init__(self, kafka: KafkaSettings, simulator: SimulatorProcess, folder: Path) -> None:
        self.kafka, self._simulator, self.folder = kafka, simulator, folder
        self._running = ExitStack()
        self._admins: dict[str, Callable[[], str]] = {}

    def create_meter(self) -> None:
        client = stripe.StripeClient(KEY, base_addresses={"api": self._simulator.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})

    def count(self) -> None:
        """Start an aggregator."""
        running = self._running.enter_context(aggregator(self.kafka, self.folder / "aggregator", stall_seconds=1))
        self._admins["aggregator"] = lambda: f"http://127.0.0.1:{json.loads(running.admin_file.read_text())}"

    def report(self) -> None:
        """Start a reporter."""
        variables = {
            **reporting_to(self._simulator.url),
        }
        running = self._running.enter_context(reporter(self.kafka, self.folder / "reporter", variables))
        self._admins["reporter"] = lambda: running.admin

    async def bill_one_event(self) -> None:
        """With both services, which go on."""
        self.create_meter()
        self.count()
        self.report()
        await emit(self.kafka, event("a"))
        await self.until(finished)

    def stop(self) -> None:
        self._running.close()
        self._admins.clear()

    def readiness(self, name: str) -> str:
        """What a service that is not ready says."""
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(f"{self._admins[name]()}/readyz")
        return told.value.read().decode()

    async def ask(self) -> Answers:
        """All three; nothing may change meanwhile."""
        found = await self._positions()
        ready = {name: await asyncio.to_thread(_is_ready, url) for name, url in self._admins.items()}
        return Answers(verdict_of(await verify(self.kafka)), found, ready)

    async def _positions(self) -> list[PartitionPosition]:
        """As soon as Kafka answers about all of them: that it does not is no state of the pipeline."""
        positions, deadline = Positions(self.kafka, SystemClock()), time.monotonic() + PATIENCE_SECONDS
        try:
            found = await positions.read()
            while any(position.unread for position in found) and time.monotonic() < deadline:
                found = await positions.read()
            return found
        finally:
            await positions.close()

    async def reaches(self, reached: Callable[[Answers], bool]) -> Answers:
        """Ask until the state is reached."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached(answers := await self.ask()):
            assert time.monotonic() < deadline, f"{answers.verdict.text} {answers.ready}"
            await asyncio.sleep(0.3)
        return answers

    async def until(self, reached: Callable[[Answers], bool]) -> Answers:
        """Ask until the state is reached, and twice more: then they must agree."""
        await self.reaches(reached)
        answers = await self.ask()
        assert answers.contradictions() == [], answers
        return answers


def _is_ready(admin: Callable[[], str]) -> bool:
    try:
        with urllib.request.urlopen(f"{admin()}/readyz") as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
    except (OSError, ValueError):
        return False


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulated_stripe(tmp_path, "cus_1") as process:
        yield process


@pytest.fixture
async def pipeline(running_broker: RunningBroker, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    kafka = KafkaSettings(bootstrap_servers=(running_broker.bootstrap,), topic_prefix=unique_name("answers"), partitions=1, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    made = Pipeline(kafka, simulator, tmp_path)
    try:
        yield made
    finally:
        made.stop()


def finished(answers: Answers) -> bool:
    return answers.verdict.word is ProofWord.EXACT and answers.settled and all(answers.ready.values())


async def test_from_an_idle_start_over_a_backlog_to_the_end(pipeline: Pipeline) -> None:
    idle = await pipeline.ask()
    assert (idle.verdict.text, idle.contradictions()) == ("EXACT", [])
    await emit(pipeline.kafka, event("a"), event("b"))
    waiting = await pipeline.until(lambda answers: "uncounted" in answers.terms)
    assert waiting.verdict.text == "PENDING: 2 records to count"

    pipeline.count()
    await pipeline.until(lambda answers: answers.terms == {"uncovered"})

    # Without its meter the usage waits, and is neither lost nor exact.
    pipeline.report()
    held = await pipeline.until(lambda answers: bool(answers.terms) and answers.terms <= {"carried", "open", "uncovered"})
    assert "10 units of tokens" in held.verdict.text
    pipeline.create_meter()
    await pipeline.until(finished)

    await emit(pipeline.kafka, b"{")
    aside = await pipeline.until(lambda answers: answers.verdict.word is ProofWord.EXACT_BUT and all(answers.ready.values()))
    assert aside.verdict.text == "EXACT BUT 1 EVENT SET ASIDE"

    appender = Appender(pipeline.kafka, "test")
    told = Rejection(0, "test", "evt_1", "tokens", "archived_meter", "", 2, (), 0, 1, 2)
    await appender.append(pipeline.kafka.topics.ledger.name, 0, encode_rejection(told))
    await appender.close()
    refused = await pipeline.until(lambda answers: "unnamed_refusals" in answers.terms)
    assert refused.verdict.text == "NOT EXACT: 2 refusals that Stripe counted and did not name"


async def test_a_partition_that_nobody_counts(pipeline: Pipeline) -> None:
    pipeline.count()
    await emit(pipeline.kafka, event("a"))
    await pipeline.until(lambda answers: answers.terms == {"uncovered"})
    admin = make_admin(pipeline.kafka, client_id="test")
    try:
        await admin.start()
        await admin.create_partitions({pipeline.kafka.topics.events.name: NewPartitions(total_count=2)})
        await visible(admin, pipeline.kafka.topics.events.name, 2)
    finally:
        await admin.close()
    await emit(pipeline.kafka, event("b"), event("c"), partition=1)
    answers = await pipeline.until(lambda answers: not answers.ready["aggregator"])
    assert answers.verdict.text == "NOT EXACT: 1 partition that nobody counts"
    assert answers.verdict.terms[ProofWord.NOT_EXACT][0].count == 2


async def test_records_that_were_deleted_before_they_were_counted(pipeline: Pipeline) -> None:
    pipeline.count()
    await emit(pipeline.kafka, event("a"))
    await pipeline.until(lambda answers: answers.terms == {"uncovered"})
    pipeline.stop()
    await emit(pipeline.kafka, event("b"), event("c"))
    admin = make_admin(pipeline.kafka, client_id="test")
    try:
        await admin.start()
        await admin.delete_records({TopicPartition(pipeline.kafka.topics.events.name, 0): RecordsToDelete(before_offset=3)})
    finally:
        await admin.close()
    pipeline.count()
    answers = await pipeline.until(lambda answers: not answers.ready["aggregator"] and answers.verdict.word is ProofWord.NOT_EXACT)
    assert answers.positions[0].problem.startswith("HistoryLost")


async def test_transactions_of_other_producers(pipeline: Pipeline, running_broker: RunningBroker) -> None:
    if running_broker.broker.name == "embedded":
        pytest.skip("the embedded broker has no transactions")
    kafka, topic = pipeline.kafka, pipeline.kafka.topics.events.name
    pipeline.create_meter()
    pipeline.count()
    pipeline.report()
    writer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers[0], transactional_id=unique_name("writer"), transaction_timeout_ms=60_000)
    await writer.start()
    try:
        # The log ends with a marker, and nothing waits.
        async with writer.transaction():
            await writer.send_and_wait(topic, event("a"), partition=0)
        await pipeline.until(finished)
        await writer.begin_transaction()
        await writer.send_and_wait(topic, event("b"), partition=0)
        await emit(kafka, event("c"))
        answers = await pipeline.until(lambda answers: "open_transaction" in answers.terms and not answers.ready["aggregator"])
        assert answers.verdict.text == "PENDING: an open transaction at offset 2 of partition 0"
        assert answers.positions[0].held_back == 2
        await writer.commit_transaction()
        await pipeline.until(finished)
    finally:
        await writer.stop()


async def append(kafka: KafkaSettings, topic: str, *values: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> int:
    """Write what nobody else may write; where the last one landed."""
    appender = Appender(kafka, "mis-set")
    try:
        return [(await appender.append(topic, 0, value, key=b"k", headers=headers)).offset for value in values][-1]
    finally:
        await appender.close()


async def last_value(kafka: KafkaSettings, topic: str) -> bytes:
    """Of the last record of ours."""
    reader = LogReader(kafka, "test")
    try:
        values = [record.value async for records in reader.records(topic, 0, *await reader.bounds(topic, 0)) for record in records]
    finally:
        await reader.close()
    return next(bytes(value) for value in reversed(values) if value and value.startswith(b'{"format":"'))


async def test_records_of_others_among_tallies_and_entries(pipeline: Pipeline, running_broker: RunningBroker, tmp_path: Path) -> None:
    kafka = pipeline.kafka
    topics = (kafka.topics.tallies.name, kafka.topics.ledger.name)
    await pipeline.bill_one_event()

    def passed(number: int) -> Callable[[Answers], bool]:
        def reached(answers: Answers) -> bool:
            return (
                answers.verdict.text == f"EXACT BUT {number} FOREIGN RECORDS IN TALLIES OR LEDGER" and answers.settled and all(answers.ready.values())
            )

        return reached

    for topic in topics:
        await append(kafka, topic, None, b"{", event("astray"))
    await pipeline.until(passed(6))
    foreign = 6
    if running_broker.broker.name != "embedded":
        writer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers[0], transactional_id=unique_name("writer"), transaction_timeout_ms=60_000)
        await writer.start()
        try:
            for topic in topics:
                async with writer.transaction():
                    await writer.send_and_wait(topic, b"committed", partition=0)
                await writer.begin_transaction()
                await writer.send_and_wait(topic, b"aborted", partition=0)
                await writer.abort_transaction()
        finally:
            await writer.stop()
        foreign += 2
        await pipeline.until(passed(foreign))
    await emit(kafka, event("b"))
    await pipeline.until(passed(foreign))
    pipeline.stop()  # new owners find their way, too
    pipeline.count()
    pipeline.report()
    await pipeline.until(passed(foreign))

    for number, topic in enumerate(topics):
        newer = re.sub(rb'^\{"format":"([a-z-]+)/\d+"', rb'{"format":"\1/99"', await last_value(kafka, topic))
        offset = await append(kafka, topic, newer)
        await emit(kafka, event(f"stop-{number}"))
        stopped = await pipeline.until(lambda answers: not answers.ready["reporter"] and answers.verdict.word is ProofWord.NOT_EXACT)
        assert f"offset {offset} of {topic}/0" in stopped.positions[0].problem
        # All that was counted before is known, and how far it goes.
        assert stopped.positions[0].counted_to >= 2
        assert stopped.positions[0].reported_to >= 1
        skip = ("repair", "skip", "--topic", topic.rsplit(".", 1)[-1], "--partition", "0", "--offset", str(offset))
        done = await asyncio.to_thread(taximeter, kafka, tmp_path, *skip, "--reason", "a mis-set producer", "--by", "ann", "--yes")
        assert done.returncode == 0, done.stderr
        foreign += 1
        await pipeline.until(passed(foreign))


async def test_garbage_with_our_headers_in_every_topic(pipeline: Pipeline, tmp_path: Path) -> None:
    kafka = pipeline.kafka
    await pipeline.bill_one_event()
    headers = (REDRIVE_HEADER, IMPORT_HEADER, LETTER_HEADER, LOOKED_UP_HEADER)
    for topic in (kafka.topics.events.name, kafka.topics.tallies.name, kafka.topics.ledger.name, kafka.topics.deadletters.name):
        for header in headers:
            await append(kafka, topic, None, b"\xff garbage", b"[]", headers=[(header, b"\xff")])
    await emit(kafka, event("b"))

    def passed(answers: Answers) -> bool:
        said = {term.name: term.count for term in answers.verdict.all_terms}
        return said == {"set_aside": 12, "foreign": 24, "foreign_letters": 12} and answers.settled and all(answers.ready.values())

    await pipeline.until(passed)
    listed = await asyncio.to_thread(taximeter, kafka, tmp_path, "deadletters", "list", "--json")
    assert sum(group["open"] for group in json.loads(listed.stdout)["groups"]) == 12, listed.stderr
    for command in (("deadletters", "redrive", "--dry-run", "--json"), ("replay", "list", "--json")):
        done = await asyncio.to_thread(taximeter, kafka, tmp_path, *command)
        assert "offset" not in done.stderr
        assert json.loads(done.stdout)

    # What looks like ours and cannot be read may have taken something back: it is named, and everything else is verified.
    offset = await append(kafka, kafka.topics.deadletters.name, b'{"format":"redrive/1","places":7}', headers=[(REDRIVE_HEADER, b"")])
    answers = await pipeline.ask()
    assert answers.verdict.text == "NOT EXACT: 1 problem"
    assert {term.name for term in answers.verdict.all_terms} == {"problems", "set_aside", "foreign", "foreign_letters"}
    refused = await asyncio.to_thread(taximeter, kafka, tmp_path, "deadletters", "redrive", "--dry-run", "--json")
    assert f"offset {offset} of the dead letters: not a redrive" in refused.stderr


def too_large() -> bytes:
    return WireBatch([WireRecord(None, bytes(BATCH_INFLATED_BYTES_MAX + 1))], ZSTD).encoded()


def damaged() -> bytes:
    return WireBatch([WireRecord(None, b"torn")]).around(b"\xff\xff\xff")


async def test_batches_of_tallies_and_entries_that_cannot_be_read_are_stepped_over_by_name(pipeline: Pipeline, tmp_path: Path) -> None:
    kafka = pipeline.kafka
    await pipeline.bill_one_event()

    def passed(number: int) -> Callable[[Answers], bool]:
        what = f"{number} OFFSET{'' if number == 1 else 'S'} OF TALLIES OR LEDGER PASSED OVER AS DAMAGED"
        return lambda answers: answers.verdict.text == f"EXACT BUT {what}" and answers.settled and all(answers.ready.values())

    batches = [(kafka.topics.tallies.name, too_large()), (kafka.topics.ledger.name, too_large()), (kafka.topics.tallies.name, damaged())]
    done = 0
    for topic, batch in batches:
        answer = await produce_batch(kafka.bootstrap_servers[0], topic, batch)
        if answer.error_code is not ErrorCode.none:
            continue  # this broker looks into batches and takes no damaged ones
        await emit(kafka, event(f"behind-{done}"))
        stopped = await pipeline.until(lambda answers: not answers.ready["reporter"] and answers.verdict.word is ProofWord.NOT_EXACT)
        (problem,) = stopped.positions[0].problem.split("; ")
        assert problem.startswith("RecordUnreadable")
        assert stopped.positions[0].counted_to >= done + 1
        typed = problem[problem.index("taximeter repair skip") :].split()[1:]
        assert await asyncio.to_thread(pipeline.readiness, "reporter")
        shown = await asyncio.to_thread(taximeter, kafka, tmp_path, *typed)
        assert "nothing was done; to step over it, say --reason" in shown.stdout, shown.stderr
        for said in ("says that it is stepped over", "were passed over by ann"):
            stepped = await asyncio.to_thread(taximeter, kafka, tmp_path, *typed, "--reason", "a mis-set producer", "--by", "ann", "--yes")
            assert said in stepped.stdout, stepped.stderr
        done += 1
        await pipeline.until(passed(done))
    assert done >= 2
    pipeline.stop()  # new owners find their way, too
    pipeline.count()
    pipeline.report()
    await emit(kafka, event("last"))
    await pipeline.until(passed(done))
    for command in (
        ("trace", "a", "--customer", "cus_1", "--source", "test"),
        ("replay", "list", "--json"),
        ("rejected", "list", "--json"),
        ("deadletters", "list", "--json"),
    ):
        answered = await asyncio.to_thread(taximeter, kafka, tmp_path, *command)
        assert answered.returncode == 0, (command, answered.stderr)
