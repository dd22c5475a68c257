"""Usage of a period that is over: it is seen, and does not wait long to be planned."""

from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.ledger import Ledger
from metering.records.ledger_records import Outcome, Settlement
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.ended_periods import PERIODS_LOOK_SECONDS, REPORT_SECONDS_MAX, EndedPeriods
from reporter.planning.planner import PartitionReporter
from tests.support.reporter_planning import NOW_MS, planned, tally

NOW_S = NOW_MS // 1000


def subject() -> tuple[PartitionReporter, EndedPeriods]:
    """One customer with usage two minutes ago and now, whose period ended a minute ago."""
    periods = BillingPeriods()
    span = (NOW_S - 86_400, NOW_S - 60)
    periods.learn(SubscriptionPeriods("cus", span, frozenset(span)))
    reporter = PartitionReporter(0, "r", Ledger(), rows_max=100, periods=periods)
    reporter.begin()
    reporter.add(0, tally(0, -1, 5, age_ms=2 * MINUTE_MS))
    reporter.add(1, tally(1, 0, 7))
    return reporter, EndedPeriods(periods)


def test_it_is_seen_in_the_unplanned_usage_and_among_what_is_open_until_it_is_settled() -> None:
    reporter, ended = subject()
    ended.look(reporter, NOW_S, 0.0)
    assert (ended.oldest_s, ended.report_seconds(3_600.0), ended.report_seconds(5.0)) == (NOW_S - 60, REPORT_SECONDS_MAX, 5.0)
    reporter.observe(0, NOW_MS, planned(reporter), mine=True)
    ended.look(reporter, NOW_S, PERIODS_LOOK_SECONDS)
    assert (ended.oldest_s, ended.report_seconds(3_600.0)) == (NOW_S - 60, 3_600.0), "planned, and Stripe has it not"
    reporter.observe(1, NOW_MS, reporter.receipt([Settlement(0, 0, Outcome.ACCEPTED, NOW_MS)]), mine=True)
    ended.look(reporter, NOW_S, 2 * PERIODS_LOOK_SECONDS)
    assert ended.oldest_s is None, "what is still open is of the period after it"


def test_a_period_that_goes_on_hurries_nothing() -> None:
    reporter, ended = subject()
    ended.look(reporter, NOW_S - 61, 0.0)
    assert (ended.oldest_s, ended.report_seconds(3_600.0)) == (None, 3_600.0)


def test_it_looks_no_more_often_than_it_may() -> None:
    reporter, ended = subject()
    ended.look(reporter, NOW_S - 61, 0.0)
    ended.look(reporter, NOW_S, PERIODS_LOOK_SECONDS - 0.1)
    assert ended.oldest_s is None
    ended.look(reporter, NOW_S, PERIODS_LOOK_SECONDS)
    assert ended.oldest_s == NOW_S - 60


def test_a_period_that_becomes_known_is_seen_in_what_waits_and_in_what_is_open() -> None:
    periods = BillingPeriods()
    reporter = PartitionReporter(0, "r", Ledger(), rows_max=100, periods=periods)
    reporter.begin()
    reporter.add(0, tally(0, -1, 5, age_ms=2 * MINUTE_MS))
    reporter.observe(0, NOW_MS, planned(reporter), mine=True)
    reporter.add(1, tally(1, 0, 7, age_ms=2 * MINUTE_MS))
    ended = EndedPeriods(periods)
    span = (NOW_S - 86_400, NOW_S - 60)

    def look(seconds: float) -> tuple[int | None, float]:
        ended.look(reporter, NOW_S, seconds)
        return ended.oldest_s, ended.report_seconds(3_600.0)

    assert look(0.0) == (None, 3_600.0)
    periods.learn(SubscriptionPeriods("cus", span, frozenset(span)))
    assert look(PERIODS_LOOK_SECONDS) == (NOW_S - 60, REPORT_SECONDS_MAX)
    reporter.observe(1, NOW_MS, planned(reporter), mine=True)
    assert look(2 * PERIODS_LOOK_SECONDS) == (NOW_S - 60, 3_600.0), "all of it is planned"
