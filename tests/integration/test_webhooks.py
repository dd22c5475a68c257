"""What Stripe refuses after it accepted it: the reporter as a process, a real broker, the simulator of Stripe with its webhooks."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import stripe
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Rejection, decode_entry
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from reporter.stripe.report_types import REPORT_TYPES
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.gateway_process import environment
from tests.support.reporter_process import ReporterProcess, reporter
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMER: Final = "cus_nobody"
QUANTITY: Final = 812
CODE: Final = "meter_event_customer_not_found"
PATIENCE_S: Final = 120.0
REJECTIONS: Final = "taximeter_reporter_async_rejections_total"
REQUESTS: Final = "taximeter_reporter_webhook_requests_total"


@dataclass(frozen=True, slots=True)
class Account:
    """Stripe with a meter, and a destination for thin events whose secret is known."""

    simulator: SimulatorProcess
    client: stripe.StripeClient
    destination: str
    secret: str

    def environment(self, meter_events: str = "v1") -> dict[str, str]:
        return {
            "TAXIMETER_STRIPE_METER_EVENTS": meter_events,
            "STRIPE_API_KEY": KEY,
            "TAXIMETER_STRIPE_API_BASE": self.simulator.url,
            "TAXIMETER_REPORTER_REPORT_SECONDS": "0.2",
            "TAXIMETER_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": f"whsec_former,{self.secret}",
        }

    def deliver_to(self, url: str) -> None:
        self.client.v2.core.event_destinations.update(self.destination, {"webhook_endpoint": {"url": url}})

    def report_errors(self) -> str:
        """Let the window of validation end and the notification be delivered; the event's id."""
        self.simulator.call("POST", "/_control/clock", {"advance_ms": 30_000})
        (event,) = self.client.v2.core.events.list({"types": list(REPORT_TYPES)}).data
        self.simulator.call("POST", "/_control/webhooks", {"settle": True})
        return event.id

    def resend(self, event_id: str) -> None:
        self.simulator.call("POST", "/_control/webhooks", {"resend": event_id})
        self.simulator.call("POST", "/_control/webhooks", {"settle": True})


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        # Stripe's time passes when a test says so: a window of validation must not end by itself.
        process.call("POST", "/_control/clock", {"rate": 0})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url, "meter_events": process.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        made: Any = client.v2.core.event_destinations.create(
            {
                "name": "reporter",
                "type": "webhook_endpoint",
                "event_payload": "thin",
                "enabled_events": list(REPORT_TYPES),
                "webhook_endpoint": {"url": "http://127.0.0.1:9/not-yet"},
                "include": ["webhook_endpoint.signing_secret"],
            }
        )
        yield Account(process, client, made.id, made.webhook_endpoint.signing_secret)
    finally:
        process.stop()


