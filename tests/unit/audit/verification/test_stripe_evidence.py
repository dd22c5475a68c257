"""Verification says whom a comparison has read, how long ago, and what differed last."""

from dataclasses import replace

from audit.verification.stripe_evidence import EvidenceFold
from metering.records.notes.evidence import CellVerdict, Evidence, Finding

HOUR = 3_600_000
MISSING = Finding("cus_1", "tokens", HOUR, 2 * HOUR, CellVerdict.MISSING, 10, 7, -3, 6 * HOUR, 5 * HOUR, 2, confirmed=True)
SETTLED = Finding("cus_1", "tokens", 0, 3 * HOUR, CellVerdict.SETTLED, 10, 10, 0, 6 * HOUR, 6 * HOUR)


def folded(*findings: Finding) -> EvidenceFold:
    fold = EvidenceFold()
    fold.saw(["cus_1", "cus_2"])
    for each in findings:
        fold.take(Evidence(0, "reporter", each.read_at_ms, [each]))
    return fold


def test_it_counts_customers_and_names_the_oldest_read() -> None:
    found = folded(SETTLED).totals()
    assert found.text(9 * HOUR) == "compared with Stripe: 1 of 2 customers, oldest 3 h ago"
    found.add(folded(replace(SETTLED, customer="cus_2", read_at_ms=4 * HOUR)).totals())
    assert found.text(9 * HOUR) == "compared with Stripe: 2 of 4 customers, oldest 5 h ago"
    assert folded().totals().text(9 * HOUR) == "compared with Stripe: 0 of 2 customers"


def test_what_differs_twice_stands_until_it_is_read_otherwise_or_mended() -> None:
    assert folded(MISSING).totals().units == {"tokens": -3}
    assert not folded(replace(MISSING, confirmed=False)).totals().differing
    assert not folded(MISSING, SETTLED).totals().differing
    mended = folded(MISSING)
    mended.mended("cus_1", "tokens")
    assert (mended.totals().differing, mended.totals().mended) == ([], 1)
    other = folded(MISSING)
    other.mended("cus_2", "tokens")
    assert len(other.totals().differing) == 1


def test_what_stripe_did_not_show_is_not_compared() -> None:
    assert folded(replace(MISSING, verdict=CellVerdict.UNREADABLE, stripe=None)).totals().compared == 0
