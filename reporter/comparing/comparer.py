"""The loop that compares: follows the ledgers of the partitions that this process owns, asks Stripe, and notes what it found as evidence.

Nothing waits for it. It has Kafka and Stripe connections of its own, and begins no more calls than `ReadBudget` and the rate allow.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.limits import HOUR_MS

from metering.kafka.partition_log import LogUnavailable
from metering.process.logs import Log, RateLimited
from metering.reconciliation.cells import Cell, CellKey, Cells, CellScope, CustomerMeter
from metering.reconciliation.comparison import ComparedCell
from metering.reconciliation.differences import confirmed, sought_of
from metering.reconciliation.findings import findings_of
from metering.reconciliation.ledger_cells import PartitionCells
from metering.reconciliation.reconciler import SummariesRefused, SummariesUnread, SummarySource, compared_cells, unreadable_cells
from metering.records.fail_closed import FailClosed
from metering.records.ledger_records import Rejection
from metering.records.notes.evidence import FINDINGS_MAX, CellVerdict, Evidence, Finding
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtKind, ReportWindow
from reporter.comparing.metrics import DIFFERENCES, ComparingMetrics
from reporter.comparing.questions import QUESTION_HOURS_MAX, CompareTimes, Question, drop_answered, due_ms, next_questions
from reporter.comparing.read_budget import ReadBudget
from reporter.comparing.summary_lag import SummaryLag

REPORTS_AT_ONCE: Final = 3  # of a partition: for each the ledger of its window is read
QUESTIONS_AT_ONCE: Final = 100  # of a partition: its ledger is read for all of them together
TURN_SECONDS_MAX: Final = 30.0
STRIPE_FAILED_SECONDS: Final = 60.0
_EMPTY: Final = Cell()

Read = tuple[Question, list[ComparedCell], int]
"""A question, what came of it, and when (Unix ms)."""


@dataclass(frozen=True, slots=True)
class ComparingSettings:
    """`instance` names this process in the evidence. `reads_per_month` and `reads_per_second` are those of the whole account that comparing may use;
    `settle_seconds` is the least lag assumed, `again_seconds` how often a customer without a doubt is compared.
    """

    instance: str
    reads_per_month: float
    reads_per_second: float
    settle_seconds: float
    again_seconds: float


@dataclass(frozen=True, slots=True)
class PartitionShare:
    """`owned` says which partitions this process owns now, of `total`."""

    owned: Callable[[], Collection[int]]
    total: int

    @property
    def share(self) -> float:
        """The part of the account's reads that is this process's."""
        return min(1.0, len(self.owned()) / self.total)


class StripeSums(SummarySource, Protocol):
    """Stripe's sums, with connections that are closed in the end."""

    async def close(self) -> None:
        """Close the connections."""
        ...


