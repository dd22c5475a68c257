"""What a comparison with Stripe's summaries adds to the verdict of a verification. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from audit.verification.term import ProofWord, Term
from audit.verification.verdict import ProofVerdict
from metering.reconciliation.comparison import ComparedCell
from metering.records.notes.evidence import CellVerdict

_OF_EARLIER_READS: Final = {"differs_by_evidence", "mended"}


def with_stripe(verdict: ProofVerdict, cells: Sequence[ComparedCell], verdicts: Mapping[CellVerdict, int]) -> ProofVerdict:
    """The verdict with Stripe's own sums in it. `cells` are those that are not settled, `verdicts` counts all.

    Where every cell is settled, refusals that Stripe did not name are answered: it has what the ledger says.
    """
    # What was read now is more than what was read before.
    terms = {word: [term for term in verdict.terms.get(word, ()) if term.name not in _OF_EARLIER_READS] for word in ProofWord}
    differing = [each for each in cells if each.comparison.verdict.differs]
    arriving = verdicts.get(CellVerdict.ARRIVING, 0)
    if differing:
        terms[ProofWord.NOT_EXACT].append(_differs(differing))
    elif not arriving:
        terms[ProofWord.NOT_EXACT] = [term for term in terms[ProofWord.NOT_EXACT] if term.name != "unnamed_refusals"]
    if arriving:
        what = f"{arriving:,} {_cells(arriving)} not yet in Stripe's summaries"
        terms[ProofWord.PENDING].append(Term("arriving", arriving, what, f"{what}, which lag", "taximeter reconcile --all"))
    return ProofVerdict({word: tuple(found) for word, found in terms.items()})


def _differs(cells: Sequence[ComparedCell]) -> Term:
    units: Counter[str] = Counter()
    for each in cells:
        units[each.key.meter] += each.comparison.difference
    states = Counter(each.comparison.verdict for each in cells)
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in states.items())
    what = f"{len(cells):,} {_cells(len(cells))} in which Stripe has other sums"
    text = f"{what} than the ledger ({told}), a cell being a customer, a meter and an hour or day"
    return Term("differs_at_stripe", len(cells), what, text, "taximeter reconcile --all", dict(units))


def _cells(count: int) -> str:
    return "cell" if count == 1 else "cells"
