"""How far Stripe's summaries lag, measured on one meter event at a time. Pure."""

from collections import deque
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.records.notes.evidence import CellVerdict
from reporter.comparing.doubt_book import CellPlace
from reporter.comparing.questions import Question

WATCH_EVERY_MS: Final = 30 * 60_000
FIRST_LOOK_MS: Final = 5_000
GIVE_UP_MS: Final = 2 * HOUR_MS
FRESH_MS: Final = 60_000  # only what Stripe took a moment ago is watched
MEASURES_KEPT: Final = 48  # a day's


class SummaryLag:
    """Watches the cell of something that Stripe has just taken until the summary shows it, two dozen looks at most."""

    def __init__(self) -> None:
        self._measures: deque[int] = deque(maxlen=MEASURES_KEPT)
        self._place: CellPlace | None = None
        self._began_ms = -WATCH_EVERY_MS
        self._gap_ms = FIRST_LOOK_MS
        self._look_at_ms = 0
        self._unshown_ms = 0

    @property
    def lag_ms(self) -> int | None:
        """The longest of the last day; None before the first measure."""
        return max(self._measures, default=None)

    def settle_ms(self, at_least: int) -> int:
        """How long something may take to be shown: three times the lag."""
        return max(at_least, 3 * (self.lag_ms or 0))

    def question(self, taken_last: tuple[CellPlace, int] | None, now_ms: int) -> Question | None:
        """What to ask now, if anything; `taken_last` is what Stripe took last, and when."""
        if self._place is None:
            if taken_last is None or now_ms < self._began_ms + WATCH_EVERY_MS or not 0 <= now_ms - taken_last[1] <= FRESH_MS:
                return None
            self._place, self._began_ms, self._unshown_ms = taken_last[0], now_ms, 0
            self._gap_ms, self._look_at_ms = FIRST_LOOK_MS, now_ms + FIRST_LOOK_MS
        if now_ms < self._look_at_ms:
            return None
        return Question(self._place.pair, self._place.start_ms, self._place.start_ms + HOUR_MS, self._look_at_ms, doubt=True)

    def read(self, place: CellPlace, verdict: CellVerdict, *, read_at_ms: int, last_told_ms: int) -> None:
        """A comparison of a cell, whose last word in the ledger was at `last_told_ms`."""
        if place != self._place:
            return
        self._gap_ms *= 2
        self._look_at_ms = read_at_ms + self._gap_ms
        if verdict is CellVerdict.ARRIVING or verdict is CellVerdict.MISSING:
            self._unshown_ms = max(self._unshown_ms, read_at_ms - last_told_ms)
        if verdict is CellVerdict.SETTLED or read_at_ms > self._began_ms + GIVE_UP_MS:
            self._measures.append(self._unshown_ms)
            self._place = None
        elif verdict not in {CellVerdict.ARRIVING, CellVerdict.MISSING}:
            self._place = None  # it differs for another reason, and shows nothing of the lag
