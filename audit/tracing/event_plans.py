"""What plans of adjustments did to one event that was counted. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from audit.adjustments.plan_derivation import definition_of
from audit.recount.derived_rows import made_of
from audit.recount.meter_definitions import MeterDefinition
from audit.tracing.event_search import EventAt
from metering.plans.plan_header import PlanHeader, header_from
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import Adjustment, AdjustmentKind
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import Tally
from metering.records.window import window_start


@dataclass(slots=True)
class EventPlan:
    """A plan that means the event. `units`: by meter, what it adds to the event's customer. `tallies`: offsets of its parts that have a row of this
    customer and minute; none: they are not written yet. `to_customer`: who has the units instead. `minute_ms`: the minute that the row is of.
    """

    plan: str
    kind: AdjustmentKind
    by: str
    reason: str
    units: dict[str, int]
    to_customer: str
    minute_ms: int
    tallies: list[int] = field(default_factory=list)


class EventPlans:
    """Take the accepted adjustments of the event's partition in order, from its tally on. `units`: by meter, what it was counted as."""

    def __init__(self, partition: int, event: EventAt, units: Mapping[str, int]) -> None:
        self.found: dict[str, EventPlan] = {}
        self._partition = partition
        self._event = event
        self._units: Counter[str] = Counter(units)
        self._taken: dict[str, UsageSelector] = {}

    def take(self, offset: int, tally: Tally, adjustment: Adjustment) -> None:
        """The next one."""
        if adjustment.header is not None and adjustment.plan not in self.found:
            try:
                self._begin(adjustment, header_from(adjustment.header))
            except (RecordCorrupt, ValueError):
                return  # `verify` names it
        plan = self.found.get(adjustment.plan)
        if plan is not None and any(self._is_of(plan, row.customer, row.meter, row.window_start_ms) for row in tally.rows):
            plan.tallies.append(offset)

    def _is_of(self, plan: EventPlan, customer: str, meter: str, window_ms: int) -> bool:
        return customer == self._event.customer and meter in plan.units and window_ms == plan.minute_ms

    def _begin(self, adjustment: Adjustment, header: PlanHeader) -> None:
        units = self._reverted(header) if header.rule.kind is AdjustmentKind.REVERT else self._changed(adjustment.plan, header)
        if not units:
            return
        self._units.update(units)
        customer, rule = self._event.customer, header.rule
        minute_ms = window_start(self._event.time_ms, header.window_ms)
        if rule.kind is AdjustmentKind.REVERT:
            minute_ms = self.found[rule.reverts].minute_ms
        if rule.into is not None:
            minute_ms = rule.into.minute_of(customer, minute_ms)
        self.found[adjustment.plan] = EventPlan(adjustment.plan, rule.kind, adjustment.by, adjustment.reason, units, rule.to_customer, minute_ms)

    def _reverted(self, header: PlanHeader) -> dict[str, int]:
        target = self.found.get(header.rule.reverts)
        self._taken.pop(header.rule.reverts, None)
        return {} if target is None else {meter: -units for meter, units in target.units.items()}

    def _changed(self, plan: str, header: PlanHeader) -> dict[str, int]:
        rule, selector = header.rule, header.selector
        if not self._means(header):
            return {}
        if rule.kind is AdjustmentKind.COUNT:
            definition = definition_of(header)
            assert definition is not None, "of a COUNT plan"
            return {} if any(taken.takes_meter(definition.name) for taken in self._taken.values()) else self._counted(definition)
        if rule.kind not in {AdjustmentKind.TAKE_OUT, AdjustmentKind.MOVE} or rule.to_customer == self._event.customer:
            return {}
        found = {meter: -units for meter, units in self._units.items() if units and selector.takes_meter(meter)}
        self._taken[plan] = selector
        return found

    def _counted(self, definition: MeterDefinition) -> dict[str, int]:
        new = made_of(dict(self._event.usage), definition) if definition.is_for(self._event.dimensions) else 0
        more = new - self._units[definition.name]
        return {definition.name: more} if more else {}

    def _means(self, header: PlanHeader) -> bool:
        event, planned, selector = self._event, header.ranges.get(self._partition), header.selector
        return (
            planned is not None
            and planned.start <= event.offset < planned.end
            and selector.takes_record(event.offset, event.log_time_ms)
            and selector.takes_source(event.emitter or event.source)
            and selector.takes_customer(event.customer)
            and selector.takes_time(event.time_ms)
        )
