from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.selling.usage import SECONDS_OF, By, MeterAtStripe, Usage, UsageRow, aligned
from metering.stripe.sums import quantity

METER = MeterAtStripe("mtr_1", "tokens", active=True, formula="sum")


@given(start=st.integers(0, 4_000_000_000), length=st.integers(1, 10_000_000), by=st.sampled_from(list(SECONDS_OF)))
def test_a_range_is_widened_to_full_groups_and_no_further(start: int, length: int, by: By) -> None:
    first, last = aligned(start, start + length, by)

    assert first % SECONDS_OF[by] == last % SECONDS_OF[by] == 0
    assert start - SECONDS_OF[by] < first <= start
    assert start + length <= last < start + length + SECONDS_OF[by]


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_below_2_to_the_53_is_exact(value: int) -> None:
    assert quantity(float(value)) == (value, True)


def test_a_number_from_2_to_the_53_on_is_shown_and_not_called_exact() -> None:
    assert quantity(float(2**53)) == (2**53, False)
    assert quantity(1e22) == (10**22, False)


def test_a_fraction_is_a_decimal_and_not_called_exact() -> None:
    assert quantity(1.1) == (Decimal("1.1"), False)


def test_a_total_is_exact_only_if_every_row_is() -> None:
    rows = (UsageRow(0, 3600, 5, exact=True), UsageRow(3600, 7200, 2**53, exact=False))

    assert Usage("cus_1", METER, "hour", 0, 7200, rows).total == 2**53 + 5
    assert not Usage("cus_1", METER, "hour", 0, 7200, rows).exact
    assert Usage("cus_1", METER, "hour", 0, 7200, rows[:1]).exact
    assert Usage("cus_1", METER, "hour", 0, 7200, ()).total == 0
