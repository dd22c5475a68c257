"""A counted log, and the rows that plans make of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from taximeter_emitter.wire.limits import MINUTE_MS

from audit.adjustments.plan_derivation import DerivedPart, EarlierPlan, PlanDerivation, earlier_plan
from audit.recount.meter_definitions import KnownCatalogues
from metering.plans.plan_header import PlanHeader, PlannedRange, PlanRule
from metering.plans.usage_selector import EVERYTHING_SELECTED, UsageSelector
from metering.records.adjustment import AdjustedRow, AdjustmentKind
from metering.records.record import Record
from metering.records.tally import Tally

Sums = Counter[tuple[object, ...]]
WHOLE = PlannedRange(0, 10**9, 10**9, "chain")


def a_plan(kind: AdjustmentKind, selector: UsageSelector = EVERYTHING_SELECTED, planned: PlannedRange = WHOLE, **rule: Any) -> PlanHeader:
    """For partition 0."""
    return PlanHeader(PlanRule(kind, **rule), selector, 0, {0: planned}, MINUTE_MS)


def parts_of(header: PlanHeader, records: Sequence[Record], tallies: Sequence[Tally], earlier: Sequence[PlanHeader] = ()) -> list[DerivedPart]:
    """What the plan makes of these tallies, after those plans."""
    return derived(header, records, tallies, earlier)[0]


def derived(
    header: PlanHeader, records: Sequence[Record], tallies: Sequence[Tally], earlier: Sequence[PlanHeader] = ()
) -> tuple[list[DerivedPart], PlanDerivation]:
    before: list[EarlierPlan] = [found for plan in earlier if (found := earlier_plan(plan, 0)) is not None]
    catalogues, derivation = KnownCatalogues(), PlanDerivation(header, 0, before)
    planned, parts = header.ranges[0], []
    for tally in tallies:
        assert catalogues.learn(tally) is None
        if not planned.start <= tally.link.start < planned.end:
            continue
        if derivation.begin_tally(tally, catalogues.of(tally.catalogue)):
            for record in records:
                if tally.link.start <= record.offset < tally.link.end:
                    derivation.take(record)
        parts += derivation.end_tally()
    return parts + derivation.finish(), derivation


def sums_of(*row_lists: Iterable[AdjustedRow]) -> Sums:
    """By customer, meter, dimensions and window: units and events, without what comes to nothing."""
    found: Sums = Counter()
    for rows in row_lists:
        for customer, meter, dimensions, window_ms, quantity, events in rows:
            found[customer, meter, dimensions, window_ms, "units"] += quantity
            found[customer, meter, dimensions, window_ms, "events"] += events
    return Counter({key: number for key, number in found.items() if number})


def units_of(*row_lists: Iterable[AdjustedRow]) -> Sums:
    """The units of `sums_of` alone: a row whose units come to nothing is not written, whatever its events come to."""
    return Counter({key: number for key, number in sums_of(*row_lists).items() if key[-1] == "units"})


def rows_in(parts: Iterable[DerivedPart]) -> list[AdjustedRow]:
    return [row for part in parts for row in part.rows]


def opposite(sums: Sums) -> Sums:
    return Counter({key: -number for key, number in sums.items()})
