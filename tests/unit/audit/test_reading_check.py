"""What verification makes of latest values: what is forged or left out is named, and what a later one replaced is not missed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from audit.recount.written_links import WrittenLinks
from audit.verification.intent_check import IntentCheck
from audit.verification.report import Report, latest_name
from audit.verification.span import Inside
from audit.verification.verdict import verdict_of
from metering.records.chain import ChainLink
from metering.records.ledger_records import Intent, MeterEvent, Outcome, ReadingTime, Receipt, Settlement
from metering.records.tally import EventCounts, LatestValue, RecordCounts, Tally


def value(at_s: int, quantity: int, since_s: int = 0) -> MeterEvent:
    return MeterEvent("cus_1", "stored", (), at_s * 1000, quantity, reading=ReadingTime(at_s * 1000 + 4, since_s))


def report_of(counted: Sequence[Sequence[MeterEvent]], told: Sequence[Mapping[str, Sequence[MeterEvent]]], *outcomes: Outcome) -> Report:
    """A tally with each of these, and an intent for each. The outcomes are those of the meter events, in order."""
    report, left = Report(), list(outcomes)
    check = IntentCheck(0, report, Inside(0, 100), WrittenLinks())
    entries: list[Intent | Receipt] = []
    for number, lists in enumerate(told):
        link = ChainLink(number, number + 1, 2 * number - 2 if number else -1)
        intent = Intent(
            "c", 0, link, -1, "i", number, number, lists.get("told", ()), carried=lists.get("carried", ()), superseded=lists.get("over", ())
        )
        settlements = [Settlement(2 * number, index, left.pop(0), 1) for index in range(len(intent.meter_events)) if left]
        entries += [intent, Receipt("c", 0, 0, -1, "i", settlements)]
    for offset, entry in enumerate(entries):
        check.foresee(offset, entry)
    for number, values in enumerate(counted):
        latest = [LatestValue(each.customer, each.meter, each.reading.happened_ms, each.value, 1) for each in values if each.reading]
        tally = Tally(
            "c", 0, ChainLink(number, number + 1, number - 1), -1, "a", "k", 0, RecordCounts(singles=1), EventCounts(counted=1), (), latest=latest
        )
        check.add(tally)
        report.meter(latest_name("stored")).counted += len(latest)
        for offset, entry in enumerate(entries[2 * number : 2 * number + 2], start=2 * number):
            check.fold(offset, offset, entry)
    check.finish()
    return report


TAKEN = Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("counted", "told", "outcomes", "verdict"),
    [
        ([[value(5, 9)]], [{"told": [value(5, 9)]}], [TAKEN], "EXACT"),
        ([[value(5, 9), value(7, 0)]], [{"told": [value(7, 0)]}], [TAKEN], "EXACT"),
        ([[value(5, 9)], [value(3, 8)]], [{"told": [value(5, 9)]}, {"over": [value(3, 8)]}], [TAKEN], "EXACT"),
        ([[value(5, 9)], [value(7, 8)]], [{"told": [value(5, 9)]}, {"told": [value(7, 8)]}], [Outcome.REJECTED, TAKEN], "EXACT"),
        ([[value(5, 9)], [value(3, 8)]], [{"told": [value(5, 9)]}, {"told": [replace(value(3, 8), linked="-")]}], [TAKEN, Outcome.REJECTED], "EXACT"),
        ([[value(5, 9)]], [{"carried": [value(5, 9)]}], [], "PENDING: 1 units of stored (latest values) held"),
        ([[value(5, 9)]], [], [], "PENDING: 1 units of stored (latest values) to report"),
        ([[value(5, 9)]], [{"told": [value(5, 9)]}], [Outcome.PARKED], "NOT EXACT: 1 units of stored (latest values) that Stripe does not have"),
    ],
)
def test_each_value_is_told_or_a_later_one_is(
    counted: list[list[MeterEvent]], told: Sequence[Mapping[str, Sequence[MeterEvent]]], outcomes: list[Outcome], verdict: str
) -> None:
    report = report_of(counted, told, *outcomes)
    assert (verdict_of(report).text, list(report.problems.shown)) == (verdict, [])


@pytest.mark.parametrize(
    ("counted", "told", "problem"),
    [
        ([[value(5, 9)]], [{"told": [value(5, 10)]}], "tells the value 10 of stored for cus_1, which no tally holds of that time"),
        ([[value(5, 9)]], [{"told": [value(5, 9), value(5, 9)]}], "tells a value of stored for cus_1 twice"),
        ([[value(5, 9), value(7, 8)]], [{"told": [value(5, 9)]}], "leaves out the value 8 of stored for cus_1"),
        ([[value(5, 9), value(7, 8, 6)]], [{"told": [value(7, 8, 6)]}], "leaves out the value 9 of stored for cus_1"),
        ([[value(5, 9)]], [{"over": [value(5, 9)]}], "the value 9 of stored for cus_1, and no later one was told before"),
        (
            [[value(5, 9)], [value(3, 8)]],
            [{"told": [value(5, 9)]}, {"told": [value(3, 8)]}],
            "value 8 of stored for cus_1 behind a later one",
        ),
    ],
)
def test_what_is_forged_or_left_out_is_named(
    counted: list[list[MeterEvent]], told: Sequence[Mapping[str, Sequence[MeterEvent]]], problem: str
) -> None:
    report = report_of(counted, told, *3 * [TAKEN])
    assert any(problem in each for each in report.problems.shown), report.problems.shown
