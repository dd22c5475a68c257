"""Ended periods against a walk over everything."""

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.ledger import Ledger
from metering.records.ledger_records import Outcome, Settlement
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.ended_periods import PERIODS_LOOK_SECONDS, EndedPeriods
from reporter.planning.planner import PartitionReporter
from tests.support.reporter_planning import NOW_MS, planned, tally

NOW_S = NOW_MS // 1000


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
