"""Whose meter events may be those that an error report counts and does not name. Pure: entries are handed in, in log order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.distinct_reports import distinct
from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CellKey, CellScope
from metering.records.ledger_records import Entry, MeterEvent, Receipt, Rejection
from metering.records.notes.evidence import Evidence

SUSPECT_CELLS_MAX: Final = 5_000  # cells of a report in one partition
SENT_BEFORE_MS: Final = HOUR_MS  # how much earlier than Stripe validated it something may have been sent

ReportKey = tuple[str, str, int]
"""Id and code of an error report, and the partition that it was written to."""


def key_of(report: Rejection) -> ReportKey:
    """What tells it from others."""
    return report.event_id, report.code, report.partition


def window_of(report: Rejection) -> tuple[int, int]:
    """When that was sent which Stripe validated for it, first and last (Unix ms)."""
    return (report.window_start_ms or report.at_ms) - SENT_BEFORE_MS, report.window_end_ms or report.at_ms


def is_suspect(report: Rejection, event: MeterEvent, told_ms: int) -> bool:
    """Whether this may be one that the report counts; `told_ms` is when Stripe had taken it."""
    first, last = window_of(report)
    return first <= told_ms <= last and report.meter in {"", event.meter}


def unnamed_reports(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Those that count more than they name, each once. Stripe has what it refuses as a duplicate."""
    return [each for each in distinct(rejections) if each.unnamed and "duplicate" not in each.code]


class SuspectFold:
    """Folds one partition, from where `ledger`, an empty fold, is placed: for the cells of what was settled in the windows of these reports."""

    def __init__(self, reports: Sequence[Rejection], ledger: Ledger) -> None:
        self.cells: dict[ReportKey, set[CellKey]] = {key_of(report): set() for report in reports}
        self.left_out: set[ReportKey] = set()
        self._reports = reports
        self._ledger = ledger
        self._first = min(window_of(report)[0] for report in reports)
        self._last = max(window_of(report)[1] for report in reports)
        self._compared: dict[tuple[str, str], tuple[int, int]] = {}

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            for settlement in self._ledger.news(entry):
                if self._first <= settlement.at_ms <= self._last:
                    self._suspect(self._ledger.open[settlement.intent].entry.meter_events[settlement.index], settlement.at_ms)
        elif isinstance(entry, Evidence):
            for found in entry.findings:
                first, last = self._compared.get((found.customer, found.meter), (found.start_ms, found.end_ms))
                self._compared[found.customer, found.meter] = min(first, found.start_ms), max(last, found.end_ms)
        self._ledger.fold(offset, log_time_ms, entry)

    def scope(self) -> CellScope | None:
        """The cells of all suspects, and those that evidence was taken of together with them; None without a suspect."""
        found = {key for cells in self.cells.values() for key in cells}
        if not found:
            return None
        compared = [self._compared.get((key.customer, key.meter), (key.start_ms, key.start_ms + HOUR_MS)) for key in found]
        first = min(*(key.start_ms for key in found), *(first for first, _ in compared))
        last = max(*(key.start_ms + HOUR_MS for key in found), *(last for _, last in compared))
        names = (frozenset(getattr(key, name) for key in found) for name in ("customer", "meter"))
        return CellScope(first - first % HOUR_MS, last, HOUR_MS, *names)

    def _suspect(self, event: MeterEvent, told_ms: int) -> None:
        cell = CellKey(event.billed, event.meter, event.time_ms - event.time_ms % HOUR_MS)
        for report in self._reports:
            if is_suspect(report, event, told_ms):
                cells = self.cells[key_of(report)]
                if cell in cells or len(cells) < SUSPECT_CELLS_MAX:
                    cells.add(cell)
                else:
                    self.left_out.add(key_of(report))


def by_cell(suspects: Mapping[ReportKey, set[CellKey]]) -> set[CellKey]:
    """All of them."""
    return {cell for cells in suspects.values() for cell in cells}