class FollowedLedger(Protocol):
    """What LedgerFollowing does. Every method may raise LogUnavailable or FailClosed."""

    async def begin(self, partition: int, now_ms: int) -> DoubtBook:
        """An empty book, placed where it is to begin."""
        ...

    async def follow(self, partition: int, book: DoubtBook) -> None:
        """Bring it up to date."""
        ...

    async def reports(self, now_ms: int) -> Sequence[Rejection]:
        """The error reports that count more than they name. They may be about any partition."""
        ...

    async def suspects(self, partition: int, report: ReportWindow) -> set[CellPlace]:
        """The cells of what was settled in the window of a report."""
        ...

    async def cells(self, partition: int, scope: CellScope, sought: Collection[CellKey]) -> PartitionCells:
        """What the ledger says of these cells now."""
        ...

    async def note(self, partition: int, evidence: Evidence) -> None:
        """Write it into the ledger."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Comparer:
    """Owns the port and the ledger's reading. `close` ends `run`."""

    def __init__(
        self,
        ledger: FollowedLedger,
        partitions: PartitionShare,
        *,
        port: StripeSums,
        settings: ComparingSettings,
        metrics: ComparingMetrics,
        clock: Clock,
        log: Log,
    ) -> None:
        self._ledger = ledger
        self._partitions = partitions
        self._port = port
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._warnings = RateLimited(clock, interval_seconds=600.0)
        self._books: dict[int, DoubtBook] = {}
        self._lag = SummaryLag()
        self._budget = ReadBudget(settings.reads_per_month, clock.monotonic())
        self._free_at = 0.0
        self._running: asyncio.Task[object] | None = None
        self._observe(self._times())  # also where nothing is ever compared

    async def run(self) -> None:
        """Until `close`. Returns at once when there are no reads for it. No failure of Stripe's or Kafka's ends it."""
        self._running = asyncio.current_task()
        if not self._settings.reads_per_month:
            return
        while True:
            seconds = min(TURN_SECONDS_MAX, self._settings.settle_seconds / 4)
            try:
                await self._turn()
            except (LogUnavailable, SummariesUnread) as error:
                self._warnings.warning(self._log, "the ledger could not be compared with Stripe", reason=str(error))
                seconds = min(STRIPE_FAILED_SECONDS, self._settings.settle_seconds)
            except Exception as error:  # usage is reported without it
                if self._warnings.admit("comparing failed") is not None:
                    self._log.failed("comparing with Stripe failed", error)
                self._books.clear()
                seconds = STRIPE_FAILED_SECONDS
            await self._clock.sleep(seconds)

    async def close(self) -> None:
        """End the comparing, then close the connections."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self._ledger.close()
        await self._port.close()

    async def _turn(self) -> None:
        owned = self._partitions.owned()
        self._books = {partition: book for partition, book in self._books.items() if partition in owned}
        self._budget.set_share(self._partitions.share)
        reports = await self._ledger.reports(self._clock.now_ms()) if owned else ()
        for partition in sorted(owned):
            await self._follow(partition, reports)
        times = self._times()
        for book in self._books.values():
            drop_answered(book, times)
        self._observe(times)
        for partition, questions in (await self._questions(times)).items():
            if partition in self._books:
                await self._ask(partition, self._books[partition], questions)
        self._observe(times)

    async def _follow(self, partition: int, reports: Sequence[Rejection]) -> None:
        """Bring the book of a partition up to date. A ledger that is not sound stops its worker; here it is passed over."""
        try:
            book = self._books.get(partition)
            if book is None:
                book = await self._ledger.begin(partition, self._clock.now_ms())
            await self._ledger.follow(partition, book)
            for rejection in reports:
                book.note_report(rejection)
            for report in list(book.reports.values())[:REPORTS_AT_ONCE]:
                book.found_suspects(report, await self._ledger.suspects(partition, report))
            self._books[partition] = book
        except FailClosed as error:
            self._books.pop(partition, None)
            self._warnings.warning(self._log, "a ledger is not compared", key=f"ledger {partition}", partition=partition, reason=str(error))

    async def _questions(self, times: CompareTimes) -> dict[int, list[Question]]:
        """What to ask now, of each partition, within the budget; first what waits longest."""
        now_ms, left = self._clock.now_ms(), self._budget.left(self._clock.monotonic())
        found: list[tuple[bool, int, int, Question]] = []
        for partition, book in self._books.items():
            await self._clock.sleep(0)  # whom to ask is a fraction of a second of work for each partition
            watched = self._lag.question(book.taken_last, now_ms)
            asked = next_questions(book, now_ms, times, min(left, QUESTIONS_AT_ONCE))
            asked += [watched] if watched is not None and watched.pair not in {each.pair for each in asked} else []
            found += [(not each.doubt, each.due_ms, partition, each) for each in asked]
        chosen: dict[int, list[Question]] = {}
        for _, _, partition, question in sorted(found, key=lambda each: each[:3])[:left]:
            chosen.setdefault(partition, []).append(question)
        return chosen

    async def _ask(self, partition: int, book: DoubtBook, questions: Sequence[Question]) -> None:
        """Compare, and note what was found. What differs is compared with the ledger once more, which may have moved meanwhile."""
        for near in _near(questions):
            scope = _scope_of(near)
            before = await self._ledger.cells(partition, scope, ())
            read, unread = await self._read(near, before.cells)
            sought = sought_of([each for _, cells, _ in read for each in cells])
            again = any(each.comparison.verdict.differs for _, cells, _ in read for each in cells)
            now = await self._ledger.cells(partition, scope, sought) if again else before
            findings: list[Finding] = []
            for question, cells, at_ms in read:
                judged = [confirmed(each, before.cells, now) for each in cells]
                self._measure(judged, now.cells, at_ms)
                confirm_ms = self._times().confirm_ms
                findings += findings_of(
                    question.pair, question.scope, judged, now.cells, before=book.evidence, read_at_ms=at_ms, confirm_ms=confirm_ms
                )
            for first in range(0, len(findings), FINDINGS_MAX):
                some = findings[first : first + FINDINGS_MAX]
                evidence = Evidence(partition, self._settings.instance, self._clock.now_ms(), some)
                await self._ledger.note(partition, evidence)
            self._tell(findings)
            if unread is not None:
                raise unread

    async def _read(self, questions: Sequence[Question], ours: Cells) -> tuple[list[Read], SummariesUnread | None]:
        """One after the other; why it ended early, if it did."""
        by_pair: defaultdict[CustomerMeter, dict[int, Cell]] = defaultdict(dict)
        for key, cell in ours.items():
            by_pair[CustomerMeter(key.customer, key.meter)][key.start_ms] = cell
        read: list[Read] = []
        for question in questions:
            mine = {start: cell for start, cell in by_pair[question.pair].items() if question.from_ms <= start < question.to_ms}
            try:
                read.append((question, *await self._compare(question, mine)))
            except SummariesUnread as error:
                return read, error
        return read, None

    async def _compare(self, question: Question, mine: Mapping[int, Cell]) -> tuple[list[ComparedCell], int]:
        scope = question.scope
        await self._wait_for_rate()
        self._budget.spend(self._port.calls(scope))
        try:
            sums = await self._port.sums(*question.pair, scope)
        except SummariesRefused as error:
            self._metrics.reads.labels("refused").inc()
            return unreadable_cells(question.pair, mine, scope, str(error)), self._clock.now_ms()
        except SummariesUnread:
            self._metrics.reads.labels("unread").inc()
            raise
        at_ms = self._clock.now_ms()
        self._metrics.reads.labels("ok").inc()
        return compared_cells(question.pair, mine, sums, now_ms=at_ms, settle_ms=self._times().settle_ms), at_ms

    def _measure(self, cells: Sequence[ComparedCell], ledger: Cells, at_ms: int) -> None:
        for each in cells:
            self._metrics.cells.labels(each.comparison.verdict.value).inc()
            place = CellPlace(CustomerMeter(each.key.customer, each.key.meter), each.key.start_ms)
            told_ms = ledger.get(each.key, _EMPTY).last_told_ms
            self._lag.read(place, each.comparison.verdict, read_at_ms=at_ms, last_told_ms=told_ms)

    def _tell(self, findings: Sequence[Finding]) -> None:
        """A difference goes into the log once: when it is confirmed."""
        for found in findings:
            if found.confirmed and found.reads == 2:
                self._log.warning(
                    "Stripe's sum differs from the ledger",
                    customer=found.customer,
                    meter=found.meter,
                    start_ms=found.start_ms,
                    difference=found.difference,
                    verdict=found.verdict.value,
                    cause=found.cause,
                )

    def _observe(self, times: CompareTimes) -> None:
        units: Counter[CellVerdict] = Counter()
        kinds: Counter[DoubtKind] = Counter()
        oldest: list[int] = []
        for book in self._books.values():
            for found in book.evidence.unsettled:
                units[found.verdict] += abs(found.difference) if found.confirmed else 0
            for place, doubtful in book.doubts.items():
                kinds[doubtful.kind] += 1
                due = due_ms(doubtful, book.evidence.of(*place), times)
                if due is not None and due <= self._clock.now_ms():
                    oldest.append(due)
        for verdict in DIFFERENCES:
            self._metrics.differing_units.labels(verdict.value).set(units[verdict])
        for kind in DoubtKind:
            self._metrics.doubts.labels(kind.value).set(kinds[kind])
        self._metrics.oldest_doubt.set(min(oldest) / 1000 if oldest else math.nan)
        self._metrics.lag.set(math.nan if self._lag.lag_ms is None else self._lag.lag_ms / 1000)

    def _times(self) -> CompareTimes:
        least = round(self._settings.settle_seconds * 1000)
        return CompareTimes(self._lag.settle_ms(least), least // 2, round(self._settings.again_seconds * 1000))

    async def _wait_for_rate(self) -> None:
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + 1 / (self._settings.reads_per_second * max(0.01, self._partitions.share))
        if begin > now:
            await self._clock.sleep(begin - now)


def _scope_of(questions: Sequence[Question]) -> CellScope:
    customers, meters = (frozenset(names) for names in zip(*(question.pair for question in questions), strict=True))
    first, last = min(question.from_ms for question in questions), max(question.to_ms for question in questions)
    return CellScope(first, last, HOUR_MS, customers, meters)


def _near(questions: Sequence[Question]) -> list[list[Question]]:
    """Together those whose times are near each other, so that the ledger is not read for months because of one."""
    groups: list[list[Question]] = []
    for question in sorted(questions, key=lambda each: each.from_ms):
        if groups and question.to_ms - groups[-1][0].from_ms <= 2 * QUESTION_HOURS_MAX * HOUR_MS:
            groups[-1].append(question)
        else:
            groups.append([question])
    return groups
