"""Positions: usage of held meters, open transactions, and nothing below zero."""

from dataclasses import replace

import pytest

from audit.positions import CarriedUsage, PartitionPosition, all_settled, carried_usage
from taximeter.commands.status import _show


def position(partition: int, **carried: CarriedUsage) -> PartitionPosition:
    return PartitionPosition(
        partition=partition,
        events_end=5,
        readable_end=5,
        uncounted=0,
        counted_to=5,
        tallies_end=2,
        reported_to=2,
        unreported=0,
        uncovered_rows=0,
        open_meter_events=0,
        unknown_meter_events=0,
        open_corrections=0,
        carried=carried,
    )


def test_usage_that_waits_for_a_held_meter_is_added_up_and_is_not_settled() -> None:
    found = [position(0, tokens=CarriedUsage(7, 2_000)), position(1, tokens=CarriedUsage(5, 1_000), images=CarriedUsage(1, 3_000)), position(2)]
    assert carried_usage(found) == {"tokens": CarriedUsage(12, 1_000), "images": CarriedUsage(1, 3_000)}
    assert not all_settled(found)
    assert all_settled(found[2:])
    assert found[0].as_json()["carried"]["tokens"] == {"units": 7, "oldest_ms": 2_000, "latest_values": 0, "newest_ms": 0, "newest_value": 0}


def test_status_says_what_waits_since_when_and_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    _show([position(0, tokens=CarriedUsage(1_234_567, 1_790_000_000_000))], 24.0, {})
    shown = " ".join(capsys.readouterr().out.split())
    assert "meter tokens: 1,234,567 units since 2026-09-21 14:13:20 UTC wait because Stripe refuses the meter" in shown
    assert "taximeter stripe setup --yes mends it" in shown


def test_what_an_open_transaction_holds_back_is_counted_as_waiting_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = replace(position(3), events_end=9)
    assert (found.uncounted, found.held_back, found.is_settled) == (0, 4, False)
    _show([found], 24.0, {})
    shown = " ".join(capsys.readouterr().out.split())
    assert "partition 3: an open transaction of another producer at offset 5 holds back 4 records" in shown


def test_latest_values_are_no_units_and_the_newest_is_told() -> None:
    units = CarriedUsage(7, 2_000)
    first, second = (CarriedUsage(0, ms, latest_values=1, newest_ms=ms, newest_value=value) for ms, value in ((5_000, 900), (3_000, 1_200)))
    assert units.amount == "7 units"
    assert first.plus(second) == second.plus(first) == CarriedUsage(0, 3_000, 2, 5_000, 900)
    assert first.plus(second).amount == "2 latest values (newest 900 of 1970-01-01 00:00 UTC)"
    assert units.plus(second).amount == "7 units and 1 latest value (newest 1,200 of 1970-01-01 00:00 UTC)"
