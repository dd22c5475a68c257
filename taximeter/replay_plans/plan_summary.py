"""What a plan would bill, by meter and billing period and customer; and what of it Stripe would take and bill nobody. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from taximeter_emitter.wire.limits import MINUTE_MS

from metering.plans.current_period import IntoCurrent
from metering.records.adjustment import AdjustedRow
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PLANNING_MARGIN_MS

CUSTOMERS_SHOWN: Final = 10


class BillingState(StrEnum):
    """What becomes of usage of one minute at Stripe. FINAL and TOO_OLD are billed to nobody."""

    OPEN = "open"
    GRACE = "in its grace"  # the period is over, and its invoice still takes usage
    FINAL = "final"
    TOO_OLD = "older than 35 days"
    UNKNOWN = "no period known"

    @property
    def is_billed(self) -> bool:
        """Whether an invoice will have it, as far as is known."""
        return self not in {BillingState.FINAL, BillingState.TOO_OLD}


@dataclass(frozen=True, slots=True)
class PeriodClock:
    """Judges minutes: by the periods of the account, if they were read (`periods`), at the moment `now_ms` (Unix ms)."""

    now_ms: int
    periods: BillingPeriods | None
    grace_s: int

    def state_of(self, customer: str, time_ms: int) -> tuple[BillingState, int]:
        """The state, and the end of the period in Unix seconds, 0 where none is known."""
        if time_ms < self.now_ms - EVENT_AGE_MAX_MS + PLANNING_MARGIN_MS:
            return BillingState.TOO_OLD, 0
        end_s = self.periods.end_s(customer, time_ms) if self.periods is not None else None
        if end_s is None:
            return BillingState.UNKNOWN, 0
        now_s = self.now_ms // 1000
        if now_s < end_s:
            return BillingState.OPEN, end_s
        return (BillingState.GRACE if now_s < end_s + self.grace_s else BillingState.FINAL), end_s


def ended_usage(clock: PeriodClock, periods: BillingPeriods) -> IntoCurrent:
    """What of each customer with a current period is to be brought forward into it: the usage of periods that `clock` says are billed no more."""
    minute_ms = clock.now_ms // MINUTE_MS * MINUTE_MS
    now_s, old_ms = clock.now_ms // 1000, clock.now_ms - EVENT_AGE_MAX_MS + PLANNING_MARGIN_MS
    ended = {}
    for customer in periods.customers():
        if all(periods.end_s(ours, minute_ms) is None for ours in periods.links.customers_of(customer)):
            continue  # nothing bills this customer now
        until_ms = max(old_ms, periods.last_boundary_s(customer, now_s - clock.grace_s) * 1000)
        ranges = [(start * 1000, min(end * 1000, until_ms)) for start, end in periods.covered(customer) if start * 1000 < until_ms]
        if ranges:
            ended.update(dict.fromkeys(periods.links.customers_of(customer), ranges))
    return IntoCurrent(minute_ms, ended)


@dataclass(slots=True)
class StateTotal:
    """Units and rows of one state and meter. Each row is a meter event, where none are merged."""

    units: int = 0
    rows: int = 0
    customers: set[str] = field(default_factory=set)
    closes_s: int | None = None


class CustomerSum(NamedTuple):
    """Units of one customer and meter in one billing period, which ends at `end_s` (Unix seconds; 0: none is known)."""

    customer: str
    meter: str
    state: BillingState
    end_s: int
    units: int


class PlanSummary:
    """Add every row of a plan. Memory: a sum for each customer, meter and billing period."""

    def __init__(self, clock: PeriodClock) -> None:
        self.states: dict[tuple[BillingState, str], StateTotal] = {}
        self.sums: Counter[tuple[str, str, BillingState, int]] = Counter()
        self._clock = clock

    def add(self, row: AdjustedRow) -> None:
        """One row."""
        customer, meter, _, window_ms, quantity, _ = row
        state, end_s = self._clock.state_of(customer, window_ms)
        total = self.states.setdefault((state, meter), StateTotal())
        total.units += quantity
        total.rows += 1
        total.customers.add(customer)
        if state in {BillingState.OPEN, BillingState.GRACE}:
            closes_s = end_s + self._clock.grace_s
            total.closes_s = closes_s if total.closes_s is None else min(closes_s, total.closes_s)
        self.sums[customer, meter, state, end_s] += quantity

    def add_part(self, _partition: int, rows: Sequence[AdjustedRow]) -> None:
        """The rows of a part."""
        for row in rows:
            self.add(row)

    @property
    def unbilled_rows(self) -> int:
        """Rows that Stripe bills to nobody."""
        return sum(total.rows for (state, _), total in self.states.items() if not state.is_billed)

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(total.rows for total in self.states.values())

    def entries(self, *, billed: bool = True) -> list[tuple[str, int]]:
        """Meter and units of each customer and billing period, as a price list takes them: those that are billed, or those that are not."""
        return [(meter, units) for (_, meter, state, _), units in self.sums.items() if state.is_billed is billed]

    def largest(self) -> Sequence[CustomerSum]:
        """Sums of one customer, meter and billing period, as an invoice has them: those of most units, CUSTOMERS_SHOWN at most."""
        sums = (CustomerSum(*key, units) for key, units in self.sums.items() if units)
        return nsmallest(CUSTOMERS_SHOWN, sums, key=lambda each: (-abs(each.units), each))

    def as_json(self) -> dict[str, Any]:
        """For `--json`; units as strings."""
        return {
            "periods": [
                {
                    "state": state.value,
                    "meter": meter,
                    "units": str(total.units),
                    "meter_events": total.rows,
                    "customers": len(total.customers),
                    "billed": state.is_billed,
                    "closes_s": total.closes_s,
                }
                for (state, meter), total in sorted(self.states.items())
            ],
            "unbilled_rows": self.unbilled_rows,
        }
