"""Record a log as the services of this checkout write it, for the releases to come: `python -m tests.support.recorded_log FILE.ndjson`.

It runs real processes on the embedded broker and the Stripe simulator for half a minute. At the end an intent is open that never reached Stripe, a
tally is not reported, and events are not counted. What was sent is `SENT` of the test: change both together.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import stripe
from aiokafka import AIOKafkaConsumer, TopicPartition
from taximeter_emitter import Emitter
from taximeter_sandbox.brokers.embedded import EmbeddedBroker

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.ledger_records import Intent, Receipt, decode_entry
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import gateway
from tests.support.gateway_requests import post
from tests.support.reporter_process import reporter
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY

Line = dict[str, Any]
_TIME = "2026-11-28T00:00:00Z"


def _event(number: int, **more: str) -> Line:
    about = {"id": f"r-{number}", "source": "test", "customer": f"cus_{number % 3}"}
    return {**about, "usage": {"n": number, "m": 1}, "dimensions": {"model": "alpaca-7b"}, **more}


def _send(url: str, numbers: Sequence[int]) -> None:
    assert asyncio.run(post(url, orjson.dumps([_event(number) for number in numbers])))[0] == 202


async def _append(kafka: KafkaSettings, *values: bytes) -> None:
    appender = Appender(kafka, "recorder")
    for value in values:
        await appender.append(kafka.topics.events.name, 0, value)
    await appender.close()


def _emit(kafka: KafkaSettings, first: int, *, with_ids: bool) -> None:
    emitter = Emitter(bootstrap_servers=kafka.bootstrap_servers[0], source="emitter")
    for number in range(10):
        identity = {"event_id": f"e-{first + number}"} if with_ids else {}
        emitter.emit(customer=f"cus_{number % 3}", usage={"n": first + number}, dimensions={"model": "b"}, **identity)
    emitter.close()


async def _dumped(kafka: KafkaSettings) -> list[Line]:
    found: list[Line] = []
    for topic in kafka.topics:
        place = TopicPartition(topic.name, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers[0], auto_offset_reset="earliest", enable_auto_commit=False)
        consumer.assign([place])
        await consumer.start()
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(place, timeout_ms=500)).values():
                found += [_line(topic.name, record) for record in records]
        await consumer.stop()
    return found


def _line(topic: str, record: Any) -> Line:
    key, value = (None if each is None else each.decode() for each in (record.key, record.value))
    headers = [[name, None if text is None else text.decode()] for name, text in record.headers]
    return {"topic": topic, "offset": record.offset, "log_time_ms": record.timestamp, "key": key, "value": value, "headers": headers}


def _at_stripe(lines: Sequence[Line], ledger: str) -> Iterator[Line]:
    """What Stripe had taken, as the receipts say in the words of this checkout."""
    intents: dict[int, Intent] = {}
    for line in lines:
        entry = decode_entry(line["value"].encode()) if line["topic"] == ledger else None
        if isinstance(entry, Intent):
            intents[line["offset"]] = entry
        elif isinstance(entry, Receipt):
            for told in entry.settlements:
                intent = intents[told.intent]
                event = intent.meter_events[told.index]
                yield {"stripe": intent.identifier(told.index), "customer": event.customer, "meter": event.meter, "value": event.value}


def record(file: Path) -> None:
    """Run everything, and write the file."""
    broker, folder = EmbeddedBroker(), Path(tempfile.mkdtemp(prefix="taximeter-older-log-"))
    kafka = KafkaSettings(bootstrap_servers=(broker.start(),), partitions=1, replication_factor=1)
    with ExitStack() as stack:
        stack.callback(broker.stop)
        simulator = SimulatorProcess(folder)
        simulator.start()
        client = stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        variables = {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": simulator.url, "TAXIMETER_REPORTER_REPORT_SECONDS": "0.5"}
        door = stack.enter_context(gateway(kafka, folder / "gateway"))
        counting, reporting = ExitStack(), ExitStack()
        counting.enter_context(aggregator(kafka, folder / "aggregator"))
        reporting.enter_context(reporter(kafka, folder / "reporter", {**variables, "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": "whsec_unused"}))
        for first in range(1, 21, 5):
            _send(door.url, range(first, first + 5))
            time.sleep(1.2)
        _send(door.url, [1, 2])  # again
        cloud = {"specversion": "1.0", "id": "c-1", "source": "test", "type": "usage", "subject": "cus_1", "time": _TIME, "data": {"usage": {"n": 7}}}
        asyncio.run(_append(kafka, b"{", orjson.dumps(_event(21, time=_TIME)), orjson.dumps(cloud)))
        _emit(kafka, 100, with_ids=False)
        _emit(kafka, 200, with_ids=True)
        time.sleep(3)
        simulator.kill()
        _send(door.url, range(31, 36))
        time.sleep(3)  # planned, and not at Stripe
        reporting.close()
        _send(door.url, range(41, 46))
        time.sleep(2)  # counted, and not reported
        counting.close()
        _send(door.url, [31, *range(51, 56)])
        _emit(kafka, 300, with_ids=False)
        door.terminate()
        lines = asyncio.run(_dumped(kafka))
    lines += list(_at_stripe(lines, kafka.topics.ledger.name))
    file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
