"""A meter event that holds usage and what a plan took out of it is undone as a whole: the services as processes, a real broker, the simulator."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from metering.records.ledger_records import Intent, decode_entry
from taximeter.exit_codes import OK
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import METERS
from tests.support.replaying import ANSWERS, Pipeline, pipeline
from tests.support.reporter_process import reporter
from tests.support.usage_topic import make_topics, read_topic, settings_for
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker

MINUTE_S = 60


def event(number: int, source: str, units: int, moment: str) -> dict[str, Any]:
    return {"id": f"{source}-{number}", "source": source, "customer": "cus_1", "time": moment, "usage": {"n": units}}


async def identifiers(running: Pipeline) -> list[tuple[str, int]]:
    """Of all meter events, with their values."""
    found = []
    for _, value in await read_topic(running.kafka, running.kafka.topics.ledger.name):
        entry = decode_entry(value)
        if isinstance(entry, Intent):
            found += [(entry.identifier(index), each.value) for index, each in enumerate(entry.meter_events)]
    return found


@pytest.mark.parametrize(("meter_events", "cancel_ms", "kind"), [("v1", 0, "negate"), ("v2_stream", 0, "negate"), ("v2_stream", 3_600_000, "cancel")])
async def test_usage_and_what_was_taken_out_of_it_are_taken_back_together(
    broker: str, tmp_path: Path, meter_events: str, cancel_ms: int, kind: str
) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    moment = datetime.fromtimestamp(time.time() // MINUTE_S * MINUTE_S - 5 * MINUTE_S, UTC).isoformat()
    with pipeline(kafka, tmp_path, ["cus_1"]) as running:
        running.changes["TAXIMETER_STRIPE_METER_EVENTS"] = meter_events
        (tmp_path / "taximeter.toml").write_text(METERS)
        running.counting = running.stack.enter_context(aggregator(kafka, tmp_path / "aggregator"))
        await running.send([event(number, "right", 10, moment) for number in range(6)] + [event(number, "twice", 1, moment) for number in range(40)])

        def waits() -> int:
            return sum(each["unreported_tallies"] for each in running.taximeter("status")[1]["partitions"] if not each["uncounted_records"])

        await until_async(lambda: waits() > 0)
        code, plan = running.taximeter("replay", "plan", "--take-out", "--source", "twice", "--out", "less")
        assert (code, plan["totals"]["tokens"]["units"]) == (OK, "-40")
        assert running.taximeter("replay", "apply", "less", "--reason", "sent twice", *ANSWERS)[0] == OK
        running.reporting = running.stack.enter_context(reporter(kafka, tmp_path / "reporter", running.variables))
        await running.billed({("cus_1", "tokens"): 60})
        ((merged, value),) = await identifiers(running)
        assert value == 60, "100 that were counted and 40 that were taken out are one meter event"
        await until_async(lambda: not sum(each["open_meter_events"] for each in running.taximeter("status")[1]["partitions"]))
        with patch("reporter.correcting.CANCEL_WITHIN_MS", cancel_ms):
            code, done = running.taximeter("correct", merged, "--undo", "--reason", "all of it was wrong", *ANSWERS, "--wait", "60")
        assert code == OK, done
        assert (done["kind"], done["outcome"]) == (kind, "accepted")
        await running.billed({})
        while (verified := running.taximeter("verify")[1])["word"] == "PENDING":  # noqa: ASYNC110  # another process sets no event
            await asyncio.sleep(0.1)
        tokens = verified["meters"]["tokens"]
        assert (verified["verdict"], tokens["counted"], tokens["adjusted"], tokens["billed"]) == ("EXACT", 100, -40, 0)
        running.stop()
