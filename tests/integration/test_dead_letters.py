"""`taximeter deadletters` with an aggregator as a process: what was set aside is listed, shown, taken back, and counts once."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from taximeter_emitter import Emitter
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings, started
from metering.records.tally import decode_tally
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import environment
from tests.support.usage_topic import make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

PATIENCE_S: Final = 120.0
TAKE_BACK: Final = ("--reason", "the field was misspelt", "--by", "ann", "--yes")


async def test_each_event_that_was_set_aside_is_taken_back_once(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with aggregator(kafka, tmp_path) as process:
        await emit(kafka)
        await settled(kafka, {"counted": 1, "unknown_usage_field": 4, "past_horizon": 2})

        code, listed = deadletters(kafka, tmp_path, "list", "--by", "reason")
        assert code == DISCREPANCY
        assert {group["reason"]: group["open"] for group in listed["groups"]} == {"unknown_usage_field": 4, "past_horizon": 2}
        code, shown = deadletters(kafka, tmp_path, "show", "--why", "past_horizon", "--limit", "1")
        (event,) = shown["events"]
        assert (event["state"], event["event"]["usage"], event["source"]) == ("open", {"n": 100}, "old")

        code, plan = deadletters(kafka, tmp_path, "redrive", "--dry-run")
        assert (code, plan["counted"], plan["known"], plan["fails"], plan["units"]) == (DISCREPANCY, 1, 1, 4, {"tokens": "100"})
        assert plan["money"]["amounts"] is None
        code, plan = deadletters(kafka, tmp_path, "redrive", "--rename", "cached=n", *TAKE_BACK)
        assert (code, plan["counted"], plan["known"], plan["fails"], plan["written"]) == (OK, 5, 1, 0, 5)
        await settled(kafka, {"counted": 6, "unknown_usage_field": 4, "past_horizon": 2})

        assert deadletters(kafka, tmp_path, "redrive", *TAKE_BACK)[1]["selected"] == 0
        code, listed = deadletters(kafka, tmp_path, "list", "--by", "reason")
        assert code == OK
        assert {group["reason"]: (group["open"], group["redriven"], group["known"]) for group in listed["groups"]} == {
            "unknown_usage_field": (0, 4, 0),
            "past_horizon": (0, 1, 1),
        }
        assert process.terminate() == 0, process.log
    assert await units(kafka) == 1 + 3 * 7 + 20 + 100


async def emit(kafka: KafkaSettings) -> None:
    """One good event, one of yesterday twice, and events with a field that no meter sums: three of an emitter, and a single one."""
    old = {"id": "o1", "source": "old", "time": (datetime.now(UTC) - timedelta(hours=30)).isoformat(), "customer": "cus_2", "usage": {"n": 100}}
    singles = [{"id": "e1", "customer": "cus_1", "usage": {"n": 1}}, old, old, {"id": "e2", "customer": "cus_3", "usage": {"cached": 20}}]
    async with started(make_producer(kafka.options(), client_id="single", record_bytes_max=EVENT_RECORD_BYTES_MAX)) as producer:
        for event in singles:
            customer = str(event["customer"])
            await producer.send_and_wait(kafka.topics.events.name, orjson.dumps(event), key=customer.encode())

    def batch() -> None:
        with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="sdk") as emitter:
            for number in range(3):
                assert emitter.emit(customer=f"cus_{number}", usage={"cached": 7}, event_id=f"b{number}" if number else None)

    await asyncio.to_thread(batch)


def deadletters(kafka: KafkaSettings, folder: Path, *arguments: str) -> tuple[int, Any]:
    """The command's exit code and its JSON."""
    command = [sys.executable, "-m", "taximeter", "deadletters", *arguments, "--json", "--config", str(folder / "taximeter.toml")]
    variables = dict(environment(kafka, {}))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def settled(kafka: KafkaSettings, expected: dict[str, int]) -> None:
    """Wait until the tallies have these outcomes."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await outcomes(kafka)) != expected:
            assert sum(found.values()) <= sum(expected.values()), found
            await asyncio.sleep(0.1)


async def outcomes(kafka: KafkaSettings) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, value in await read_topic(kafka, kafka.topics.tallies.name):
        events = decode_tally(value).events
        found.update({"counted": events.counted, "duplicate": events.duplicates, **events.dead_lettered})
    return +found


async def units(kafka: KafkaSettings) -> int:
    return sum(row.quantity for _, value in await read_topic(kafka, kafka.topics.tallies.name) for row in decode_tally(value).rows)
