"""A plan for a partition in memory, and a writer of its parts whose appends may be lost, answered by nobody, or late."""

from collections.abc import Callable, Sequence

from metering.folds.plan_progress import Part, PlanInPartition, PlanProgress
from metering.folds.tallies import Tallies
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.kafka.partition_log import Appended, Appender, LogUnavailable
from metering.records.adjustment import Adjustment, AdjustmentKind, part_digest
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.tally import RecordCounts, TallyRow, decode_tally, encode_tally
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryLog
from tests.support.metering_tallies import a_header, a_tally

TALLIES = "usage.tallies"


def a_part(quantity: int) -> Part:
    return Part([TallyRow("cus_1", "tokens", (), 0, quantity, 0)])


def a_plan(parts: Sequence[Part], *, partition: int = 0) -> PlanInPartition:
    header = a_header(*(part.rows for part in parts), partition=partition)
    return PlanInPartition(partition, header, AdjustmentKind.TAKE_OUT, [part_digest(part.rows) for part in parts], "sent twice", "ann")


def flush(log: MemoryLog, fold: Tallies | None = None) -> None:
    """An aggregator's tally of one record, at the end of the log, by what this fold knows (None: all)."""
    fold = folded(log)[0] if fold is None else fold
    start = max(0, fold.chain.end)
    tally = a_tally(
        link=ChainLink(start, start + 1, fold.chain.head),
        records=RecordCounts(singles=1),
        rows=[TallyRow("cus_1", "tokens", (), 0, 100, 1)],
        checkpoint=fold.checkpoint,
        emitter_states=[] if fold.chain.head == NO_OFFSET or start % 3 == 0 else None,
        log_time_ms=start,
    )
    log.append(TALLIES, encode_tally(tally), at_ms=start)


def folded(log: MemoryLog) -> tuple[Tallies, list[Adjustment]]:
    """The fold of all, and the adjustments that are accepted."""
    fold, accepted = Tallies(), []
    for record in log.topics.get(TALLIES, []):
        if record is not None:
            tally = decode_tally(record.value)
            if fold.fold(record.offset, tally) and tally.adjustment is not None:
                accepted.append(tally.adjustment)
    return fold, accepted


class FaultyAppender(Appender):
    """`before` is called with the number of each append: it may change the log first, or raise. `answers` say what becomes of one append after the
    other: "ok", "unanswered" (it arrived), "lost", or "late" (it arrives with `arrive`). After them all are "ok".
    """

    def __init__(self, log: MemoryLog, answers: Sequence[str] = (), before: Callable[[int], None] = lambda _number: None) -> None:
        self.appends = 0
        self.late: list[bytes | None] = []
        self._log = log
        self._answers = list(answers)
        self._before = before

    async def append(
        self, topic: str, _partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        self._before(self.appends)
        self.appends += 1
        answer = self._answers.pop(0) if self._answers else "ok"
        if answer == "late":
            self.late.append(value)
        if answer in {"lost", "late"}:
            raise LogUnavailable(answer)
        offset = self._log.append(topic, value, at_ms=1, key=key, headers=headers).offset
        if answer == "unanswered":
            raise LogUnavailable(answer)
        return Appended(offset, 1)

    def arrive(self) -> None:
        """What was late lands now."""
        for value in self.late:
            self._log.append(TALLIES, value, at_ms=1)
        self.late = []


async def no_brake(_progress: PlanProgress) -> None:
    """Never holds."""


def writer(log: MemoryLog, appender: Appender) -> AdjustmentWriter:
    return AdjustmentWriter(log, appender, TALLIES, instance="replay-1", clock=ManualClock())
