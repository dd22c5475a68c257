"""`taximeter replay` with the services as processes: the bill before and after each plan, and the old bill after it was taken back.

The commands are those of docs/replay.md.
"""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.plans.plan_header import header_from
from metering.records.adjustment import PlannedParts, part_digest, partition_digest, plan_digest
from metering.records.tally import Tally, TallyRow, decode_tally, encode_tally
from taximeter.exit_codes import DISCREPANCY, OK, PENDING
from tests.support.replaying import ANSWERS, MORE_METERS, Bill, Pipeline, commands_of, pipeline
from tests.support.usage_topic import make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

CUSTOMERS: Final = ("cus_1", "cus_2", "cus_3")
THE_DAY: Final = ("2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z")
COPIES: Final = 3


async def test_history_is_changed_by_plans_and_each_can_be_taken_back(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, CUSTOMERS) as running:
        running.start()
        await running.send(singles())
        await running.emit([{"customer": customer, "usage": {"m": 1000, "i": 4}} for customer in CUSTOMERS])
        right: Bill = {(customer, "tokens"): 1000 + COPIES * (1 + 5) for customer in CUSTOMERS}
        await running.billed({key: units + COPIES * (1 + 5) for key, units in right.items()})

        plan, _ = running.page("Usage was sent twice under new ids")
        assert (plan["events"]["selected"], plan["events"]["counted_then"]) == (6 * COPIES, 6 * COPIES)
        assert (plan["totals"]["tokens"]["units"], plan["totals"]["tokens"]["events"]) == (str(-18 * COPIES), str(-6 * COPIES))
        await running.billed(right)
        code, again = running.taximeter("replay", "plan", "--take-out", "--source", "retry", "--out", "again")
        assert (code, again["parts"], again["events"]["taken_out_before"]) == (OK, 0, 6 * COPIES)

        _, moved = running.page("Usage was counted for the wrong customer", **dict(zip(THE_DAY, (moment(-90), moment(-30)), strict=True)))
        after = right | {("cus_1", "tokens"): right["cus_1", "tokens"] - COPIES, ("cus_3", "tokens"): right["cus_3", "tokens"] + COPIES}
        await running.billed(after)
        listed, shown, _, _ = running.page("A plan was a mistake", PLAN=moved["plan"][:8])
        assert [each["state"] for each in listed["plans"]] == ["applied", "applied"]
        assert shown["plans"] == listed["plans"][1:]
        explained = running.taximeter("explain", "--customer", "cus_1", "--meter", "tokens")[1]
        assert [int(plan["units"]) for plan in explained["plans"]] == [-6 * COPIES, -COPIES, COPIES]
        assert (explained["agrees"], int(explained["units"])) == (True, right["cus_1", "tokens"])
        await running.billed(right)
        assert running.taximeter("replay", "revert", moved["plan"], "--out", "nothing")[0] == DISCREPANCY

        (running.folder / "taximeter.toml").write_text(MORE_METERS)
        published, plan, _ = running.page("A meter was forgotten, or sums a field more")
        assert (published["published"]["number"], plan["totals"]["images"]["units"]) == (2, str(3 * 4))
        await running.billed(right | {(customer, "images"): 4 for customer in CUSTOMERS})

        settled(running)
        code, verified = running.taximeter("verify")
        assert (code, verified["verdict"]) == (OK, "EXACT")
        kinds = ["take_out", "move", "revert", "count"]
        assert [(each["kind"], each["proof"], each["problems"]) for each in verified["plans"]] == [
            (kind, "opposite" if kind == "revert" else "derived", []) for kind in kinds
        ]
        running.stop()
        await forge(kafka)
        code, verified = running.taximeter("verify")
        assert (code, verified["word"]) == (DISCREPANCY, "NOT EXACT")
        ((problem, *_),) = [each["problems"] for each in verified["plans"] if each["problems"]]
        assert "do not follow from what it is about" in problem


