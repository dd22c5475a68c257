"""The loop that asks Stripe: whom, how fast, and what it makes of a ledger that moves meanwhile."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metering.reconciliation.cells import Cell, CellKey, Cells, CellScope, CustomerMeter, Member
from metering.reconciliation.comparison import ComparedCell
from metering.reconciliation.reconciler import Pace, Reconciler, SummariesRefused, SummaryValue, pairs_of
from metering.records.ledger_records import Rejection
from metering.records.notes.evidence import CellVerdict
from tests.support.manual_clock import ManualClock
from tests.support.metering_ledger_entries import REJECTION

HOUR_MS = 3_600_000
SCOPE = CellScope(0, 2 * HOUR_MS, HOUR_MS)
ANN = CustomerMeter("cus_1", "tokens")


@dataclass
class LedgerSaying:
    """The same cells each time, or one answer after the other."""

    answers: list[Cells]
    rejections: Sequence[Rejection] = ()
    cells: Cells = field(default_factory=dict)
    members: Mapping[CellKey, Sequence[Member]] = field(default_factory=dict)
    sought: set[CellKey] = field(default_factory=set)

    async def read(self, _partition: int, _scope: CellScope, *, sought: Collection[CellKey] = ()) -> "LedgerSaying":
        self.sought.update(sought)
        self.cells = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return replace(self, answers=[])


@dataclass
class SumsSaying:
    by_pair: Mapping[CustomerMeter, Mapping[int, int] | str]
    asked: list[CustomerMeter] = field(default_factory=list)

    def calls(self, _scope: CellScope) -> int:
        return 2

    async def sums(self, customer: str, meter: str, _scope: CellScope) -> Mapping[int, SummaryValue]:
        pair = CustomerMeter(customer, meter)
        self.asked.append(pair)
        found = self.by_pair.get(pair, {})
        if isinstance(found, str):
            raise SummariesRefused(found)
        return {start: SummaryValue(value, exact=True) for start, value in found.items()}


def cell(sure: int) -> Cell:
    return Cell(sure, first_told_ms=1, last_told_ms=1)


async def compared(ledger: LedgerSaying, sums: SumsSaying, *asked: CustomerMeter) -> list[ComparedCell]:
    clock = ManualClock(now_ms=HOUR_MS)
    reconciler = Reconciler(ledger, sums, scope=SCOPE, pace=Pace(1e6), settle_ms=0, clock=clock)
    found = await ledger.read(0, SCOPE)
    return [each async for _, cells in reconciler.compare_partition(0, found, pairs_of(found.cells, asked)) for each in cells]


async def test_each_cell_that_either_side_has_is_compared() -> None:
    ledger = LedgerSaying([{CellKey(*ANN, 0): cell(5)}])
    found = await compared(ledger, SumsSaying({ANN: {0: 5, HOUR_MS: 9}}))
    assert [(each.key.start_ms, each.comparison.verdict, each.comparison.difference) for each in found] == [
        (0, CellVerdict.SETTLED, 0),
        (HOUR_MS, CellVerdict.EXTRA, 9),
    ]


async def test_a_customer_of_whom_the_ledger_has_nothing_is_asked_for_too() -> None:
    sums = SumsSaying({CustomerMeter("cus_9", "tokens"): {0: 3}})
    (found,) = await compared(LedgerSaying([{}]), sums, CustomerMeter("cus_9", "tokens"))
    assert (found.comparison.verdict, found.comparison.difference) == (CellVerdict.EXTRA, 3)


async def test_a_difference_counts_only_if_the_ledger_stood_still() -> None:
    key = CellKey(*ANN, 0)
    (found,) = await compared(LedgerSaying([{key: cell(5)}, {key: cell(12)}]), SumsSaying({ANN: {0: 12}}))
    assert (found.comparison.verdict, found.comparison.note) == (CellVerdict.ARRIVING, "the ledger moved meanwhile")


async def test_what_is_missing_names_the_reports_that_count_more_than_they_name() -> None:
    report = replace(REJECTION, error_count=3)
    (found,) = await compared(LedgerSaying([{CellKey(*ANN, 0): cell(5)}], rejections=[report]), SumsSaying({ANN: {}}))
    assert found.comparison.verdict is CellVerdict.MISSING
    assert found.comparison.note == "report evt_1 (meter_event_customer_not_found) counts 2 that it does not name; Stripe did not record it"


async def test_what_stripe_does_not_show_is_unreadable_and_others_go_on() -> None:
    bob = CustomerMeter("cus_2", "tokens")
    ledger = LedgerSaying([{CellKey(*ANN, 0): cell(5), CellKey(*bob, 0): cell(7)}])
    found = await compared(ledger, SumsSaying({ANN: "no such customer", bob: {0: 7}}))
    assert {each.key.customer: (each.comparison.verdict, each.comparison.stripe) for each in found} == {
        "cus_1": (CellVerdict.UNREADABLE, None),
        "cus_2": (CellVerdict.SETTLED, 7),
    }


async def test_calls_are_paced() -> None:
    cells = {CellKey(f"cus_{number}", "tokens", 0): cell(0) for number in range(10)}
    ledger, clock = LedgerSaying([cells]), ManualClock(now_ms=HOUR_MS)
    reconciler = Reconciler(ledger, SumsSaying({}), scope=SCOPE, pace=Pace(4.0), settle_ms=0, clock=clock)
    found = await ledger.read(0, SCOPE)
    began = clock.monotonic()
    async for _ in reconciler.compare_partition(0, found, pairs_of(cells)):
        pass
    # Ten pairs of two calls each: the last begins when nine have had their half second.
    assert clock.monotonic() - began == 4.5


async def test_a_meter_event_with_just_the_value_that_differs_is_named() -> None:
    key = CellKey(*ANN, 0)
    ledger = LedgerSaying([{key: cell(5)}], members={key: [Member("tm-c-0-0-2-0", 3, 0), Member("tm-c-0-0-2-1", 2, 0)]})
    (found,) = await compared(ledger, SumsSaying({ANN: {0: 2}}))
    assert (ledger.sought, found.comparison.note) == ({key}, "as much as tm-c-0-0-2-0: Stripe lost it, or it was cancelled elsewhere")
    (found,) = await compared(LedgerSaying([{key: cell(5)}]), SumsSaying({ANN: {0: 7}}))
    assert found.comparison.note == "another program's, or by hand"
