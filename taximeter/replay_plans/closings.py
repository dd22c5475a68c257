"""Whether a plan is through before the invoices close that its usage is on. Pure.

Usage that comes when its invoice is closed is billed to nobody. So a plan that is half in the log then has half of it billed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from metering.records.adjustment import AdjustedRow
from taximeter.replay_plans.plan_summary import BillingState, PeriodClock

CLOSING_MARGIN_S: Final = 1800
"""Between the last part that an invoice has and its closing: for the reporter, for what Stripe refuses for a while, and for its own meters."""


class PartClosing(NamedTuple):
    """One part: how many rows it has, and when (Unix seconds) the first invoice closes that has some of them, and whose; 0 if none is known."""

    rows: int
    closes_s: int
    customer: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is left to write: meter events, and seconds until Stripe has them, at most. `late`: the part that would miss its invoice; None: none
    does. `first_s`: when the first invoice closes, 0 if none is known.
    """

    rows: int
    seconds: float
    first_s: int
    late: PartClosing | None


class Closings:
    """Add every part of a plan, by partition and in order. `seconds_per_row`: how long Stripe takes for a row of one partition."""

    def __init__(self, clock: PeriodClock, seconds_per_row: float) -> None:
        self.parts: dict[int, list[PartClosing]] = {}
        self._clock = clock
        self._seconds_per_row = seconds_per_row

    def add_part(self, partition: int, rows: Sequence[AdjustedRow]) -> None:
        """The next part of a partition."""
        closes_s, whose = 0, ""
        for customer, _, _, window_ms, _, _ in rows:
            state, end_s = self._clock.state_of(customer, window_ms)
            if state in {BillingState.OPEN, BillingState.GRACE}:
                closing_s = end_s + self._clock.grace_s
                if not closes_s or closing_s < closes_s:
                    closes_s, whose = closing_s, customer
        self.parts.setdefault(partition, []).append(PartClosing(len(rows), closes_s, whose))

    def outlook(self, done: Mapping[int, int], home: int | None, side_by_side: int, now_s: float) -> Outlook:
        """What is left when `done` parts of each partition are written. `side_by_side` partitions are written at a time, `home` behind all others."""
        first = [partition for partition in self.parts if partition != home]
        free_s = [0.0] * max(1, min(side_by_side, len(first)))
        late: PartClosing | None = None
        closings, rows = [], 0
        for partition in first + [home for home in (home,) if home in self.parts]:
            place = free_s.index(min(free_s))
            at_s = max(free_s) if partition == home else free_s[place]
            for part in self.parts[partition][done.get(partition, 0) :]:
                at_s += part.rows * self._seconds_per_row
                rows += part.rows
                if part.closes_s:
                    closings.append(part.closes_s)
                    if now_s + at_s + CLOSING_MARGIN_S > part.closes_s and (late is None or part.closes_s < late.closes_s):
                        late = part
            free_s[place] = at_s
        return Outlook(rows, max(free_s), min(closings, default=0), late)

    def is_late(self, partition: int, number: int, now_s: float) -> PartClosing | None:
        """The part, if it must not be written any more."""
        part = self.parts[partition][number]
        is_late = part.closes_s and now_s + part.rows * self._seconds_per_row + CLOSING_MARGIN_S > part.closes_s
        return part if is_late else None


PartCheck = Callable[[int, int], None]
"""Asked before each part, and while it waits, with the partition and the part's number; raises NotAdjusted if it must not be written any more."""
