"""What is kept of a comparison: little where all agrees, each cell where not, and what several reads show alike."""

from dataclasses import replace

from metering.reconciliation.cells import Cell, CellKey, CellScope, CustomerMeter, Doubt, DoubtCause
from metering.reconciliation.comparison import ComparedCell, Comparison
from metering.reconciliation.findings import EvidenceBook, findings_of
from metering.records.notes.evidence import CellVerdict, Finding

HOUR = 3_600_000
PAIR = CustomerMeter("cus_1", "tokens")
SCOPE = CellScope(0, 24 * HOUR, HOUR)


def settled(hour: int, units: int) -> ComparedCell:
    return ComparedCell(CellKey(*PAIR, hour * HOUR), Comparison(CellVerdict.SETTLED, units, units))


def missing(hour: int, stripe: int = 3) -> ComparedCell:
    return ComparedCell(CellKey(*PAIR, hour * HOUR), Comparison(CellVerdict.MISSING, 10, stripe, stripe - 10, note="lost"))


def found(book: EvidenceBook, at_ms: int, *compared: ComparedCell) -> list[Finding]:
    findings = findings_of(PAIR, SCOPE, compared, {}, before=book, read_at_ms=at_ms, confirm_ms=100)
    book.take(findings)
    return findings


def test_all_that_is_settled_is_one_finding_and_nobody_at_all_is_one_too() -> None:
    book = EvidenceBook(10)
    (plain,) = found(book, 50, settled(1, 5), settled(2, 7))
    assert plain == Finding(*PAIR, 0, 24 * HOUR, CellVerdict.SETTLED, 12, 12, 0, 50, 50)
    assert (book.read_at_ms(PAIR), book.of(PAIR, 3 * HOUR), book.of(PAIR, 24 * HOUR)) == (50, plain, None)
    assert len(found(EvidenceBook(10), 50)) == 1


def test_two_reads_that_show_the_same_far_enough_apart_confirm_a_difference() -> None:
    book = EvidenceBook(10)
    told = [[(each.reads, each.since_ms, each.confirmed) for each in found(book, at_ms, missing(1))] for at_ms in (50, 149, 151, 500)]
    assert told == [[(1, 50, False)], [(2, 50, False)], [(3, 50, True)], [(4, 50, True)]]


def test_what_stripe_does_not_show_confirms_nothing() -> None:
    book = EvidenceBook(10)
    unread = ComparedCell(CellKey(*PAIR, HOUR), Comparison(CellVerdict.UNREADABLE, 10, None))
    assert [found(book, at_ms, unread)[0].confirmed for at_ms in (50, 500)] == [False, False]


def test_a_read_that_shows_something_else_begins_anew_for_the_count() -> None:
    book = EvidenceBook(10)
    found(book, 50, missing(1))
    (other,) = found(book, 500, missing(1, stripe=4))
    assert (other.reads, other.confirmed) == (1, False)
    found(book, 600, settled(1, 10))
    (again,) = found(book, 900, missing(1, stripe=4))
    assert again.reads == 1


def test_a_settled_range_takes_the_place_of_its_cells_only() -> None:
    book = EvidenceBook(10)
    found(book, 50, settled(0, 1), missing(1), missing(2))
    found(book, 60, settled(1, 10), missing(2))
    assert [each.start_ms for each in book.unsettled] == [2 * HOUR]


def test_what_a_sum_shows_of_doubts_is_kept_by_cell() -> None:
    key = CellKey(*PAIR, HOUR)
    cell = Cell(5, [Doubt("tm-1", 7, DoubtCause.PARKED), Doubt("tm-2", 8, DoubtCause.PARKED)])
    compared = ComparedCell(key, Comparison(CellVerdict.SETTLED, 5, 12, taken=(7,)))
    (only,) = findings_of(PAIR, SCOPE, [compared], {key: cell}, before=EvidenceBook(10), read_at_ms=1, confirm_ms=1)
    assert (only.start_ms, only.doubts, only.taken, only.absent) == (HOUR, 2, (7,), 1)


def test_the_book_is_bounded() -> None:
    book = EvidenceBook(1)
    book.take([replace(each, customer=name) for name in ("cus_1", "cus_2") for each in found(EvidenceBook(9), 5, settled(1, 1))])
    assert (book.read_at_ms(PAIR), book.read_at_ms(CustomerMeter("cus_2", "tokens"))) == (5, 0)
