"""What of one partition is in doubt, whom the ledger has, and what evidence says of them. Pure: entries are handed in, in log order."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.corrections import TAKEN
from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CustomerMeter
from metering.reconciliation.findings import EvidenceBook
from metering.records.ledger_records import Correction, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection
from metering.records.notes.evidence import Evidence

PAIRS_MAX: Final = 20_000  # customers and meters that are remembered of a partition
DOUBTS_KEPT_MAX: Final = 10_000
REPORTS_MAX: Final = 1_000


class DoubtKind(StrEnum):
    """Why a cell is looked at before others."""

    REFUSED_UNNAMED = "refused_unnamed"  # an error report counts more than it names, and this may be one of them
    PARKED = "parked"
    UNKNOWN = "unknown"  # an attempt may or may not have arrived
    CORRECTED = "corrected"  # something was taken back or sent again
    DIFFERS = "differs"  # the last comparison did not agree


class CellPlace(NamedTuple):
    """One Stripe customer, meter and hour."""

    pair: CustomerMeter
    start_ms: int


@dataclass(frozen=True, slots=True)
class DoubtfulCell:
    """Why a cell is in doubt, and since when (log time)."""

    kind: DoubtKind
    since_ms: int


@dataclass(frozen=True, slots=True)
class ReportWindow:
    """An error report that counts `unnamed` meter events which it does not name, from when Stripe validated them, [start_ms, end_ms]."""

    event_id: str
    code: str
    meter: str
    unnamed: int
    start_ms: int
    end_ms: int


class DoubtBook:
    """Folds one partition. `ledger` is an empty fold placed where the reading begins; the bounds above are its memory."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.pairs: dict[CustomerMeter, int] = {}  # and when the last of it was planned or settled
        self.unread: dict[CustomerMeter, int] = {}  # units of each that were planned since it was last read
        self.doubts: dict[CellPlace, DoubtfulCell] = {}
        self.reports: dict[tuple[str, str], ReportWindow] = {}  # whose suspects are not known yet
        self.evidence = EvidenceBook(PAIRS_MAX)
        self.taken_last: tuple[CellPlace, int] | None = None  # the last meter event that Stripe took, and when
        self.left_out = 0
        self._reports_seen: set[tuple[str, str]] = set()

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            self._settle(log_time_ms, entry)
        accepted = self.ledger.fold(offset, log_time_ms, entry)
        match entry:
            case Intent() if accepted:
                for event in entry.meter_events:
                    if event.reading is not None:
                        continue  # Stripe's sums say nothing of latest values
                    self._saw(event, log_time_ms)
                    pair = CustomerMeter(event.billed, event.meter)
                    if pair in self.pairs:
                        self.unread[pair] = self.unread.get(pair, 0) + abs(event.value)
            case Correction() if accepted:
                self._saw(entry.event, log_time_ms)
                self.doubt(_place(entry.event), DoubtfulCell(DoubtKind.CORRECTED, log_time_ms))
            case Rejection():
                self.note_report(entry)
            case Evidence():
                self._note_evidence(log_time_ms, entry)
            case _:
                pass

    def doubt(self, place: CellPlace, doubtful: DoubtfulCell) -> None:
        """Note it, as long as there is room. Of several doubts about one cell the last one stands: it is to be read after that."""
        if place in self.doubts or len(self.doubts) < DOUBTS_KEPT_MAX:
            self.doubts[place] = doubtful
        else:
            self.left_out += 1

    def note_report(self, rejection: Rejection) -> None:
        """An error report, of this partition or of REPORTS_PARTITION: what it counts without naming may be here. A repetition says nothing new."""
        # Stripe has what it refuses as a duplicate.
        key = rejection.event_id, rejection.code
        if not rejection.unnamed or "duplicate" in rejection.code or key in self._reports_seen or len(self.reports) >= REPORTS_MAX:
            return
        self._reports_seen.add(key)
        start, end = rejection.window_start_ms or rejection.at_ms, rejection.window_end_ms or rejection.at_ms
        self.reports[key] = ReportWindow(*key, rejection.meter, rejection.unnamed, start, end)

    def found_suspects(self, report: ReportWindow, places: set[CellPlace]) -> None:
        """The cells of what Stripe validated in the window of a report."""
        self.reports.pop((report.event_id, report.code), None)
        for place in sorted(places):
            self.doubt(place, DoubtfulCell(DoubtKind.REFUSED_UNNAMED, report.end_ms))

    def _settle(self, log_time_ms: int, receipt: Receipt) -> None:
        for settlement in receipt.settlements:
            entry = self.ledger.open.get(settlement.intent)
            if entry is not None and settlement.index in entry.open and settlement.outcome is Outcome.UNKNOWN:
                self.doubt(_place(entry.entry.meter_events[settlement.index]), DoubtfulCell(DoubtKind.UNKNOWN, log_time_ms))
        for settlement in self.ledger.news(receipt):
            planned = self.ledger.open[settlement.intent].entry
            place = _place(planned.meter_events[settlement.index])
            self._saw(planned.meter_events[settlement.index], log_time_ms)
            if settlement.outcome is Outcome.PARKED:
                self.doubt(place, DoubtfulCell(DoubtKind.PARKED, log_time_ms))
            elif settlement.outcome in TAKEN:
                self.taken_last = place, settlement.at_ms
                if isinstance(planned, Correction) or place in self.doubts:
                    self.doubt(place, DoubtfulCell(DoubtKind.CORRECTED, log_time_ms))

    def _saw(self, event: MeterEvent, log_time_ms: int) -> None:
        pair = CustomerMeter(event.billed, event.meter)
        if event.is_for_nobody:
            return
        if pair in self.pairs or len(self.pairs) < PAIRS_MAX:
            self.pairs[pair] = log_time_ms

    def _note_evidence(self, log_time_ms: int, evidence: Evidence) -> None:
        self.evidence.take(evidence.findings)
        for found in evidence.findings:
            place = CellPlace(CustomerMeter(found.customer, found.meter), found.start_ms)
            self.unread.pop(place.pair, None)
            if found.verdict.differs and place not in self.doubts and found.end_ms - found.start_ms == HOUR_MS:
                self.doubt(place, DoubtfulCell(DoubtKind.DIFFERS, min(log_time_ms, found.read_at_ms)))


def _place(event: MeterEvent) -> CellPlace:
    return CellPlace(CustomerMeter(event.billed, event.meter), event.time_ms - event.time_ms % HOUR_MS)
