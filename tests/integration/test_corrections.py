"""Corrections with everything real but Stripe: the command line, a broker, the reporter as a process, the simulator of Stripe and its books."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import stripe
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.verification.report import Report
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from metering.folds.corrections import TAKEN, Corrected, MeterEventPlace
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import CorrectionKind, Intent, decode_entry
from metering.records.meters import Catalogue, Meter
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from reporter.correcting import Correcting, NotCorrectable, Request, meter_event_place
from taximeter.exit_codes import FAILED, OK, PENDING
from tests.support.gateway_process import METERS, environment
from tests.support.reporter_process import ReporterProcess, reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, simulated_stripe
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMER: Final = "cus_1"
QUANTITY: Final = 812
PATIENCE_S: Final = 120.0
UNDO: Final = Request(undo=True, reason="counted for the wrong customer", by="ann")


class LaterClock(SystemClock):
    """A day later."""

    def now_ms(self) -> int:
        return super().now_ms() + 21 * HOUR_MS


class Installation:
    """Topics with one event counted, a Stripe, and a reporter's settings."""

    def __init__(self, kafka: KafkaSettings, simulator: SimulatorProcess, folder: Path) -> None:
        self.kafka = kafka
        self.simulator = simulator
        self.partition = partition_of(CUSTOMER, kafka.partitions)
        self.folder = folder
        (folder / "taximeter.toml").write_text(METERS)
        self.reader, self.appender = LogReader(kafka, "test-reader"), Appender(kafka, "test-appender")
        self.readers: list[LogReader] = []
        self.variables = {
            **reporting_to(simulator.url),
        }

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(KEY, base_addresses={"api": self.simulator.url}, http_client=stripe.UrllibClient())

    def create_meter(self) -> None:
        self.client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})

    def correct(self, *arguments: str, has_key: bool = True) -> subprocess.CompletedProcess[str]:
        """`taximeter correct`, to its end."""
        command = [sys.executable, "-m", "taximeter", "correct", *arguments, "--reason", "wrong customer", "--by", "ann", "--yes", "--json"]
        access = {name: value for name, value in self.variables.items() if "STRIPE" in name} if has_key else {}
        variables = dict(environment(self.kafka, access))
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    async def intent(self) -> Intent:
        """The only intent, when it is there."""
        topic, deadline = self.kafka.topics.ledger.name, time.monotonic() + PATIENCE_S
        while (await self.reader.bounds(topic, self.partition))[1] == 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        record = await self.reader.record(topic, self.partition, 0)
        assert record is not None
        entry = decode_entry(record.value)
        assert isinstance(entry, Intent)
        return entry

    async def place(self) -> MeterEventPlace:
        return meter_event_place((await self.intent()).identifier(0), self.kafka.partitions)

    def correcting(self, place: MeterEventPlace, clock: SystemClock) -> Correcting:
        self.readers.append(LogReader(self.kafka, "test-correct"))
        return Correcting(self.readers[-1], self.appender, self.kafka.topics, clock, place)

    def units_at_stripe(self) -> int:
        """What the customer would be billed once Stripe has worked off everything."""
        self.simulator.call("POST", "/_control/clock", {"advance_ms": 600_000})
        return sum(int(row["total"]) for row in self.simulator.call("GET", "/_oracle/books")["rows"])

    async def verified(self) -> Report:
        return await verify(self.kafka)

    async def close(self) -> None:
        for reader in (self.reader, *self.readers):
            await reader.close()
        await self.appender.close()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulated_stripe(tmp_path, CUSTOMER) as process:
        yield process


