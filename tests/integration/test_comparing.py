"""The reporter compares its ledger with Stripe's sums all the time: whatever differs is found without a command, and named by its cause."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import stripe
from taximeter_emitter.wire.limits import DAY_MS

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent, Rejection, decode_entry, encode_entry
from metering.records.meters import Catalogue, Meter
from metering.records.notes.evidence import Evidence, Finding
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.gateway_process import environment
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, simulated_stripe
from tests.support.usage_topic import make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

QUANTITIES: Final = {"cus_rogue": 812, "cus_cancelled": 31, "cus_lost": 77, "cus_well": 5}
PATIENCE_S: Final = 60.0
CATALOGUE: Final = Catalogue([Meter("tokens", ("n", "m"))])


class Installation:
    """One partition with an event counted of each customer, a Stripe, and a reporter's settings."""

    def __init__(self, kafka: KafkaSettings, simulator: SimulatorProcess, appender: Appender) -> None:
        self.kafka = kafka
        self.simulator = simulator
        self.appender = appender
        self.variables = {
            **reporting_to(simulator.url),
            "TAXIMETER_STRIPE_READS_PER_MONTH": "100000000",
            "TAXIMETER_REPORTER_RECONCILE_SETTLE_SECONDS": "1",
            "TAXIMETER_REPORTER_RECONCILE_SECONDS": "1",
        }

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(KEY, base_addresses={"api": self.simulator.url}, http_client=stripe.UrllibClient())

    async def count(self) -> None:
        """One event of each customer, and the tally that counts them."""
        now_ms = int(time.time() * 1000)
        moment = datetime.fromtimestamp(now_ms // 1000, UTC).isoformat()
        for customer, quantity in QUANTITIES.items():
            event = {"id": customer, "time": moment, "customer": customer, "usage": {"n": quantity}}
            await self.appender.append(self.kafka.topics.events.name, 0, orjson.dumps(event))
        count, minute_ms = len(QUANTITIES), now_ms // 60_000 * 60_000
        tally = Tally(
            chain_id="0123456789abcdef",
            partition=0,
            link=ChainLink(0, count, NO_OFFSET),
            checkpoint=NO_OFFSET,
            instance="test",
            catalogue=CATALOGUE.version,
            log_time_ms=now_ms,
            records=RecordCounts(singles=count),
            events=EventCounts(counted=count),
            rows=[TallyRow(customer, "tokens", (), minute_ms, quantity, 1) for customer, quantity in QUANTITIES.items()],
            emitter_states=[],
            horizon_ms=DAY_MS,
            catalogue_definition=CATALOGUE.definition,
        )
        await self.appender.append(self.kafka.topics.tallies.name, 0, encode_tally(tally))

    async def entries(self) -> list[Any]:
        return [decode_entry(value) for _, value in await read_topic(self.kafka, self.kafka.topics.ledger.name)]

    async def identifier(self, customer: str) -> str:
        """Of the customer's only meter event."""
        found = [
            entry.identifier(index)
            for entry in await self.entries()
            if isinstance(entry, Intent)
            for index, event in enumerate(entry.meter_events)
            if event.customer == customer
        ]
        return found[0]

    async def confirmed(self) -> dict[str, Finding]:
        """What evidence has confirmed, by customer."""
        evidence = [entry for entry in await self.entries() if isinstance(entry, Evidence)]
        return {found.customer: found for entry in evidence for found in entry.findings if found.confirmed}

    async def last_words(self) -> dict[str, str]:
        """The last verdict of evidence on each customer."""
        evidence = [entry for entry in await self.entries() if isinstance(entry, Evidence)]
        return {found.customer: found.verdict.value for entry in evidence for found in entry.findings}


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulated_stripe(tmp_path, *(customer for customer in QUANTITIES if customer != "cus_lost")) as process:
        yield process


@pytest.fixture
async def installation(broker: str, simulator: SimulatorProcess) -> AsyncIterator[Installation]:
    kafka = replace(settings_for(broker), partitions=1)
    await make_topics(kafka)
    appender = Appender(kafka, "test")
    made = Installation(kafka, simulator, appender)
    made.client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    await made.count()
    yield made
    await appender.close()


def command(installation: Installation, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """A command's exit code and its JSON."""
    access = {name: value for name, value in installation.variables.items() if "STRIPE" in name}
    variables = environment(installation.kafka, {**access, "TAXIMETER_KAFKA_PARTITIONS": "1"})
    called = [sys.executable, "-m", "taximeter", *arguments, "--json"]
    done = subprocess.run(called, cwd=folder, env=dict(variables), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def unnamed_left(said: dict[str, Any]) -> int:
    """Refusals without a name and without an answer, as `stripe errors`, `rejected list` or `status` says it."""
    if "rejections" in said:
        return sum(each["unnamed_left"] for each in said["rejections"])
    if "unnamed" in said:
        return sum(each["meter_events"] for each in said["unnamed"])
    return int(said["unnamed_refusals"])


async def test_what_differs_at_stripe_is_found_without_a_command_and_named_by_its_cause(installation: Installation, tmp_path: Path) -> None:
    variables = {**installation.variables, "TAXIMETER_KAFKA_PARTITIONS": "1", "TAXIMETER_WEBHOOKS_BACKFILL_SECONDS": "0"}
    with reporter(installation.kafka, tmp_path / "reporter", variables) as running:
        await running.until(lambda: running.metric("taximeter_reporter_meter_events_total", outcome="accepted") == len(QUANTITIES))
        cancelled = await installation.identifier("cus_cancelled")
        payload = {"stripe_customer_id": "cus_rogue", "value": "9"}
        installation.client.v1.billing.meter_events.create({"event_name": "tokens", "payload": payload, "identifier": "by-hand"})
        installation.client.v1.billing.meter_event_adjustments.create({"event_name": "tokens", "type": "cancel", "cancel": {"identifier": cancelled}})
        # It did not exist when Stripe looked it up, and does now: Stripe has nothing of it, and says nothing yet.
        installation.simulator.call("POST", "/_control/clock", {"advance_ms": 1_000})
        installation.simulator.call("POST", "/_control/customers", {"ids": ["cus_lost"]})
        await running.until(lambda: running.metric("taximeter_reporter_differing_units", verdict="missing") == 31 + 77)
        await running.until(lambda: running.metric("taximeter_reporter_differing_units", verdict="extra") == 9)
        found = await installation.confirmed()
        assert {customer: (each.verdict.value, each.difference) for customer, each in found.items()} == {
            "cus_rogue": ("extra", 9),
            "cus_cancelled": ("missing", -31),
            "cus_lost": ("missing", -77),
        }
        assert found["cus_rogue"].cause == "another program's, or by hand"
        assert found["cus_cancelled"].cause == f"as much as {cancelled}: Stripe lost it, or it was cancelled elsewhere"
        assert (await installation.last_words())["cus_well"] == "settled"
        # Only now Stripe says that it refused something, and does not say what.
        now_ms = int(time.time() * 1000)
        report = Rejection(0, "webhooks", "evt_7", "tokens", "meter_event_customer_not_found", "no", 1, (), now_ms - 60_000, now_ms, now_ms)
        await installation.appender.append(installation.kafka.topics.ledger.name, 0, encode_entry(report))
        asked = running.metric("taximeter_reporter_summary_reads_total", outcome="ok")
        await running.until(lambda: running.metric("taximeter_reporter_summary_reads_total", outcome="ok") > asked + 5)
        assert "report evt_7 (meter_event_customer_not_found) counts 1 that it does not name" in (await installation.confirmed())["cus_lost"].cause
        code, before = await asyncio.to_thread(command, installation, tmp_path / "reporter", "verify")
        assert (code, before["refusals"]) == (DISCREPANCY, {"named": 0, "unnamed": {"meter_event_customer_not_found": 1}, "answered": []})
        for words in (("stripe", "errors"), ("rejected", "list"), ("status",)):
            code, said = await asyncio.to_thread(command, installation, tmp_path / "reporter", *words)
            assert unnamed_left(said) == 1, said
        # A person mends what is missing, and takes back what another program sent.
        compare = ("reconcile", "--all", "--settle-seconds", "1", "--calls-per-second", "1000")
        code, planned = await asyncio.to_thread(command, installation, tmp_path / "reporter", *compare, "--plan", str(tmp_path / "mend"))
        assert code == DISCREPANCY
        assert sorted((each["step"], each["customer"], each["value"]) for each in planned["plan"]["steps"]) == [
            ("lost", "cus_cancelled", "31"),
            ("lost", "cus_lost", "77"),
        ]
        apply = ("correct", "--apply", str(tmp_path / "mend"), "--reason", "Stripe lost it", "--by", "ann", "--yes", "--wait", "60")
        code, done = await asyncio.to_thread(command, installation, tmp_path / "reporter", *apply)
        assert (code, [each["outcome"] for each in done["corrections"]]) == (DISCREPANCY, ["accepted"] * 2)
        assert list(done["left"]) == ["extra is not corrected: another program's, or by hand"]
        payload = {"stripe_customer_id": "cus_rogue", "value": "-9"}
        installation.client.v1.billing.meter_events.create({"event_name": "tokens", "payload": payload, "identifier": "taken-back"})
        installation.simulator.call("POST", "/_control/clock", {"advance_ms": 1_000})
        await running.until(lambda: running.metric("taximeter_reporter_differing_units", verdict="missing") == 0)
        await running.until(lambda: running.metric("taximeter_reporter_differing_units", verdict="extra") == 0)
        # What was found missing answers the refusal without a name, on record: whoever asks the log alone is told so, too.
        code, verified = await asyncio.to_thread(command, installation, tmp_path / "reporter", "verify")
        assert (code, verified["verdict"]) == (OK, "EXACT"), verified
        (answer,) = verified["refusals"]["answered"]
        lost = next(each for each in answer["found"])
        assert (answer["report"], answer["left"], lost["by"], lost["reason"], lost["outcome"]) == ("evt_7", 0, "ann", "Stripe lost it", "accepted")
        assert lost["reads"]
        for words in (("stripe", "errors"), ("rejected", "list"), ("status",)):
            code, said = await asyncio.to_thread(command, installation, tmp_path / "reporter", *words)
            assert (code, unnamed_left(said)) == (OK, 0), said
        code, verified = await asyncio.to_thread(command, installation, tmp_path / "reporter", "verify", "--with-stripe")
        assert (code, verified["verdict"]) == (OK, "EXACT"), verified
        assert (verified["stripe_evidence"]["compared"], verified["stripe_evidence"]["customers"]) == (4, 4)
        assert running.terminate() == 0, running.log


async def test_refused_usage_of_a_deleted_customer_is_billed_to_its_successor_once(installation: Installation, tmp_path: Path) -> None:
    variables = {**installation.variables, "TAXIMETER_KAFKA_PARTITIONS": "1", "TAXIMETER_WEBHOOKS_BACKFILL_SECONDS": "0"}
    folder = tmp_path / "reporter"
    installation.simulator.call("POST", "/_control/customers", {"ids": ["cus_heir"]})
    with reporter(installation.kafka, folder, variables) as running:
        await running.until(lambda: running.metric("taximeter_reporter_meter_events_total", outcome="accepted") == len(QUANTITIES))
        now_ms, named = int(time.time() * 1000), await installation.identifier("cus_lost")
        code = "meter_event_customer_not_found"
        report = Rejection(0, "webhooks", "evt_8", "tokens", code, "no customer", 1, (named,), now_ms - 10_000, now_ms, now_ms)
        await installation.appender.append(installation.kafka.topics.ledger.name, 0, encode_entry(report))
        exit_code, listed = await asyncio.to_thread(command, installation, folder, "rejected", "list")
        assert exit_code == DISCREPANCY
        assert [(each["identifier"], each["code"], each["state"]) for each in listed["meter_events"]] == [(named, code, "open")]
        exit_code, planned = await asyncio.to_thread(command, installation, folder, "correct", "--resend", "--code", code, "--plan")
        assert (exit_code, planned["steps"]) == (DISCREPANCY, [])
        assert [why for why in planned["skipped"] if "cus_lost" in why and "--to-customer" in why], "Stripe would not record it"
        move = ("correct", "--to-customer", "cus_heir", "--customer", "cus_lost", "--reason", "made anew", "--by", "ann", "--yes", "--wait", "60")
        exit_code, done = await asyncio.to_thread(command, installation, folder, *move)
        assert (exit_code, done["units"], [each["outcome"] for each in done["corrections"]]) == (OK, {"tokens": "77"}, ["accepted"])
        exit_code, again = await asyncio.to_thread(command, installation, folder, *move)
        assert [each["identifier"] for each in again["corrections"]] == [each["identifier"] for each in done["corrections"]], "billed once"
        installation.simulator.call("POST", "/_control/clock", {"advance_ms": 1_000})
        exit_code, verified = await asyncio.to_thread(command, installation, folder, "verify")
        assert (exit_code, verified["verdict"], verified["meters"]["tokens"]["billed"]) == (OK, "EXACT", sum(QUANTITIES.values()))
        books = {row["customer"]: int(row["total"]) for row in installation.simulator.call("GET", "/_oracle/books")["rows"]}
        assert books == {**{name: units for name, units in QUANTITIES.items() if name != "cus_lost"}, "cus_heir": 77}
        assert running.terminate() == 0, running.log
