"""Usage is taken out while meter events go by the stream, which takes nothing below zero: the services as processes, a real broker, the simulator of
Stripe.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taximeter.exit_codes import OK
from tests.support.replaying import ANSWERS, pipeline
from tests.support.usage_topic import make_topics, settings_for
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker


def event(number: int, source: str, units: int) -> dict[str, Any]:
    return {"id": f"{source}-{number}", "source": source, "customer": "cus_1", "time": datetime.now(UTC).isoformat(), "usage": {"n": units}}


async def test_what_was_taken_out_leaves_the_bill_where_meter_events_go_by_the_stream(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, ["cus_1"]) as running:
        running.changes["TAXIMETER_STRIPE_METER_EVENTS"] = "v2_stream"
        running.start()
        await running.send([event(number, "right", 10) for number in range(6)] + [event(number, "twice", 1) for number in range(40)])
        await running.billed({("cus_1", "tokens"): 100})
        code, plan = running.taximeter("replay", "plan", "--take-out", "--source", "twice", "--out", "less")
        assert (code, plan["totals"]["tokens"]["units"]) == (OK, "-40")
        for _ in range(2):
            assert running.taximeter("replay", "apply", "less", "--reason", "sent twice", *ANSWERS)[0] == OK
        await running.billed({("cus_1", "tokens"): 60})
        reporting = running.reporting
        assert reporting is not None
        metrics = ("taximeter_reporter_quantity_total", "taximeter_reporter_quantity_back_total")
        await until_async(lambda: [reporting.metric(name, meter="tokens") for name in metrics] == [100, 40])
        stats = running.simulator.call("GET", "/_oracle/stats")
        assert sum(stats["drops"].values()) == 0
        assert {"meter_events.create", "v2.meter_event_stream.create"} <= set(stats["calls"])
        while (verified := running.taximeter("verify")[1])["word"] == "PENDING":  # noqa: ASYNC110  # another process sets no event
            await asyncio.sleep(0.1)
        tokens = verified["meters"]["tokens"]
        assert verified["verdict"] == "EXACT"
        assert (tokens["counted"], tokens["adjusted"], tokens["billed"], tokens["back"]["reported"]) == (100, -40, 60, 40)
        running.stop()