@pytest.fixture
async def installation(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Installation]:
    kafka = settings_for(broker)
    await make_topics(kafka)
    made = Installation(kafka, simulator, tmp_path)
    now_ms = int(time.time() * 1000)
    moment = datetime.fromtimestamp(now_ms // 1000, UTC).isoformat()
    event = {"id": "1", "time": moment, "customer": CUSTOMER, "usage": {"n": QUANTITY}}
    catalogue = Catalogue([Meter("tokens", ("n", "m"))])
    tally = Tally(
        chain_id="0123456789abcdef",
        partition=made.partition,
        link=ChainLink(0, 1, NO_OFFSET),
        checkpoint=NO_OFFSET,
        instance="test",
        catalogue=catalogue.version,
        log_time_ms=now_ms,
        records=RecordCounts(singles=1),
        events=EventCounts(counted=1),
        rows=[TallyRow(CUSTOMER, "tokens", (), now_ms // 60_000 * 60_000, QUANTITY, 1)],
        emitter_states=[],
        horizon_ms=DAY_MS,
        catalogue_definition=catalogue.definition,
    )
    await made.appender.append(kafka.topics.events.name, made.partition, orjson.dumps(event))
    await made.appender.append(kafka.topics.tallies.name, made.partition, encode_tally(tally))
    yield made
    await made.close()


async def reported(running: ReporterProcess, outcome: str) -> None:
    await running.until(lambda: running.metric("taximeter_reporter_meter_events_total", outcome=outcome) == 1)


async def corrected(running: ReporterProcess, kind: CorrectionKind) -> None:
    await running.until(lambda: running.metric("taximeter_reporter_corrections_total", kind=kind.value, outcome="accepted") == 1)


def billed(report: Report) -> tuple[str, int, int]:
    assert report.problems.shown == []
    totals = report.meters["tokens"]
    return verdict_of(report).text, totals.counted, totals.billed


async def test_a_young_meter_event_is_cancelled_once_however_often_it_is_asked_for(installation: Installation) -> None:
    installation.create_meter()
    with reporter(installation.kafka, installation.folder / "reporter", installation.variables) as running:
        await reported(running, "accepted")
        identifier = (await installation.intent()).identifier(0)
        done = await asyncio.to_thread(installation.correct, identifier, "--undo", "--wait", "90")
        assert done.returncode == OK, done.stderr + running.log
        said: dict[str, Any] = json.loads(done.stdout)
        again = await asyncio.to_thread(installation.correct, identifier, "--undo")
        resent = await asyncio.to_thread(installation.correct, identifier, "--resend")
        await corrected(running, CorrectionKind.CANCEL)
        assert running.terminate() == 0, running.log
    assert (said["kind"], said["outcome"], said["value"], said["by"]) == ("cancel", "accepted", QUANTITY, "ann")
    assert (again.returncode, resent.returncode) == (FAILED, FAILED)
    assert "corrected already" in again.stderr
    assert installation.units_at_stripe() == 0
    assert billed(await installation.verified()) == ("EXACT", QUANTITY, 0)


async def test_two_commands_at_once_negate_an_old_meter_event_once_also_after_a_kill(
    installation: Installation,
) -> None:
    installation.create_meter()
    with reporter(installation.kafka, installation.folder / "first", installation.variables) as running:
        await reported(running, "accepted")
        place = await installation.place()
        running.kill()
    both = [installation.correcting(place, LaterClock()) for _ in range(2)]
    found = await asyncio.gather(*(one.correct(UNDO) for one in both), return_exceptions=True)
    (won,) = [each for each in found if isinstance(each, Corrected)]
    (lost,) = [each for each in found if not isinstance(each, Corrected)]
    assert isinstance(lost, NotCorrectable)
    assert won.correction.kind is CorrectionKind.NEGATE
    assert installation.units_at_stripe() == QUANTITY
    pending = await installation.verified()
    assert verdict_of(pending).text == f"PENDING: 1 meter event open ({QUANTITY} units of tokens)"
    with reporter(installation.kafka, installation.folder / "second", installation.variables) as running:
        async with asyncio.timeout(PATIENCE_S):
            outcome = (await both[found.index(won)].settled(won)).fate.outcome
        assert outcome in TAKEN, running.log
        assert running.terminate() == 0, running.log
    assert installation.units_at_stripe() == 0
    assert billed(await installation.verified()) == ("EXACT", QUANTITY, 0)


async def test_what_stripe_refused_is_sent_again_when_the_cause_is_mended(installation: Installation) -> None:
    installation.create_meter()
    installation.simulator.call("POST", "/_control/config", {"assumptions": {"missing_customer": "sync"}})
    installation.client.v1.customers.delete(CUSTOMER)
    with reporter(installation.kafka, installation.folder / "reporter", installation.variables) as running:
        await reported(running, "rejected")
        identifier = (await installation.intent()).identifier(0)
        undone = await asyncio.to_thread(installation.correct, identifier, "--undo")
        assert undone.returncode == FAILED
        assert "nothing to take back" in undone.stderr
        assert verdict_of(await installation.verified()).text.startswith("NOT EXACT")
        gone = await asyncio.to_thread(installation.correct, identifier, "--resend", "--wait", "90")
        assert (gone.returncode, f"the customer {CUSTOMER} is deleted" in gone.stderr) == (FAILED, True), gone.stderr
        installation.simulator.call("POST", "/_control/customers", {"ids": [CUSTOMER]})
        done = await asyncio.to_thread(installation.correct, identifier, "--resend", "--wait", "90")
        assert done.returncode == OK, done.stderr + running.log
        again = await asyncio.to_thread(installation.correct, identifier, "--resend")
        assert again.returncode == FAILED
        assert running.terminate() == 0, running.log
    assert json.loads(done.stdout)["kind"] == "resend"
    assert installation.units_at_stripe() == QUANTITY
    assert billed(await installation.verified()) == ("EXACT", QUANTITY, QUANTITY)


async def test_what_was_sent_again_is_on_its_way_while_nobody_has_looked_the_customer_up(installation: Installation) -> None:
    installation.create_meter()
    installation.simulator.call("POST", "/_control/config", {"assumptions": {"missing_customer": "sync"}})
    installation.client.v1.customers.delete(CUSTOMER)
    with reporter(installation.kafka, installation.folder / "reporter", installation.variables) as running:
        await reported(running, "rejected")
        identifier = (await installation.intent()).identifier(0)
        installation.simulator.call("POST", "/_control/config", {"assumptions": {"missing_customer": "async"}})
        done = await asyncio.to_thread(installation.correct, identifier, "--resend", "--wait", "90", has_key=False)
        assert (done.returncode, "on its way" in done.stderr) == (PENDING, True), done.stderr + running.log
        assert json.loads(done.stdout)["outcome"] == "accepted"
        assert running.terminate() == 0, running.log


async def test_an_identifier_of_nothing_is_refused_in_words(installation: Installation) -> None:
    for identifier, words in [
        ("evt_1", "no identifier of a meter event"),
        ("tm-0123456789abcdef-0-c7", "identifier of a correction"),
        (f"tm-0123456789abcdef-{installation.partition}-0-1-0", "no accepted intent"),
    ]:
        done = await asyncio.to_thread(installation.correct, identifier, "--undo")
        assert (done.returncode, words in done.stderr) == (FAILED, True), done.stderr
