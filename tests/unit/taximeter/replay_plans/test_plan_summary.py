"""What of a plan an invoice will have, by the billing periods of the account."""

import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS

from metering.folds.customer_links import CustomerLinks
from metering.records.notes.customer_link import CustomerLink
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from taximeter.replay_plans.plan_summary import BillingState, PeriodClock, PlanSummary, ended_usage

NOW_MS = 1_780_000_020_000
STARTED_S, ENDED_S, ENDS_S = NOW_MS // 1000 - 40 * 86_400, NOW_MS // 1000 - 1800, NOW_MS // 1000 + 86_400
GRACE_S = 3600


def clock(now_ms: int = NOW_MS) -> PeriodClock:
    """cus_1 has a period that ended half an hour ago, and one that runs."""
    periods = BillingPeriods()
    periods.learn(SubscriptionPeriods("cus_1", (STARTED_S, ENDS_S), frozenset({STARTED_S, ENDED_S, ENDS_S})))
    return PeriodClock(now_ms, periods, GRACE_S)


@pytest.mark.parametrize(
    ("customer", "age_ms", "later_ms", "state"),
    [
        ("cus_1", MINUTE_MS, 0, BillingState.OPEN),
        ("cus_1", HOUR_MS, 0, BillingState.GRACE),
        ("cus_1", HOUR_MS, HOUR_MS, BillingState.FINAL),
        ("cus_1", 35 * DAY_MS, 0, BillingState.TOO_OLD),
        ("cus_1", 35 * DAY_MS - 2 * HOUR_MS, 0, BillingState.GRACE),
        ("cus_2", HOUR_MS, 0, BillingState.UNKNOWN),
    ],
)
def test_a_minute_is_judged_by_its_period_and_its_age(customer: str, age_ms: int, later_ms: int, state: BillingState) -> None:
    assert clock(NOW_MS + later_ms).state_of(customer, NOW_MS - age_ms)[0] is state


def test_what_nobody_will_be_billed_is_apart() -> None:
    summary = PlanSummary(clock(NOW_MS + HOUR_MS))
    for units, age_ms in ((10, MINUTE_MS), (-3, HOUR_MS), (-4, HOUR_MS), (7, 36 * DAY_MS)):
        summary.add(("cus_1", "tokens", (), NOW_MS - age_ms, units, 1))
    assert summary.unbilled_rows == 3
    assert summary.entries() == [("tokens", 10)]
    assert sorted(summary.entries(billed=False)) == [("tokens", -7), ("tokens", 7)]
    assert [(each.customer, each.state, each.end_s, each.units) for each in summary.largest()] == [
        ("cus_1", BillingState.OPEN, ENDS_S, 10),
        ("cus_1", BillingState.FINAL, ENDED_S, -7),
        ("cus_1", BillingState.TOO_OLD, 0, 7),
    ]
    open_ = summary.states[BillingState.OPEN, "tokens"]
    assert (open_.units, open_.closes_s) == (10, ENDS_S + GRACE_S)


@pytest.mark.parametrize("later_ms", [0, HOUR_MS])
@pytest.mark.parametrize("age_ms", [MINUTE_MS, HOUR_MS, 30 * DAY_MS, 36 * DAY_MS, 39 * DAY_MS, 41 * DAY_MS])
def test_what_nobody_would_be_billed_is_brought_forward_and_nothing_else(age_ms: int, later_ms: int) -> None:
    judged = clock(NOW_MS + later_ms)
    assert judged.periods is not None
    into = ended_usage(judged, judged.periods)
    minute_ms = (NOW_MS - age_ms) // MINUTE_MS * MINUTE_MS
    brought = into.minute_of("cus_1", minute_ms)
    is_billed = judged.state_of("cus_1", minute_ms)[0].is_billed
    # What is older than the subscription was nobody's to bill.
    is_covered = minute_ms >= STARTED_S * 1000
    assert brought == (minute_ms if is_billed or not is_covered else into.minute_ms)
    assert judged.state_of("cus_1", into.minute_ms)[0] is BillingState.OPEN
    assert into.minute_of("cus_2", minute_ms) == minute_ms


def test_nothing_is_brought_forward_for_a_customer_whom_nothing_bills_now() -> None:
    periods = BillingPeriods()
    periods.learn(SubscriptionPeriods("cus_1", (STARTED_S, ENDED_S), frozenset({STARTED_S, ENDED_S})))
    assert ended_usage(PeriodClock(NOW_MS + HOUR_MS, periods, GRACE_S), periods).ended == {}


def test_the_periods_of_a_stripe_customer_are_those_of_all_that_it_is_billed_for() -> None:
    links = CustomerLinks()
    for offset, customer in enumerate(("org_a", "org_b")):
        links.fold(offset, CustomerLink(customer, "cus_1", "", "", 0))
    periods = BillingPeriods(links=links)
    periods.learn(SubscriptionPeriods("cus_1", (STARTED_S, ENDS_S), frozenset({STARTED_S, ENDED_S, ENDS_S})))
    judged = PeriodClock(NOW_MS + HOUR_MS, periods, GRACE_S)
    assert judged.state_of("org_a", NOW_MS - HOUR_MS)[0] is BillingState.FINAL
    assert judged.state_of("org_c", NOW_MS - HOUR_MS)[0] is BillingState.UNKNOWN
    assert set(ended_usage(judged, periods).ended) == {"cus_1", "org_a", "org_b"}
