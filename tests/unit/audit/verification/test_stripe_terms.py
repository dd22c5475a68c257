"""What Stripe's own sums add to a verdict."""

from collections import Counter

from audit.verification.stripe_terms import with_stripe
from audit.verification.term import ProofWord, Term
from audit.verification.verdict import ProofVerdict
from metering.reconciliation.cells import CellKey
from metering.reconciliation.comparison import ComparedCell, Comparison
from metering.records.notes.evidence import CellVerdict

EXACT = ProofVerdict({})
UNNAMED = ProofVerdict({ProofWord.NOT_EXACT: (Term("unnamed_refusals", 1, "1 refusal", "1 refusal", "taximeter reconcile"),)})


def cell(verdict: CellVerdict, difference: int = 0) -> ComparedCell:
    return ComparedCell(CellKey("cus_1", "tokens", 0), Comparison(verdict, 12, 12 + difference, difference))


def compared(before: ProofVerdict, *cells: ComparedCell, settled: int = 3) -> ProofVerdict:
    counts = Counter(each.comparison.verdict for each in cells) + Counter({CellVerdict.SETTLED: settled})
    return with_stripe(before, cells, counts)


def test_where_all_is_settled_the_verdict_stays() -> None:
    assert compared(EXACT).text == "EXACT"


def test_a_sum_that_differs_is_not_exact() -> None:
    found = compared(EXACT, cell(CellVerdict.EXTRA, 5000))
    assert found.text == "NOT EXACT: 1 cell in which Stripe has other sums"
    (term,) = found.all_terms
    assert (term.units, term.mend) == ({"tokens": 5000}, "taximeter reconcile --all")


def test_what_summaries_do_not_show_yet_is_pending() -> None:
    assert compared(EXACT, cell(CellVerdict.ARRIVING), cell(CellVerdict.ARRIVING)).text == "PENDING: 2 cells not yet in Stripe's summaries"


def test_unnamed_refusals_are_answered_only_when_every_cell_is_settled() -> None:
    assert compared(UNNAMED).text == "EXACT"
    assert compared(UNNAMED, cell(CellVerdict.ARRIVING)).word is ProofWord.NOT_EXACT
    assert compared(UNNAMED, cell(CellVerdict.MISSING, -7)).word is ProofWord.NOT_EXACT
