from collections import Counter
from io import StringIO

from rich.console import Console
from taximeter_sandbox.demo.books import ExpectedBooks
from taximeter_sandbox.demo.closing import Outcome, compare, log_problems, show
from taximeter_sandbox.demo.stripe_side import StripeBooks

from audit.verification.report import MeterTotals, Report
from metering.records.ledger_records import Outcome as MeterOutcome

TOKENS = "alpaca_ai_tokens"


def expected(**units: int) -> ExpectedBooks:
    books = ExpectedBooks()
    for line in (books.totals, books.meters[TOKENS]):
        line.emitted = line.accepted = line.counted = len(units)
    books.meters[TOKENS].units = sum(units.values())
    books.meters[TOKENS].by_customer = Counter(units)
    return books


def report(units: int, events: int) -> Report:
    found = Report(meters={TOKENS: MeterTotals(counted=units, events=events, outcomes=Counter({MeterOutcome.ACCEPTED: units}))})
    found.events["counted"] = events
    return found


def outcome(books: ExpectedBooks, found: Report, **in_stripe: int) -> Outcome:
    stripe = StripeBooks({(TOKENS, customer): units for customer, units in in_stripe.items()})
    return Outcome(meters=compare(books, found, stripe), problems=log_problems(books, found), facts={})


def test_equal_books_are_exact() -> None:
    assert outcome(expected(cus_1=5, cus_2=7), report(12, 2), cus_1=5, cus_2=7).is_exact


def test_equal_totals_with_customers_mixed_up_are_not_exact() -> None:
    result = outcome(expected(cus_1=5, cus_2=7), report(12, 2), cus_1=7, cus_2=5)

    assert not result.is_exact
    assert result.meters[0].difference == 0
    assert result.meters[0].customers_that_differ == ["cus_1", "cus_2"]


def test_one_unit_too_many_is_not_exact() -> None:
    result = outcome(expected(cus_1=5), report(5, 1), cus_1=6)

    assert not result.is_exact
    assert result.meters[0].difference == 1


def test_a_customer_that_stripe_alone_knows_is_a_difference() -> None:
    assert not outcome(expected(cus_1=5), report(5, 1), cus_1=5, cus_9=1).is_exact


def test_a_surprise_of_the_load_or_a_broken_log_is_not_exact() -> None:
    surprised = expected(cus_1=5)
    surprised.surprise("a good event was refused")
    broken = report(5, 1)
    broken.problems.add("a tally disagrees")

    assert not outcome(surprised, report(5, 1), cus_1=5).is_exact
    assert not outcome(expected(cus_1=5), broken, cus_1=5).is_exact


def test_dead_letters_are_as_many_as_the_journals_say_or_as_were_sent_again() -> None:
    books, found = expected(cus_1=5), report(5, 1)
    books.totals.dead_lettered, books.totals.dead_lettered_again = 3, 2

    verdicts = []
    for dead_lettered in (2, 3, 5, 6):
        found.events["dead_lettered"] = dead_lettered
        verdicts.append(outcome(books, found, cus_1=5).is_exact)
    assert verdicts == [False, True, True, False]


def test_the_table_ends_with_the_verdict() -> None:
    for in_stripe, verdict in ((5, "EXACT"), (6, "NOT EXACT")):
        text = StringIO()
        show(outcome(expected(cus_1=5), report(5, 1), cus_1=in_stripe), Console(file=text, width=120))
        assert text.getvalue().splitlines()[-1].strip() == verdict
