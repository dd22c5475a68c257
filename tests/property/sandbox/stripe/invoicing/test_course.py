"""Every unit of use is billed once."""

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.billing_settings import BillingSettings

from tests.support.stripe_course import START, late
from tests.support.stripe_shop import at, current, invoices, seconds, shop, use

ENDS = [f"2027-{end}T10:30:07" for end in ("02-28", "03-31", "04-30", "05-31")]
MINUTES = 100 * 24 * 60


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, MINUTES), st.integers(-4, 34 * 24 * 60), st.integers(0, 10**6)), max_size=40),
    st.lists(st.integers(0, MINUTES), max_size=6),
    st.integers(1, 72),
)
def test_every_unit_is_billed_in_its_period_or_late_for_it(usage: list[tuple[int, int, int]], looks: list[int], grace_hours: int) -> None:
    account, subscription = shop(START, unit_amount="1")
    account.billing_settings = BillingSettings(finalization_grace_hours=grace_hours)
    start = seconds(START)
    steps: list[tuple[int, int | None, int]] = [(minute, None, 0) for minute in looks]
    steps += [(minute, minute - age, value) for minute, age, value in usage]
    for minute, stamp, value in sorted(steps, key=lambda step: step[0]):
        if stamp is None:
            account.advance((start + minute * 60) * 1000)
        else:
            use(account, (start + minute * 60) * 1000, str(value), start + stamp * 60)
    account.advance(at("2027-06-15"))
    periods = list(zip([start, *(seconds(end) for end in ENDS)], [seconds(end) for end in ENDS], strict=False))
    for invoice, (opens, closes) in zip(invoices(account), periods, strict=True):
        own = [(start + minute * 60, value) for minute, age, value in usage if opens <= start + (minute - age) * 60 < closes]
        final = closes + grace_hours * 3600
        in_time = sum(value for received, value in own if received < final)
        assert (invoice.lines[0].quantity, invoice.total, invoice.finalized_at) == (str(in_time), in_time, final)
        missed = [value for received, value in own if received >= final]
        assert late(account, invoice) == (str(sum(missed)), len(missed))
    assert current(account, subscription).period_start == seconds(ENDS[-1])
