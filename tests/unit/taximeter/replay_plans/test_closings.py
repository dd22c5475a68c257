"""Whether a plan is through before the invoices close that its usage is on."""

import pytest

from metering.records.adjustment import AdjustedRow
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from taximeter.replay_plans.closings import CLOSING_MARGIN_S, Closings
from taximeter.replay_plans.plan_summary import PeriodClock

NOW_S, GRACE_S = 1_780_000_000, 3600
STARTED_S, ENDED_S, SOON_S, LATER_S = NOW_S - 40 * 86_400, NOW_S - 3000, NOW_S + 1_000, NOW_S + 86_400


def closings(seconds_per_row: float = 1.0) -> Closings:
    """ "grace" closes in 10 minutes, "soon" in 4,600 s, "later" in a day and an hour; of "nobody" nothing is known."""
    periods = BillingPeriods()
    for customer, ends in (("grace", (ENDED_S, LATER_S)), ("soon", (SOON_S,)), ("later", (LATER_S,))):
        periods.learn(SubscriptionPeriods(customer, (STARTED_S, ends[-1]), frozenset({STARTED_S, *ends})))
    return Closings(PeriodClock(NOW_S * 1000, periods, GRACE_S), seconds_per_row)


def rows(customer: str, count: int = 1, age_s: int = 60) -> list[AdjustedRow]:
    return [(customer, "tokens", (), (NOW_S - age_s) * 1000, 1, 1)] * count


def test_a_part_closes_with_the_first_invoice_that_has_some_of_it() -> None:
    found = closings()
    found.add_part(0, rows("later") + rows("soon") + rows("nobody"))
    found.add_part(0, rows("nobody"))
    found.add_part(0, rows("grace", age_s=4_000) + rows("soon"))
    # What is final, or older than Stripe takes, closes no more.
    found.add_part(0, rows("soon", age_s=36 * 86_400) + rows("later"))
    assert [(part.closes_s, part.customer) for part in found.parts[0]] == [
        (SOON_S + GRACE_S, "soon"),
        (0, ""),
        (ENDED_S + GRACE_S, "grace"),
        (LATER_S + GRACE_S, "later"),
    ]


@pytest.mark.parametrize(("before", "is_late"), [(0, False), (2_700, False), (2_701, True)])
def test_a_plan_is_late_when_one_of_its_parts_would_be(before: int, is_late: bool) -> None:
    found = closings()
    found.add_part(0, rows("later", before))
    found.add_part(0, rows("soon", 100))  # Of 4,600 s, 1,800 s must be left.
    outlook = found.outlook({}, None, 8, NOW_S)
    assert (outlook.late is not None, outlook.first_s) == (is_late, SOON_S + GRACE_S)
    assert outlook.rows == outlook.seconds == before + 100
    # What is in the log already takes no time.
    assert found.outlook({0: 1}, None, 8, NOW_S).late is None


def test_partitions_share_the_time_and_the_receivers_comes_last() -> None:
    found = closings(10.0)
    for partition in (0, 1, 2, 3):
        found.add_part(partition, rows("later", 10))
    assert found.outlook({}, None, 8, NOW_S).seconds == 100
    assert found.outlook({}, None, 2, NOW_S).seconds == 200
    assert found.outlook({}, 3, 8, NOW_S).seconds == 200
    assert found.outlook({}, 3, 1, NOW_S).seconds == 400


def test_a_part_is_not_written_any_more_when_its_invoice_closes_soon() -> None:
    found = closings()
    found.add_part(3, rows("soon", 10))
    last_s = SOON_S + GRACE_S - CLOSING_MARGIN_S - 10
    assert found.is_late(3, 0, last_s) is None
    assert found.is_late(3, 0, last_s + 1) == found.parts[3][0]
    found.add_part(3, rows("nobody"))
    assert found.is_late(3, 1, last_s + 10**6) is None
