"""A meter that Stripe refuses for a while, under load: the reporter as a process, a real broker, the simulator of Stripe."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import stripe
from taximeter_emitter.wire.partitioner import partition_of

from metering.configuration.secrets import Secret
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from reporter.sending.verdicts import MeterRefused
from reporter.stripe.listed_meters import ListedMeter, MetersUnread, StripeMeters, WhyUnread
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from tests.support.reporter_process import ReporterProcess, reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CATALOGUE: Final = "".join(f'[[meters]]\nevent_name = "{meter}"\nsum = ["n"]\n' for meter in ("tokens", "images"))
CUSTOMERS: Final = tuple(f"cus_{number}" for number in range(40))
HELD_SECONDS: Final = 9.0
PATIENCE_S: Final = 120.0
EVENTS: Final = "taximeter_reporter_meter_events_total"


@dataclass(slots=True)
class Load:
    """Appends a tally of each customer's usage of both meters, again and again."""

    kafka: KafkaSettings
    appender: Appender
    counted: dict[str, int] = field(default_factory=lambda: {"tokens": 0, "images": 0})
    heads: dict[int, tuple[int, int]] = field(default_factory=dict)

    async def count(self) -> None:
        now_ms = int(time.time() * 1000)
        for partition in range(self.kafka.partitions):
            rows = [
                TallyRow(customer, meter, (), now_ms // 60_000 * 60_000, 7, 1)
                for customer in CUSTOMERS
                if partition_of(customer, self.kafka.partitions) == partition
                for meter in self.counted
            ]
            head, end = self.heads.get(partition, (NO_OFFSET, 0))
            tally = Tally(
                chain_id="0123456789abcdef",
                partition=partition,
                link=ChainLink(end, end + 1, head),
                checkpoint=NO_OFFSET,
                instance="test",
                catalogue="test",
                log_time_ms=now_ms,
                records=RecordCounts(singles=1),
                events=EventCounts(counted=1),
                rows=rows,
                emitter_states=[],
            )
            landed = await self.appender.append(self.kafka.topics.tallies.name, partition, encode_tally(tally))
            self.heads[partition] = landed.offset, end + 1
            for row in rows:
                self.counted[row.meter] += row.quantity


@dataclass(slots=True)
class Account:
    """Stripe with both meters and all customers."""

    simulator: SimulatorProcess
    client: stripe.StripeClient
    meters: dict[str, str] = field(default_factory=dict)

    def create(self, meter: str, **changes: Any) -> None:
        made = self.client.v1.billing.meters.create(
            {"display_name": meter, "event_name": meter, "default_aggregation": {"formula": "sum"}, **changes}  # type: ignore[typeddict-item]  # any parameters
        )
        self.meters[meter] = made.id

    def total(self, meter: str) -> int:
        rows = self.simulator.call("GET", "/_oracle/books")["rows"]
        return sum(int(row["total"]) for row in rows if row["event_name"] == meter)

    def environment(self, meter_events: str, **changes: str) -> dict[str, str]:
        return {
            "TAXIMETER_STRIPE_METER_EVENTS": meter_events,
            **reporting_to(self.simulator.url),
            "TAXIMETER_STRIPE_CALLS_PER_SECOND": "1000",
            "TAXIMETER_REPORTER_PROBE_SECONDS": "1",
            **changes,
        }


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": list(CUSTOMERS)})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url, "meter_events": process.url}, http_client=stripe.UrllibClient())
        yield Account(process, client)
    finally:
        process.stop()


@pytest.fixture
async def load(broker: str) -> Any:
    kafka = settings_for(broker)
    await make_topics(kafka)
    appender = Appender(kafka, "load")
    yield Load(kafka, appender)
    await appender.close()


async def until(running: ReporterProcess, load: Load, reached: Callable[[], bool], *, working: bool = True) -> None:
    """Until then; meanwhile usage is counted, if `working`."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert running.process.poll() is None, running.log
        assert time.monotonic() < deadline, running.log
        if working:
            await load.count()
        await asyncio.sleep(0.1)


def carried(running: ReporterProcess) -> float:
    """Units of `tokens` that wait."""
    return running.metric("taximeter_reporter_held_units", meter="tokens")


def readiness(running: ReporterProcess) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{running.admin}/readyz") as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


async def test_a_meter_that_is_inactive_for_a_while_costs_nothing_and_the_others_go_on(load: Load, account: Account, tmp_path: Path) -> None:
    for meter in ("tokens", "images"):
        account.create(meter)
    with reporter(load.kafka, tmp_path / "reporter", account.environment("v1"), meters=CATALOGUE) as running:
        await until(running, load, lambda: account.total("tokens") > 0)
        account.client.v1.billing.meters.deactivate(account.meters["tokens"])
        await until(running, load, lambda: running.metric("taximeter_reporter_meters_held", meter="tokens") == 1)
        others = account.total("images")
        end = time.monotonic() + HELD_SECONDS
        await until(running, load, lambda: time.monotonic() > end and carried(running) > 0)
        assert account.total("images") > others
        assert running.metric("taximeter_reporter_meters_held", meter="images") == 0
        status, said = readiness(running)
        assert (status, said["ok"]) == (200, True)
        assert "meter tokens is held" in said["mentions"]["stripe_takes_all_meters"]
        account.client.v1.billing.meters.reactivate(account.meters["tokens"])
        await until(running, load, lambda: {meter: account.total(meter) for meter in load.counted} == load.counted, working=False)
        await until(running, load, lambda: running.metric("taximeter_reporter_meters_held", meter="tokens") == 0, working=False)
        assert {outcome: running.metric(EVENTS, outcome=outcome) for outcome in ("rejected", "parked", "unbillable")} == {
            "rejected": 0,
            "parked": 0,
            "unbillable": 0,
        }
        assert running.metric(EVENTS, outcome="postponed") > 0
        assert running.terminate() == 0, running.log
    assert "nothing of this meter is sent any more" in running.log


async def test_usage_of_a_meter_that_does_not_exist_waits_through_restarts_until_it_does(load: Load, account: Account, tmp_path: Path) -> None:
    account.create("images")
    for folder in ("first", "second"):
        with reporter(load.kafka, tmp_path / folder, account.environment("v1"), meters=CATALOGUE) as running:
            await load.count()
            await until(running, load, lambda: account.total("images") == load.counted["images"], working=False)
            assert running.metric("taximeter_reporter_stripe_calls_total", outcome="meter_refused") == 0, "it was held before it was sent"
            running.kill()
    with reporter(load.kafka, tmp_path / "third", account.environment("v1"), meters=CATALOGUE) as running:
        await until(running, load, lambda: carried(running) == load.counted["tokens"], working=False)
        account.create("tokens")
        await until(running, load, lambda: account.total("tokens") == load.counted["tokens"], working=False)
        assert running.metric(EVENTS, outcome="rejected") == 0


async def test_the_first_error_report_about_a_meter_of_the_stream_holds_it(load: Load, account: Account, tmp_path: Path) -> None:
    for meter in ("tokens", "images"):
        account.create(meter)
    variables = account.environment("v2_stream", TAXIMETER_REPORTER_METERS_SECONDS="0", TAXIMETER_WEBHOOKS_BACKFILL_SECONDS="1")
    with reporter(load.kafka, tmp_path / "reporter", variables, meters=CATALOGUE) as running:
        await until(running, load, lambda: account.total("tokens") > 0)
        account.client.v1.billing.meters.deactivate(account.meters["tokens"])
        await until(running, load, lambda: running.metric("taximeter_reporter_meters_held", meter="tokens") == 1)
        await until(running, load, lambda: carried(running) > 0)
        account.client.v1.billing.meters.reactivate(account.meters["tokens"])
        await until(running, load, lambda: account.total("images") == load.counted["images"], working=False)
        await until(running, load, lambda: carried(running) == 0, working=False)
        dropped = sum(account.simulator.call("GET", "/_oracle/stats")["drops"].values())
        refused = sum(running.metric("taximeter_reporter_async_rejections_total", code=code) for code in ("archived_meter",))
        assert 0 < refused <= dropped


async def test_every_reporter_learns_of_an_error_report_that_one_of_them_got(load: Load, account: Account, tmp_path: Path) -> None:
    for meter in ("tokens", "images"):
        account.create(meter)
    variables = account.environment("v2_stream", TAXIMETER_REPORTER_METERS_SECONDS="0", TAXIMETER_WEBHOOKS_BACKFILL_SECONDS="1")
    with reporter(load.kafka, tmp_path / "one", variables, meters=CATALOGUE) as one:
        await until(one, load, lambda: account.total("tokens") > 0)
        with reporter(load.kafka, tmp_path / "two", variables, meters=CATALOGUE) as two:
            told = two.metric(EVENTS, outcome="accepted")
            await until(two, load, lambda: two.metric(EVENTS, outcome="accepted") > told)
            account.client.v1.billing.meters.deactivate(account.meters["tokens"])
            for each in (one, two):
                await until(each, load, lambda each=each: each.metric("taximeter_reporter_meters_held", meter="tokens") == 1)  # type: ignore[misc]


async def test_a_key_that_stripe_does_not_know_makes_the_reporter_unready_from_the_start(load: Load, account: Account, tmp_path: Path) -> None:
    account.simulator.call("POST", "/_control/config", {"keys": {"revoked": [KEY]}})
    with reporter(load.kafka, tmp_path / "reporter", account.environment("v1"), meters=CATALOGUE) as running:
        await until(running, load, lambda: "401" in readiness(running)[1]["conditions"].get("stripe_accepts_the_key", ""), working=False)
        assert readiness(running)[0] == 503
        account.simulator.call("POST", "/_control/config", {"keys": {"revoked": []}})
        await until(running, load, lambda: readiness(running)[0] == 200, working=False)


async def test_meters_are_read_with_what_decides_whether_stripe_takes_their_events(account: Account) -> None:
    account.create("tokens")
    account.create("images", customer_mapping={"event_payload_key": "cus", "type": "by_id"}, value_settings={"event_payload_key": "n"})
    account.create("calls", default_aggregation={"formula": "count"})
    account.client.v1.billing.meters.deactivate(account.meters["tokens"])
    subject = StripeMeters(api_key=Secret(KEY), api_base=account.simulator.url, timeout_s=10)
    try:
        assert await subject.read() == {
            "tokens": ListedMeter(active=False, customer_key="stripe_customer_id", value_key="value"),
            "images": ListedMeter(active=True, customer_key="cus", value_key="n"),
            "calls": ListedMeter(active=True, customer_key="stripe_customer_id", value_key=None, formula="count"),
        }
        account.simulator.call("POST", "/_control/config", {"keys": {"restricted": {KEY: ["billing_meter_event_write"]}}})
        with pytest.raises(MetersUnread) as forbidden:
            await subject.read()
        account.simulator.call("POST", "/_control/config", {"keys": {"restricted": {}, "revoked": [KEY]}})
        with pytest.raises(MetersUnread) as unknown:
            await subject.read()
    finally:
        await subject.close()
    assert (forbidden.value.why, unknown.value.why) == (WhyUnread.FORBIDDEN, WhyUnread.KEY_REFUSED)
    assert KEY not in f"{forbidden.value}{unknown.value}"


@pytest.mark.parametrize("code", [None, "resource_missing"])
async def test_every_way_in_which_stripe_refuses_a_meter_is_told_from_a_refused_event(account: Account, code: str | None) -> None:
    account.simulator.call("POST", "/_control/config", {"assumptions": {"unknown_meter_code": code}})
    account.create("tokens")
    account.create("images", customer_mapping={"event_payload_key": "cus", "type": "by_id"})
    account.create("calls", value_settings={"event_payload_key": "n"})
    account.client.v1.billing.meters.deactivate(account.meters["tokens"])
    subject = StripeMeterEvents(api_key=Secret(KEY), api_base=account.simulator.url, connections=4, timeout_s=10)
    try:
        for number, meter in enumerate(("tokens", "images", "calls", "nothing")):
            verdict = await subject.send(
                event_name=meter,
                payload={"stripe_customer_id": CUSTOMERS[0], "value": "5"},
                identifier=f"tm-{number}",
                timestamp_s=int(time.time()),
                idempotency_key=f"tm-{number}",
            )
            assert isinstance(verdict, MeterRefused), (meter, verdict)
    finally:
        await subject.close()
