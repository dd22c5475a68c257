"""Event summaries: what the read path shows, aggregated by a meter's formula."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.http.pages import Page, read_page
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.metering.books import value_of
from taximeter_sandbox.stripe.metering.meter_events import MeterEvent
from taximeter_sandbox.stripe.metering.meters import Formula, Meter
from taximeter_sandbox.stripe.metering.quantities import Quantity, add
from taximeter_sandbox.stripe.state.assumptions import Assumptions

GROUP_SECONDS = {"hour": 3600, "day": 86_400}
GROUPS_MAX = 20_000


class SummaryQuery(NamedTuple):
    """Validated parameters: a range in Unix seconds and the width of a group, or None for one total."""

    customer: str
    start: int
    end: int
    group_seconds: int | None
    page: Page


def read_query(parameters: Parameters) -> SummaryQuery:
    """Validate the parameters of `GET /v1/billing/meters/{id}/event_summaries`. Raises ApiError."""
    customer = parameters.text("customer", length_max=5000)
    start = parameters.integer("start_time")
    end = parameters.integer("end_time")
    grouping = parameters.optional_choice("value_grouping_window", ("day", "hour"))
    page = read_page(parameters)
    parameters.finish()
    alignment = 60 if grouping is None else GROUP_SECONDS[grouping]
    unit = "minute" if grouping is None else grouping
    for name, value in (("start_time", start), ("end_time", end)):
        if value < 0 or value % alignment:
            raise invalid(f"The {name} must be aligned with {unit} boundaries (UTC).", name)
    if end <= start:
        raise invalid("The end_time must be after the start_time.", "end_time")
    if grouping is not None and (end - start) // alignment > GROUPS_MAX:
        raise invalid(f"The time range covers more than {GROUPS_MAX} groups.", "end_time")
    return SummaryQuery(customer, start, end, None if grouping is None else alignment, page)


def aggregate(formula: Formula, events: Iterable[MeterEvent], assumptions: Assumptions) -> Quantity:
    """The value of a meter over some events; 0 for none."""
    if formula == "count":
        return sum(1 for _ in events)
    if formula == "last":
        by_timestamp = assumptions.last_goes_by == "timestamp"
        latest = max(events, key=lambda event: (event.timestamp if by_timestamp else 0, event.sequence), default=None)
        return 0 if latest is None else value_of(latest)
    values = [value_of(event) for event in events]
    total: Quantity = sum(value for value in values if isinstance(value, int))
    for value in values:
        if not isinstance(value, int):
            total = add(total, value)
    return total


def summarise(meter: Meter, query: SummaryQuery, events: Iterable[MeterEvent], assumptions: Assumptions) -> list[dict[str, object]]:
    """The `billing.meter_event_summary` rows of one customer. The value is a float, as Stripe's is: exact to 2^53."""
    last = query.end if assumptions.summary_end == "inclusive" else query.end - 1
    inside = [event for event in events if query.start <= event.timestamp <= last]
    if query.group_seconds is None:
        return [_row(meter, query.customer, query.start, query.end, aggregate(meter.formula, inside, assumptions))]
    width = query.group_seconds
    groups: dict[int, list[MeterEvent]] = {}
    if assumptions.empty_groups == "zero":
        groups = {start: [] for start in range(query.start, query.end, width)}
    for event in inside:
        start = min(event.timestamp // width * width, query.end - width)
        groups.setdefault(start, []).append(event)
    ordered = sorted(groups, reverse=assumptions.summary_order == "descending")
    return [_row(meter, query.customer, start, start + width, aggregate(meter.formula, groups[start], assumptions)) for start in ordered]


def _row(meter: Meter, customer: str, start: int, end: int, value: Quantity) -> dict[str, object]:
    fields = "".join(f"{len(field)}:{field}" for field in (meter.id, customer, str(start), str(end)))
    digest = hashlib.blake2b(fields.encode(), digest_size=12).hexdigest()
    return {
        "id": f"mtrusg_{'' if meter.livemode else 'test_'}{digest}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(value),
        "end_time": end,
        "livemode": meter.livemode,
        "meter": meter.id,
        "start_time": start,
    }
