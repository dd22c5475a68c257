"""Whose meter events an error report may be about that counts more than it names. Pure: entries are handed in, in log order."""

from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CustomerMeter
from metering.records.ledger_records import Entry, Receipt
from reporter.comparing.doubt_book import CellPlace, ReportWindow

SUSPECTS_MAX: Final = 5_000
TOLD_BEFORE_MS: Final = HOUR_MS  # how much earlier than Stripe validated it something may have been sent; verify asks for answers of as many


class ReportSuspects:
    """The cells of the meter of which something was settled in the window of a report. `ledger` is an empty fold placed where the reading begins."""

    def __init__(self, report: ReportWindow, ledger: Ledger) -> None:
        self.places: set[CellPlace] = set()
        self._report = report
        self._ledger = ledger

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            for settlement in self._ledger.news(entry):
                event = self._ledger.open[settlement.intent].entry.meter_events[settlement.index]
                told = self._report.start_ms - TOLD_BEFORE_MS <= settlement.at_ms <= self._report.end_ms
                if told and self._report.meter in {"", event.meter} and len(self.places) < SUSPECTS_MAX:
                    self.places.add(CellPlace(CustomerMeter(event.billed, event.meter), event.time_ms - event.time_ms % HOUR_MS))
        self._ledger.fold(offset, log_time_ms, entry)