async def test_a_plan_that_is_killed_half_way_and_applied_twice_at_once_is_written_once(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, CUSTOMERS[:1]) as running:
        running.start()
        now, minutes = datetime.now(UTC), 12_000
        await running.emit(
            [{"customer": "cus_1", "usage": {"n": 1}, "dimensions": {"source": "x"}, "time": now - timedelta(minutes=at)} for at in range(minutes)]
        )
        await running.billed({("cus_1", "tokens"): minutes})
        code, plan = running.taximeter("replay", "plan", "--take-out", "--out", "twice")
        assert (code, plan["parts"]) == (OK, 3)
        resume, apply, abandon = commands_of("Planning or applying was interrupted")
        assert running.taximeter(*resume)[1]["plan"] == plan["plan"]
        killed = running.begin(*apply, *ANSWERS, "--rate", "1000")
        while not await adjustments(kafka):
            assert killed.poll() is None
            await asyncio.sleep(0.1)
        killed.kill()
        killed.communicate()
        code, listed = running.taximeter("replay", "list")
        assert (code, listed["plans"][0]["state"]) == (PENDING, "unfinished")
        # What is about the same usage must wait for it.
        assert running.taximeter("replay", "plan", "--take-out", "--out", "other")[0] == DISCREPANCY
        both = [running.begin(*apply, *ANSWERS) for _ in range(2)]
        for each in both:
            out, error = each.communicate(timeout=120)
            assert each.returncode == OK, (out, error)
        await running.billed({})
        settled(running)
        _, listed = running.taximeter("replay", "list")
        assert [(each["state"], each["parts"], each["units"]) for each in listed["plans"]] == [("applied", 3, {"tokens": str(-minutes)})]
        assert running.taximeter(*[plan["plan"] if word == "PLAN" else word for word in abandon], *ANSWERS)[0] != OK
        code, verified = running.taximeter("verify")
        assert (code, verified["verdict"]) == (OK, "EXACT")
        running.stop()


def settled(running: Pipeline) -> None:
    """Wait until nothing waits any more, as the command says that needs no plan."""
    (waiting,) = commands_of("A reporter, or an aggregator, was off for three days")
    while running.taximeter(*waiting)[0] != OK:
        time.sleep(0.1)


async def adjustments(kafka: KafkaSettings) -> int:
    """How many parts of plans are in the log."""
    return sum(decode_tally(value).adjustment is not None for _, value in await read_topic(kafka, kafka.topics.tallies.name))


async def forge(kafka: KafkaSettings) -> None:
    """Append a plan of one part that takes out a unit more than its header's selection has, with every digest as it must be."""
    records: dict[int, list[Tally]] = {}
    for partition, value in await read_topic(kafka, kafka.topics.tallies.name):
        records.setdefault(partition, []).append(decode_tally(value))
    partition, model = next(
        (partition, tally)
        for partition, tallies in records.items()
        for tally in tallies
        if tally.adjustment is not None and tally.adjustment.kind == "take_out"
    )
    assert model.adjustment is not None
    assert model.adjustment.header is not None
    last, offset = records[partition][-1], len(records[partition])
    rows = [TallyRow("cus_1", "tokens", (), model.rows[0].window_start_ms, -1, -1)]
    header = header_from(model.adjustment.header)
    header = replace(
        header,
        selector=replace(header.selector, sources=frozenset({"nobody"})),
        ranges={partition: replace(header.ranges[partition], base=offset)},
        parts={partition: PlannedParts(1, partition_digest([part_digest(rows)]))},
    )
    forged = replace(model.adjustment, offset=offset, plan=plan_digest(header.text), digest=part_digest(rows), parts=1, header=header.text)
    link = replace(last.link, start=last.link.end, previous=offset - 1)
    tally = replace(model, link=link, rows=rows, adjustment=forged, checkpoint=last.checkpoint, catalogue=last.catalogue, losses=last.losses)
    appender = Appender(kafka, "forger")
    await appender.append(kafka.topics.tallies.name, partition, encode_tally(replace(tally, log_time_ms=last.log_time_ms)))
    await appender.close()


def singles() -> list[dict[str, Any]]:
    """Each event once with its own id, and once more under a new one, in turn: an hour ago, and now."""
    found = []
    for number in range(COPIES):
        for customer in CUSTOMERS:
            for units, minutes in ((1, -60), (5, 0)):
                event = {"id": f"{customer}-{number}-{units}", "customer": customer, "time": moment(minutes), "usage": {"n": units}}
                found += [event | {"source": "api"}, event | {"source": "retry", "id": f"again-{event['id']}"}]
    return found


def moment(minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
