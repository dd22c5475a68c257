"""The loop that compares: within its budget, with what it read so far kept when Stripe stops answering, and never at the cost of its process."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.process.logs import Log
from metering.reconciliation.cells import Cell, CellKey, CellScope, CustomerMeter
from metering.reconciliation.ledger_cells import PartitionCells
from metering.reconciliation.reconciler import SummariesRefused, SummariesUnread, SummaryValue
from metering.records.ledger_records import Rejection
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from reporter.comparing.comparer import Comparer, ComparingSettings, PartitionShare
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtfulCell, DoubtKind, ReportWindow
from reporter.comparing.metrics import ComparingMetrics
from tests.support.manual_clock import ManualClock

NOW = 1_000 * HOUR_MS
HOUR = NOW - HOUR_MS


@dataclass
class Sums:
    """What Stripe answers, by customer: units in one hour, or what it raises."""

    answers: Mapping[str, int | Exception]
    asked: list[str] = field(default_factory=list)

    def calls(self, _scope: CellScope) -> int:
        return 1

    async def sums(self, customer: str, _meter: str, _scope: CellScope) -> Mapping[int, SummaryValue]:
        self.asked.append(customer)
        answer = self.answers[customer]
        if isinstance(answer, Exception):
            raise answer
        return {HOUR: SummaryValue(answer, exact=True)}

    async def close(self) -> None:
        return


@dataclass
class Following:
    """A ledger that says 5 units of every customer."""

    customers: list[str]
    noted: list[Finding] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)  # of partition 0
    suspected: dict[int, CellPlace] = field(default_factory=dict)
    books: dict[int, DoubtBook] = field(default_factory=dict)

    async def begin(self, partition: int, _now_ms: int) -> DoubtBook:
        book = self.books[partition] = DoubtBook(Ledger())
        book.pairs = {CustomerMeter(customer, "tokens"): HOUR for customer in self.customers}
        return book

    async def follow(self, _partition: int, _book: DoubtBook) -> None:
        return

    async def cells(self, _partition: int, _scope: CellScope, _sought: object) -> PartitionCells:
        return PartitionCells({CellKey(customer, "tokens", HOUR): Cell(5, last_told_ms=HOUR) for customer in self.customers}, ())

    async def reports(self, _now_ms: int) -> list[Rejection]:
        return self.rejections

    async def suspects(self, partition: int, _report: ReportWindow) -> set[CellPlace]:
        return {self.suspected[partition]} if partition in self.suspected else set()

    async def note(self, _partition: int, evidence: Evidence) -> None:
        self.noted += evidence.findings

    async def close(self) -> None:
        return


async def turned(answers: Mapping[str, int | Exception], *, per_month: float = 1e9) -> tuple[Sums, dict[str, CellVerdict]]:
    """What was asked and noted by one turn of the loop."""
    sums, ledger = Sums(answers), Following(list(answers))
    await run_once(ledger, sums, PartitionShare(lambda: [0], 1), per_month=per_month)
    return sums, {each.customer: each.verdict for each in ledger.noted}


async def run_once(ledger: Following, sums: Sums, partitions: PartitionShare, *, per_month: float = 1e9) -> None:
    """Let the loop turn for a while."""
    comparer = Comparer(
        ledger,
        partitions,
        port=sums,
        settings=ComparingSettings("reporter-1", per_month, 1e6, settle_seconds=600, again_seconds=86_400),
        metrics=ComparingMetrics.create(CollectorRegistry()),
        clock=ManualClock(NOW),
        log=Log(logging.getLogger("test"), {}),
    )
    running = asyncio.ensure_future(comparer.run())
    for _ in range(50):
        await asyncio.sleep(0)
        if running.done():
            break
    await comparer.close()


async def test_whom_the_ledger_has_is_compared_and_noted() -> None:
    _, noted = await turned({"cus_1": 5, "cus_2": 9, "cus_3": SummariesRefused("no customer")})
    assert noted == {"cus_1": CellVerdict.SETTLED, "cus_2": CellVerdict.EXTRA, "cus_3": CellVerdict.UNREADABLE}


async def test_what_was_read_before_stripe_stopped_answering_is_noted() -> None:
    sums, noted = await turned({"cus_1": 5, "cus_2": SummariesUnread("503"), "cus_3": 5})
    assert (sums.asked[:2], "cus_3" in sums.asked[:2]) == (["cus_1", "cus_2"], False)
    assert noted["cus_1"] is CellVerdict.SETTLED


async def test_a_report_that_only_counts_is_about_the_partitions_of_other_processes_too() -> None:
    place = CellPlace(CustomerMeter("cus_1", "tokens"), HOUR)
    report = Rejection(0, "webhooks", "evt_7", "tokens", "meter_event_no_customer_defined", "no", 1, (), HOUR, HOUR, HOUR)
    ledger = Following(["cus_1"], rejections=[report], suspected={1: place})
    sums = Sums({"cus_1": 3})
    await run_once(ledger, sums, PartitionShare(lambda: [1], 2))
    assert ledger.books[1].doubts == {place: DoubtfulCell(DoubtKind.REFUSED_UNNAMED, HOUR)}
    assert (ledger.noted[0].verdict, ledger.noted[0].start_ms) == (CellVerdict.MISSING, HOUR)


async def test_without_reads_nobody_is_asked() -> None:
    sums, noted = await turned({"cus_1": 5}, per_month=0)
    assert (sums.asked, noted) == ([], {})


def test_the_share_of_a_process_is_that_of_its_partitions() -> None:
    assert PartitionShare(lambda: [1, 2, 3], 12).share == 0.25
    assert PartitionShare(list, 12).share == 0.0
