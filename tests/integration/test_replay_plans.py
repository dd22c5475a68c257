"""Plans that are stale, interrupted, abandoned and taken back, on a broker, without the services."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.adjustments.plan_book import PlanBook
from metering.folds.plan_progress import NotAdjusted, Part, PlanInPartition, PlanProgress
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.records.tally import TallyRow, decode_tally
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, PENDING, USAGE
from taximeter.replay_commands.plans import read_plans
from taximeter.replay_plans import planning
from taximeter.replay_plans.applying import Applying, ApplyOptions
from taximeter.replay_plans.plan_directory import PlanDirectory
from taximeter.replay_plans.planning import DerivationTask, completed, derive_partition
from tests.support.aggregator_records import Event, Numbered, Single
from tests.support.counted_partition import CountedPartition
from tests.support.usage_topic import PARTITIONS, make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

ONE, TWO, *_ = (customer for customer in (f"cus_{number}" for number in range(99)) if partition_of(customer, PARTITIONS) == 0)
YES: Final = ("--reason", "a mistake", "--by", "ann", "--yes", "--no-brake")
AT_ONCE: Final = ApplyOptions(
    reason="r",
    by="ben",
    events_per_second=None,
    rows_per_second=None,
    on_wait=lambda _why: None,
    on_part=lambda _count: None,
    check=lambda _partition, _number: None,
)
ABANDON: Final = YES[:-1]


@pytest.fixture
async def counted(broker: str, tmp_path: Path) -> CountedPartition:
    kafka = settings_for(broker)
    await make_topics(kafka)
    made = CountedPartition(kafka, tmp_path)
    now = int(time.time() * 1000)
    await made.count(*(Single(Event(f"{customer}-{at}", customer, (("input", 7),), "m", now), "own") for customer in (ONE, TWO) for at in range(3)))
    for number, customer in enumerate((ONE, TWO)):
        events = [Event(None, customer, (("output", 1),), "m", now - at * MINUTE_MS) for at in range(4_000)]
        await made.count(Numbered("emitter", number * 4_000, tuple(events)))
    return made


async def test_a_plan_is_stale_when_another_of_the_same_usage_came_first(counted: CountedPartition) -> None:
    by_source = planned(counted, "by-source", "--take-out", "--source", "s")
    by_customer = planned(counted, "by-customer", "--take-out", "--customer", TWO)
    of_emitter = planned(counted, "of-emitter", "--take-out", "--source", "emitter", "--customer", ONE)
    assert [plan["totals"]["tokens"]["units"] for plan in (by_source, by_customer, of_emitter)] == ["-42", "-4021", "-4000"]
    before = await read_plans(counted.kafka)
    assert counted.taximeter("replay", "apply", str(counted.folder / "by-source"), *YES)[0] == OK
    # One who looked before it was applied, and writes after it, finds it in the log.
    directory = PlanDirectory(counted.folder / "by-customer")
    with pytest.raises(NotAdjusted, match="stale: plan"):
        await Applying(counted.kafka, directory, before, clock=SystemClock(), options=AT_ONCE).run(directory.parts(directory.header(), None), None)
    code, why = counted.taximeter("replay", "apply", str(counted.folder / "by-customer"), *YES)
    assert (code, "stale: plan" in why) == (DISCREPANCY, True)
    # Live events, and plans about other usage, make nothing stale.
    await counted.count(Single(Event("later", ONE, (("input", 1),), "m", int(time.time() * 1000)), "own"))
    assert counted.taximeter("replay", "apply", str(counted.folder / "of-emitter"), *YES)[0] == OK
    again = planned(counted, "again", "--take-out", "--customer", TWO)
    assert again["totals"]["tokens"]["units"] == "-4000"


async def test_a_half_plan_is_in_the_way_until_it_is_abandoned_and_taken_back(counted: CountedPartition) -> None:
    plan = planned(counted, "plan", "--take-out")
    assert plan["parts"] == 2
    await write_first_part(counted, "plan")
    name = plan["plan"]
    assert states(counted) == (PENDING, [("unfinished", 1)])
    assert counted.taximeter("replay", "plan", "--take-out", "--out", str(counted.folder / "other"))[0] == DISCREPANCY
    assert counted.taximeter("replay", "revert", name, "--out", str(counted.folder / "early"))[0] == DISCREPANCY
    code, done = counted.taximeter("replay", "abandon", name[:6], *ABANDON)
    assert (code, done["parts"], done["planned"]) == (OK, 1, 2)
    assert counted.taximeter("replay", "abandon", name, *ABANDON)[0] == FAILED
    code, why = counted.taximeter("replay", "apply", str(counted.folder / "plan"), *YES)
    assert (code, "was abandoned" in why) == (DISCREPANCY, True)
    assert counted.taximeter("replay", "plan", "--take-out", "--out", str(counted.folder / "other"))[0] == DISCREPANCY

    code, back = counted.taximeter("replay", "revert", name, "--out", str(counted.folder / "back"))
    assert (code, back["kind"], back["parts"]) == (OK, "revert", 1)
    assert counted.taximeter("replay", "apply", str(counted.folder / "back"), *YES)[0] == OK
    assert states(counted) == (OK, [("reverted", 1), ("applied", 1)])
    assert await adjusted(counted.kafka) == 0
    assert planned(counted, "whole", "--take-out")["totals"] == plan["totals"]
    assert counted.taximeter("replay", "revert", back["plan"], "--out", str(counted.folder / "no"))[0] == DISCREPANCY
    code, verified = counted.taximeter("verify")
    assert [(each["state"], each["proof"], each["problems"]) for each in verified["plans"]] == [
        ("reverted", "derived", []),
        ("applied", "opposite", []),
    ]


async def test_a_plan_stops_between_two_parts_and_goes_on(counted: CountedPartition) -> None:
    planned(counted, "plan", "--take-out")
    directory, book = PlanDirectory(counted.folder / "plan"), await read_plans(counted.kafka)
    asked: list[int] = []

    def check(_partition: int, number: int) -> None:
        asked.append(number)
        if number == 1:
            raise NotAdjusted("an invoice closes")

    stopping = replace(AT_ONCE, check=check)
    with pytest.raises(NotAdjusted, match="an invoice closes"):
        await Applying(counted.kafka, directory, book, clock=SystemClock(), options=stopping).run(directory.parts(directory.header(), None), None)
    assert (asked, states(counted)) == ([0, 1], (PENDING, [("unfinished", 1)]))
    assert counted.taximeter("replay", "apply", str(directory.path), *YES)[0] == OK
    assert states(counted) == (OK, [("applied", 2)])


async def test_a_range_of_time_proves_the_plans_that_were_written_in_it(counted: CountedPartition) -> None:
    planned(counted, "first", "--take-out", "--customer", ONE)
    assert counted.taximeter("replay", "apply", str(counted.folder / "first"), *YES)[0] == OK
    between = datetime.now(UTC).isoformat()
    second = planned(counted, "second", "--take-out")
    assert counted.taximeter("replay", "apply", str(counted.folder / "second"), *YES)[0] == OK
    _, verified = counted.taximeter("verify", "--from", between)
    assert [(each["plan"], each["proof"], each["problems"]) for each in verified["plans"]] == [(second["plan"], "derived", [])]
    assert verified["problems"]["count"] == 0
    _, verified = counted.taximeter("verify", "--to", between)
    assert len(verified["plans"]) == 1
    assert verified["plans"][0]["plan"] != second["plan"]


async def test_the_trace_of_an_event_has_what_plans_changed_of_it(counted: CountedPartition) -> None:
    planned(counted, "plan", "--take-out", "--customer", ONE, "--source", "s")
    assert counted.taximeter("replay", "apply", str(counted.folder / "plan"), *YES)[0] == OK
    (plan,) = counted.taximeter("replay", "list")[1]["plans"]
    assert counted.taximeter("replay", "revert", plan["plan"], "--out", str(counted.folder / "back"))[0] == OK
    assert counted.taximeter("replay", "apply", str(counted.folder / "back"), *YES)[0] == OK
    code, traced = counted.taximeter("trace", f"{ONE}-1", "--source", "s", "--customer", ONE)
    found = [(each["kind"], each["units"], len(each["tallies"]), each["reason"]) for event in traced["events"] for each in event["plans"]]
    assert (code, found) == (OK, [("take_out", {"tokens": -7}, 1, "a mistake"), ("revert", {"tokens": 7}, 1, "a mistake")])
    code, traced = counted.taximeter("trace", f"{TWO}-1", "--source", "s", "--customer", TWO)
    assert (code, [each for event in traced["events"] for each in event["plans"]]) == (OK, [])


async def test_planning_goes_on_where_it_was_interrupted(counted: CountedPartition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "STATE_SECONDS", 0.0)
    planned(counted, "whole", "--take-out")
    whole, broken = PlanDirectory(counted.folder / "whole"), PlanDirectory(counted.folder / "broken")
    broken.begin(whole.draft())
    ends = []
    for _ in range(3):
        with pytest.raises(InterruptedError):
            await derive_partition(DerivationTask(counted.kafka, broken.path, 0, (), 0.0), Interruption().after_one)
        state = broken.state(0)
        assert state is not None
        ends.append(state.end)
        # What was written behind the last state is cut off.
        with broken.parts_file(0).open("ab") as file:
            file.write(b'{"moved": false, "digest": "half')
    assert ends == [6, 7, 8]
    code, resumed = counted.taximeter("replay", "plan", "--resume", str(broken.path))
    assert (code, resumed["plan"]) == (OK, completed(whole, counted.kafka, lambda _partition, _rows: None).plan)
    assert resumed["events"]["counted_then"] == 8_006


async def test_partitions_are_derived_on_several_machines(counted: CountedPartition) -> None:
    whole = planned(counted, "whole", "--take-out")
    here, there = counted.folder / "here", counted.folder / "there"
    PlanDirectory(here).begin(PlanDirectory(counted.folder / "whole").draft())
    there.mkdir()
    (there / "draft.json").write_bytes((here / "draft.json").read_bytes())
    assert counted.taximeter("replay", "plan", "--resume", str(here), "--derive", "1-3")[0] == PENDING
    assert counted.taximeter("replay", "apply", str(here), *YES)[0] == FAILED
    # The other machine has all partitions that have usage, so it has a plan, too.
    assert counted.taximeter("replay", "plan", "--resume", str(there), "--derive", "0")[1]["plan"] == whole["plan"]
    for file in there.glob("partition-*"):
        (here / file.name).write_bytes(file.read_bytes())
    code, plan = counted.taximeter("replay", "plan", "--resume", str(here), "--derive", "1")
    assert (code, plan["plan"], plan["parts"]) == (OK, whole["plan"], whole["parts"])
    assert counted.taximeter("replay", "apply", str(here), *YES)[0] == OK


async def test_what_can_no_longer_be_billed_is_said_and_is_no_success(counted: CountedPartition) -> None:
    old = Event(None, ONE, (("input", 5),), "m", int(time.time() * 1000) - 35 * DAY_MS + 30 * MINUTE_MS)
    await counted.count(Numbered("late", 0, (old,)))
    code, plan = counted.taximeter("replay", "plan", "--take-out", "--source", "late", "--out", str(counted.folder / "plan"))
    (period,) = plan["periods"]
    assert (code, plan["unbilled_rows"], period["state"], period["billed"], period["units"]) == (DISCREPANCY, 1, "older than 35 days", False, "-5")
    code, waiting = counted.taximeter("replay", "plan")
    assert (code, waiting["uncovered_rows"] > 0) == (PENDING, True)


async def test_given_amounts_rest_on_their_evidence(counted: CountedPartition) -> None:
    file, moment = counted.folder / "rows", "2026-11-22T10:00:30Z"
    row = {"customer": ONE, "meter": "tokens", "time": moment, "quantity": -40, "dimensions": {"model": "m"}}
    file.write_bytes(b"\n".join(map(orjson.dumps, (row, row, {**row, "customer": TWO, "quantity": 5}))))
    given = ("--rows", str(file), "--out", str(counted.folder / "given"))
    assert counted.taximeter("replay", "plan", *given)[0] == USAGE
    _, plan = counted.taximeter("replay", "plan", *given, "--evidence", "ticket 7: promised by sales")
    assert (plan["kind"], plan["totals"]["tokens"]["units"], plan["totals"]["tokens"]["rows"]) == ("resolve", "-75", 2)
    assert counted.taximeter("replay", "apply", str(counted.folder / "given"), *YES)[0] == OK
    _, verified = counted.taximeter("verify")
    assert ([each["proof"] for each in verified["plans"]], verified["problems"]["count"]) == (["evidence"], 0)
    (term,) = [each for each in verified["terms"]["exact_but"] if each["name"] == "plan_on_evidence"]
    assert (term["count"], "ticket 7" in term["text"]) == (2, True)
    file.write_bytes(orjson.dumps({**row, "quantity": 1.5}))
    assert counted.taximeter("replay", "plan", "--rows", str(file), "--out", str(counted.folder / "no"), "--evidence", "x")[0] == FAILED


class Interruption:
    """Interrupts a derivation at its second tally."""

    def __init__(self) -> None:
        self.tallies = 0

    def after_one(self, _records: int) -> None:
        self.tallies += 1
        if self.tallies > 1:
            raise InterruptedError


class Held(Exception):
    """The brake ends the writing."""


async def write_first_part(counted: CountedPartition, name: str) -> None:
    directory = PlanDirectory(counted.folder / name)
    header, stored = directory.header(), directory.parts(directory.header(), None)[0]
    plan = PlanInPartition(0, header.text, header.rule.kind, [part.digest for part in stored], "a mistake", "ann")

    async def after_one(progress: PlanProgress) -> None:
        if progress.accepted:
            raise Held

    reader, appender = LogReader(counted.kafka, "first"), Appender(counted.kafka, "first")
    try:
        writer = AdjustmentWriter(reader, appender, counted.kafka.topics.tallies.name, instance="first", clock=SystemClock())
        with pytest.raises(Held):
            await writer.apply(plan, header.ranges[0].base, lambda at: Part([TallyRow(*row) for row in directory.rows(stored[at])]), after_one)
    finally:
        await reader.close()
        await appender.close()


def planned(counted: CountedPartition, name: str, *arguments: str) -> Any:
    code, plan = counted.taximeter("replay", "plan", *arguments, "--out", str(counted.folder / name))
    assert code == OK, plan
    return plan


def states(counted: CountedPartition) -> tuple[int, list[tuple[str, int]]]:
    code, listed = counted.taximeter("replay", "list")
    return code, [(each["state"], each["parts"]) for each in listed["plans"]]


async def adjusted(kafka: KafkaSettings) -> int:
    """What all plans together come to, in units."""
    book = PlanBook()
    for offset, (_, value) in enumerate(await read_topic(kafka, kafka.topics.tallies.name)):
        book.take(offset, decode_tally(value))
    return sum(plan.units.total() for plan in book.plans.values())
