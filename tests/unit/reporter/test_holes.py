"""How far a reporter has nothing to do: over tallies without usage, and over offsets that are proved to hold no tally."""

from types import SimpleNamespace
from typing import Any

from metering.folds.ledger import Ledger
from metering.records.chain import NO_OFFSET
from metering.records.tally import TallyRow
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter
from reporter.worker import ReportingWorker
from tests.support.metering_tallies import a_tally

ROW = TallyRow("cus_1", "tokens", (), 0, 5, 1)


def a_reporter() -> PartitionReporter:
    reporter = PartitionReporter(0, "writer", Ledger(), 1_000, BillingPeriods())
    reporter.begin()
    return reporter


def settled_to(reporter: PartitionReporter | None) -> int | None:
    worker: Any = SimpleNamespace(reporter=reporter)
    settled: Any = ReportingWorker.settled_to
    found: int | None = settled.fget(worker)
    return found


def test_a_tally_behind_a_marker_is_added_where_it_stands() -> None:
    reporter = a_reporter()
    reporter.pass_over(2)
    assert reporter.tally_position == 2
    reporter.add(2, a_tally(rows=()))
    assert (reporter.tally_position, reporter.tallies.chain.head) == (3, 2)


def test_tallies_without_usage_are_no_waiting_work() -> None:
    reporter = a_reporter()
    assert settled_to(None) is None
    reporter.add(0, a_tally(rows=()))
    assert settled_to(reporter) == 1
    busy = a_reporter()
    busy.add(0, a_tally(rows=(ROW,)))
    assert settled_to(busy) == NO_OFFSET
