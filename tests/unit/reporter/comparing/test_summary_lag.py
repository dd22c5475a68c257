"""The lag of Stripe's summaries is measured on one meter event at a time."""

from metering.reconciliation.cells import CustomerMeter
from metering.records.notes.evidence import CellVerdict
from reporter.comparing.doubt_book import CellPlace
from reporter.comparing.summary_lag import FIRST_LOOK_MS, WATCH_EVERY_MS, SummaryLag

PLACE = CellPlace(CustomerMeter("cus_1", "tokens"), 0)
NOW = 10_000_000
TAKEN = (PLACE, NOW)


def test_it_looks_until_the_sum_is_there_and_keeps_how_long_it_was_not() -> None:
    lag = SummaryLag()
    assert lag.question(TAKEN, NOW) is None
    assert lag.question(TAKEN, NOW + FIRST_LOOK_MS) is not None
    lag.read(PLACE, CellVerdict.ARRIVING, read_at_ms=NOW + 5_000, last_told_ms=NOW)
    assert lag.question(TAKEN, NOW + 14_000) is None
    assert lag.question(TAKEN, NOW + 15_000) is not None
    lag.read(PLACE, CellVerdict.ARRIVING, read_at_ms=NOW + 15_000, last_told_ms=NOW)
    before = lag.settle_ms(7)
    lag.read(PLACE, CellVerdict.SETTLED, read_at_ms=NOW + 35_000, last_told_ms=NOW)
    assert (before, lag.lag_ms) == (7, 15_000)
    assert (lag.settle_ms(30_000), lag.settle_ms(60_000)) == (45_000, 60_000)
    assert lag.question((PLACE, NOW + 36_000), NOW + 36_000 + FIRST_LOOK_MS) is None
    later = NOW + WATCH_EVERY_MS
    lag.question((PLACE, later), later)
    assert lag.question((PLACE, later), later + FIRST_LOOK_MS) is not None


def test_what_stripe_took_long_ago_and_what_differs_otherwise_measures_nothing() -> None:
    lag = SummaryLag()
    assert lag.question(TAKEN, NOW + 61_000) is None
    lag.question(TAKEN, NOW)
    lag.read(PLACE, CellVerdict.EXTRA, read_at_ms=NOW + 5_000, last_told_ms=NOW)
    assert (lag.lag_ms, lag.question(TAKEN, NOW + 10_000)) == (None, None)


def test_what_is_never_shown_is_given_up_and_measures_how_long_it_was_watched() -> None:
    lag = SummaryLag()
    lag.question(TAKEN, NOW)
    at = NOW
    for _ in range(12):
        at = at * 2 - NOW + 5_000
        lag.read(PLACE, CellVerdict.MISSING, read_at_ms=at, last_told_ms=NOW)
    assert lag.lag_ms is not None
    assert lag.lag_ms > 7_200_000