@pytest.fixture
async def kafka(broker: str) -> KafkaSettings:
    """Topics where one customer's usage is counted and not reported."""
    settings = settings_for(broker)
    await make_topics(settings)
    partition, now_ms = partition_of(CUSTOMER, settings.partitions), int(time.time() * 1000)
    tally = Tally(
        chain_id="0123456789abcdef",
        partition=partition,
        link=ChainLink(0, 1, NO_OFFSET),
        checkpoint=NO_OFFSET,
        instance="test",
        catalogue="test",
        log_time_ms=now_ms,
        records=RecordCounts(singles=1),
        events=EventCounts(counted=1),
        rows=[TallyRow(CUSTOMER, "tokens", (), now_ms // 60_000 * 60_000, QUANTITY, 1)],
        emitter_states=[],
    )
    appender = Appender(settings, "test")
    try:
        await appender.append(settings.topics.tallies.name, partition, encode_tally(tally))
    finally:
        await appender.close()
    return settings


async def rejections_in(kafka: KafkaSettings) -> list[Rejection]:
    reader, found = LogReader(kafka, "test"), []
    try:
        for partition in range(kafka.partitions):
            start, end = await reader.bounds(kafka.topics.ledger.name, partition)
            async for records in reader.records(kafka.topics.ledger.name, partition, start, end):
                found += [entry for entry in (decode_entry(record.value) for record in records) if isinstance(entry, Rejection)]
    finally:
        await reader.close()
    return found


def until(running: ReporterProcess, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert running.process.poll() is None, running.log
        assert time.monotonic() < deadline, running.log
        time.sleep(0.05)


def sent(running: ReporterProcess) -> None:
    """Wait until Stripe has accepted the usage and the ledger says so."""
    until(running, lambda: running.metric("taximeter_reporter_meter_events_total", outcome="accepted") == 1)


def errors_shown(kafka: KafkaSettings, folder: Path, account: Account) -> tuple[int, dict[str, Any]]:
    """Exit code and output of `taximeter stripe errors`."""
    command = [sys.executable, "-m", "taximeter", "stripe", "errors", "--json"]
    variables: Mapping[str, str] = environment(kafka, {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": account.simulator.url})
    done = subprocess.run(command, cwd=folder, env=dict(variables), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode in {OK, DISCREPANCY}, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("meter_events", ["v1", "v2_stream"])
async def test_what_stripe_refuses_later_is_in_the_ledger_once_and_shown_with_its_customer(
    kafka: KafkaSettings, account: Account, tmp_path: Path, meter_events: str
) -> None:
    with reporter(kafka, tmp_path / "reporter", account.environment(meter_events)) as running:
        account.deliver_to(running.webhooks)
        sent(running)
        assert errors_shown(kafka, tmp_path, account) == (
            OK,
            {"hours": 72.0, "errors": 0, "not_billed": 0, "codes": [], "rejections": [], "found_lost": 0},
        )
        event_id = account.report_errors()
        until(running, lambda: running.metric(REJECTIONS, code=CODE) == 1)
        for _ in range(2):
            account.resend(event_id)
        until(running, lambda: running.metric(REQUESTS, outcome="duplicate") == 2)
        assert running.metric(REQUESTS, outcome="accepted") == 1
        assert running.metric(REJECTIONS, code=CODE) == 1
        code, shown = errors_shown(kafka, tmp_path, account)
        assert running.terminate() == 0, running.log

    (rejection,) = await rejections_in(kafka)
    assert (rejection.event_id, rejection.meter, rejection.code, rejection.error_count) == (event_id, "tokens", CODE, 1)
    assert rejection.partition == partition_of(CUSTOMER, kafka.partitions)
    assert (code, shown["errors"]) == (DISCREPANCY, 1)
    (sample,) = shown["rejections"][0]["samples"]
    assert (sample["identifier"], sample["customer"], sample["value"]) == (rejection.identifiers[0], CUSTOMER, QUANTITY)
    assert account.secret not in running.log
    assert KEY not in running.log


async def test_what_was_answered_with_200_and_lost_in_a_crash_is_asked_for_at_the_next_start(
    kafka: KafkaSettings, account: Account, tmp_path: Path
) -> None:
    with reporter(kafka, tmp_path / "first", account.environment()) as running:
        account.deliver_to(running.webhooks)
        sent(running)
        # The report is fetched so slowly that the process is killed meanwhile.
        account.simulator.call("POST", "/_control/script", {"route": "v2.events.retrieve", "kind": "slow", "delay_ms": 600_000, "times": 100})
        event_id = account.report_errors()
        until(running, lambda: running.metric(REQUESTS, outcome="accepted") == 1)
        running.kill()
    assert await rejections_in(kafka) == []

    account.simulator.call("DELETE", "/_control/script")
    with reporter(kafka, tmp_path / "second", account.environment()) as running:
        until(running, lambda: running.metric("taximeter_reporter_webhook_recovered_total") == 1)
        account.deliver_to(running.webhooks)
        account.resend(event_id)
        until(running, lambda: running.metric(REQUESTS, outcome="duplicate") == 1)
        assert running.metric(REJECTIONS, code=CODE) == 1
        assert running.terminate() == 0, running.log
    (rejection,) = await rejections_in(kafka)
    assert (rejection.event_id, rejection.partition) == (event_id, partition_of(CUSTOMER, kafka.partitions))


async def test_a_reporter_that_is_told_to_stop_first_records_what_it_answered_with_200(
    kafka: KafkaSettings, account: Account, tmp_path: Path
) -> None:
    with reporter(kafka, tmp_path / "reporter", account.environment()) as running:
        account.deliver_to(running.webhooks)
        sent(running)
        account.simulator.call("POST", "/_control/script", {"route": "v2.events.retrieve", "kind": "slow", "delay_ms": 3_000, "times": 1})
        event_id = account.report_errors()
        until(running, lambda: running.metric(REQUESTS, outcome="accepted") == 1)
        assert running.terminate() == 0, running.log
    assert [rejection.event_id for rejection in await rejections_in(kafka)] == [event_id]
