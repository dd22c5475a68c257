"""Tallies that a planner reads, and the intent that it makes of them."""

from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow
from reporter.planning.planner import PartitionReporter

NOW_MS = 1_780_000_000_000 // HOUR_MS * HOUR_MS


def tally(start: int, previous: int, *quantities: int, age_ms: int = 0, chain_id: str = "c") -> Tally:
    rows = [TallyRow("cus", "tokens", (), NOW_MS - age_ms - number * MINUTE_MS, quantity, 1) for number, quantity in enumerate(quantities)]
    return Tally(
        chain_id, 0, ChainLink(start, start + 1, previous), NO_OFFSET, "a", "k", NOW_MS, RecordCounts(singles=1), EventCounts(counted=1), rows
    )


def planned(subject: PartitionReporter, rows: int = 100, hourly_max: int = 100) -> Intent:
    intent = subject.plan(NOW_MS, rows, hourly_max)
    assert intent is not None
    return intent
