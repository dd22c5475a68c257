"""`taximeter trace` and `explain` with an aggregator and a reporter as processes: from an event to Stripe's answer, and back."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import stripe
from taximeter_emitter import Emitter
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings, started
from taximeter.exit_codes import DISCREPANCY, FAILED, OK
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import environment
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMER: Final = "cus_1"
PATIENCE_S: Final = 120.0


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": [CUSTOMER, "cus_2"]})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        yield process
    finally:
        process.stop()


async def test_an_event_is_followed_to_stripes_answer_and_a_sum_to_its_events(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    variables = {
        **reporting_to(simulator.url),
    }
    with aggregator(kafka, tmp_path / "aggregator") as counting, reporter(kafka, tmp_path / "reporter", variables) as reporting:
        await emit(kafka)
        deadline = time.monotonic() + PATIENCE_S
        while simulator_units(simulator) < 1 + 2 + 5 + 3:
            assert time.monotonic() < deadline, counting.log + reporting.log
            await asyncio.sleep(0.1)

        code, traced = command(kafka, tmp_path, "trace", "e1", "--source", "api", "--customer", CUSTOMER)
        assert (code, [each["outcome"] for each in traced["events"]]) == (OK, ["counted", "duplicate"])
        first = traced["events"][0]
        assert (first["units"], first["usage"]) == ({"tokens": 1}, {"n": 1})
        meter_event = first["meter_events"][0]
        assert (meter_event["customer"], meter_event["outcome"]) == (CUSTOMER, "accepted")

        code, found = command(kafka, tmp_path, "trace", "--identifier", meter_event["identifier"])
        assert (code, found["meter_event"]["outcome"], found["meter_event"]["value"]) == (OK, "accepted", meter_event["value"])
        code, found = command(kafka, tmp_path, "trace", "--offset", f"{first['partition']}:{first['offset']}")
        assert (code, found["events"]) == (OK, [first])
        assert command(kafka, tmp_path, "trace", "e1", "--source", "other")[0] == FAILED

        code, explained = command(kafka, tmp_path, "explain", "--customer", CUSTOMER, "--meter", "tokens", "--events", str(tmp_path / "e.ndjson"))
        assert (code, explained["units"], explained["events"], explained["agrees"], explained["told"]) == (OK, "8", 3, True, "8")
        assert explained["outcomes"] == {"counted": 3, "duplicate": 1}
        events = [json.loads(line) for line in (tmp_path / "e.ndjson").read_text().splitlines()]
        counted = [event for event in events if event["outcome"] == "counted"]
        assert sorted((event["units"], event["source"], event["id"]) for event in counted) == [(1, "api", "e1"), (2, "sdk", "m2"), (5, "sdk", "m5")]

        code, summed = command(kafka, tmp_path, "explain", "--customer", CUSTOMER, "--meter", "tokens", "--sums")
        assert (code, summed["units"], summed["events"], summed["agrees"]) == (OK, "8", 3, None)
        assert sum(int(each["units"]) for each in summed["sums"]) == 8

        # Stripe's own sums, first as they should be, then with a meter event that somebody sent by hand.
        simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})
        code, verified = command(kafka, tmp_path, "verify", "--with-stripe", stripe_base=simulator.url)
        assert (code, verified["verdict"]) == (OK, "EXACT")
        by_hand(simulator, 5000)
        code, verified = command(kafka, tmp_path, "verify", "--with-stripe", stripe_base=simulator.url)
        assert (code, verified["verdict"]) == (DISCREPANCY, "NOT EXACT: 1 cell in which Stripe has other sums")


def by_hand(simulator: SimulatorProcess, value: int) -> None:
    """A meter event that the ledger does not know."""
    client = stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())
    client.v1.billing.meter_events.create(
        {
            "event_name": "tokens",
            "payload": {"stripe_customer_id": CUSTOMER, "value": str(value)},
            "identifier": "by-hand",
            "timestamp": int(time.time()) // 60 * 60,
        }
    )
    simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})


async def emit(kafka: KafkaSettings) -> None:
    """Of one customer a single event twice, and a batch of two; of another one event."""
    event = {"id": "e1", "source": "api", "customer": CUSTOMER, "usage": {"n": 1}}
    async with started(make_producer(kafka.options(), client_id="single", record_bytes_max=EVENT_RECORD_BYTES_MAX)) as producer:
        for _ in range(2):
            await producer.send_and_wait(kafka.topics.events.name, orjson.dumps(event), key=CUSTOMER.encode())

    def batch() -> None:
        with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="sdk", keep_ids=True) as emitter:
            for customer, units in ((CUSTOMER, 2), (CUSTOMER, 5), ("cus_2", 3)):
                assert emitter.emit(customer=customer, usage={"m": units}, event_id=f"m{units}")

    await asyncio.to_thread(batch)


def simulator_units(simulator: SimulatorProcess) -> int:
    return sum(int(event["value"]) for event in simulator.call("GET", "/_oracle/events")["events"])


def command(kafka: KafkaSettings, folder: Path, *arguments: str, stripe_base: str = "") -> tuple[int, Any]:
    """The command's exit code and its JSON, if it has any."""
    done = subprocess.run(
        [sys.executable, "-m", "taximeter", *arguments, "--json"],
        cwd=folder / "aggregator",
        env=environment(kafka, {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": stripe_base} if stripe_base else {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode in {OK, FAILED, DISCREPANCY}, done.stderr
    return done.returncode, json.loads(done.stdout)
