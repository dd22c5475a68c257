"""What is too old, with the reporter as a process and Stripe's simulator: usage past 35 days, and outcomes unknown for 20 hours and longer."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import stripe
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings, make_admin, started
from metering.kafka.partition_log import Appender
from metering.kafka.topics import LOG_APPEND_TIME
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent, MeterEvent, Outcome, encode_intent
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from tests.support.broker_topics import visible
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, simulated_stripe
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMER: Final = "cus_1"
CHAIN: Final = "0123456789abcdef"
UNITS: Final = 812
PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Installation:
    """Topics, Stripe's simulator with a meter and a customer, and a reporter's settings."""

    kafka: KafkaSettings
    simulator: SimulatorProcess
    client: stripe.StripeClient
    appender: Appender
    folder: Path

    @property
    def partition(self) -> int:
        return partition_of(CUSTOMER, self.kafka.partitions)

    @property
    def variables(self) -> dict[str, str]:
        return {
            **reporting_to(self.simulator.url),
        }

    def units_at_stripe(self) -> int:
        return sum(int(row["total"]) for row in self.simulator.call("GET", "/_oracle/books")["rows"])

    async def tally(self, time_ms: int) -> None:
        """One event was counted, with usage of this time."""
        tally = Tally(
            chain_id=CHAIN,
            partition=self.partition,
            link=ChainLink(0, 1, NO_OFFSET),
            checkpoint=NO_OFFSET,
            instance="test",
            catalogue="test",
            log_time_ms=time_ms,
            records=RecordCounts(singles=1),
            events=EventCounts(counted=1),
            rows=[TallyRow(CUSTOMER, "tokens", (), time_ms, UNITS, 1)],
            emitter_states=[],
        )
        event = b'{"id": "1", "customer": "cus_1", "usage": {"n": 812}}'
        await self.appender.append(self.kafka.topics.events.name, self.partition, event)
        await self.appender.append(self.kafka.topics.tallies.name, self.partition, encode_tally(tally))


def minute_ago(age_ms: int) -> int:
    return (time.time_ns() // 1_000_000 - age_ms) // MINUTE_MS * MINUTE_MS


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulated_stripe(tmp_path, CUSTOMER) as process:
        yield process


@pytest.fixture
async def installation(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Installation]:
    kafka = settings_for(broker)
    client = stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())
    client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    appender = Appender(kafka, "test")
    yield Installation(kafka, simulator, client, appender, tmp_path)
    await appender.close()


async def make_old_ledger(made: Installation, intent: Intent, log_time_ms: int) -> None:
    """A ledger with an intent that the broker took long ago: written while producers set the time, as brokers never let them afterwards."""
    spec = made.kafka.topics.ledger
    admin = make_admin(made.kafka, client_id="test")
    try:
        await admin.start()
        configuration = spec.configuration(min_insync_replicas=1) | {"message.timestamp.type": "CreateTime"}
        await admin.create_topics([NewTopic(spec.name, made.kafka.partitions, 1, topic_configs=configuration)])
        await visible(admin, spec.name, made.kafka.partitions)
        async with started(make_producer(made.kafka.options(), client_id="test", record_bytes_max=CHAIN_RECORD_BYTES_MAX)) as producer:
            await producer.send_and_wait(spec.name, encode_intent(intent), partition=made.partition, timestamp_ms=log_time_ms)
        wanted = spec.configuration(min_insync_replicas=1) | {"message.timestamp.type": LOG_APPEND_TIME}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, wanted)])
    finally:
        await admin.close()


async def test_usage_past_35_days_is_unbillable_by_name_and_never_sent(installation: Installation) -> None:
    await make_topics(installation.kafka)
    await installation.tally(minute_ago(36 * DAY_MS))

    with reporter(installation.kafka, installation.folder / "reporter", installation.variables) as running:
        await running.until(lambda: running.metric("taximeter_reporter_meter_events_total", outcome="unbillable") == 1)

    report = await verify(installation.kafka)
    assert report.problems.shown == []
    assert report.meters["tokens"].outcomes == {Outcome.UNBILLABLE: UNITS}
    assert verdict_of(report).text == f"EXACT BUT {UNITS} UNITS TOO OLD FOR STRIPE, 1 TALLY NOT COUNTED AGAIN"
    assert installation.units_at_stripe() == 0


@pytest.mark.parametrize("arrived", [False, True])
@pytest.mark.parametrize("hours", [21, 25])
async def test_an_outcome_that_is_unknown_for_too_long_is_parked_and_not_sent_again(installation: Installation, hours: int, arrived: bool) -> None:
    """Whether the only attempt arrived or not; after 24 hours Stripe does not know its identifier any more, and would count it twice."""
    planned_ms = time.time_ns() // 1_000_000 - hours * HOUR_MS
    window_ms = minute_ago(hours * HOUR_MS)
    intent = Intent(
        chain_id=CHAIN,
        partition=installation.partition,
        link=ChainLink(0, 1, NO_OFFSET),
        checkpoint=NO_OFFSET,
        instance="one-that-died",
        tally_head=0,
        events_end=1,
        meter_events=[MeterEvent(CUSTOMER, "tokens", (), window_ms, UNITS)],
    )
    await make_old_ledger(installation, intent, planned_ms)
    await make_topics(installation.kafka)
    await installation.tally(window_ms)
    if arrived:
        installation.client.v1.billing.meter_events.create(
            {
                "event_name": "tokens",
                "payload": {"stripe_customer_id": CUSTOMER, "value": str(UNITS)},
                "identifier": intent.identifier(0),
                "timestamp": window_ms // 1000,
            }
        )
        installation.simulator.call("POST", "/_control/clock", {"advance_ms": hours * HOUR_MS})

    with reporter(installation.kafka, installation.folder / "reporter", installation.variables) as running:
        await running.until(lambda: running.metric("taximeter_reporter_meter_events_total", outcome="parked") == 1)

    report = await verify(installation.kafka)
    assert report.problems.shown == []
    assert report.meters["tokens"].outcomes == {Outcome.PARKED: UNITS}
    assert installation.units_at_stripe() == (UNITS if arrived else 0)
