"""Usage of a period that is over: it is seen, and does not wait long to be planned."""

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.ledger import Ledger
from metering.records.ledger_records import Outcome, Settlement
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.ended_periods import PERIODS_LOOK_SECONDS, REPORT_SECONDS_MAX, EndedPeriods
from reporter.planning.planner import PartitionReporter
from tests.unit.reporter.test_reporting import NOW_MS, planned, tally

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


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["add", "plan", "settle", "learn", "wait"]), st.integers(0, 40), st.integers(0, 40)), max_size=25))
def test_what_it_says_is_what_a_walk_over_everything_finds(steps: list[tuple[str, int, int]]) -> None:
    periods = BillingPeriods()
    reporter = PartitionReporter(0, "r", Ledger(), rows_max=100, periods=periods)
    reporter.begin()
    ended = EndedPeriods(periods)
    now_s, entries, head = NOW_S, 0, -1
    for number, (step, one, other) in enumerate(steps):
        match step:
            case "add":
                position = reporter.tally_position
                reporter.add(position, tally(position, head, 1, age_ms=one * MINUTE_MS))
                head = position
            case "plan" if len(reporter.unplanned):
                reporter.observe(entries, NOW_MS, planned(reporter), mine=True)
                entries += 1
            case "settle" if reporter.ledger.open:
                offset = list(reporter.ledger.open)[one % len(reporter.ledger.open)]
                index = sorted(reporter.ledger.open[offset].open)[other % len(reporter.ledger.open[offset].open)]
                reporter.observe(entries, NOW_MS, reporter.receipt([Settlement(offset, index, Outcome.ACCEPTED, NOW_MS)]), mine=True)
                entries += 1
            case "learn":
                span = (NOW_S - 60 * one, NOW_S - 60 * one + 60 * (1 + other))
                periods.learn(SubscriptionPeriods("cus", span, frozenset(span)))
            case "wait":
                now_s += 60 * one
        ended.look(reporter, now_s, PERIODS_LOOK_SECONDS * number)
        ends = [periods.end_s(customer, time_ms) for customer, time_ms in (*reporter.unplanned.usage(), *reporter.open_usage())]
        assert ended.oldest_s == min((end for end in ends if end is not None and end <= now_s), default=None)
