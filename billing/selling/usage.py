"""Usage as Stripe's summaries show it: what arrived, was valid, and has been added up so far.

Summaries lag behind what was sent, by seconds to minutes, and Stripe says nowhere how far they are. They are floating-point numbers: whole ones
are exact below 2**53.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

import stripe

from billing.calls import NotPossible, all_rows
from metering.stripe.client import PAGE_ROWS
from metering.stripe.sums import quantity

if TYPE_CHECKING:
    from stripe.params.billing import MeterListEventSummariesParams, MeterListParams

By = Literal["hour", "day", "total"]

SECONDS_OF: Final[dict[By, int]] = {"total": 60, "hour": 3600, "day": 86_400}
METERS_LISTED_MAX: Final = 2_000
GROUPS_MAX: Final = 10_000
# Stripe names no limit for the groups of one list; a month of hours is asked for at a time.
_GROUPS_OF_A_CALL: Final = 744


@dataclass(frozen=True, slots=True)
class MeterAtStripe:
    """A meter that exists."""

    id: str
    event_name: str
    active: bool
    formula: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one hour, day or range `[start, end)`, in Unix seconds. `exact` says that the value is the sum to the unit."""

    start: int
    end: int
    value: int | Decimal
    exact: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one customer on one meter in `[start, end)`, oldest row first; hours and days without usage are not listed."""

    customer: str
    meter: MeterAtStripe
    by: By
    start: int
    end: int
    rows: tuple[UsageRow, ...]

    @property
    def total(self) -> int | Decimal:
        """The sum of the rows; with several rows of a meter of the formula `last` it means nothing: see `adds_up`."""
        return sum((row.value for row in self.rows), start=0)

    @property
    def adds_up(self) -> bool:
        """Whether the rows have a sum: latest values have none."""
        return self.by == "total" or self.meter.formula != "last"

    @property
    def exact(self) -> bool:
        """Whether the total is the sum to the unit."""
        return all(row.exact for row in self.rows)


def aligned(start: int, end: int, by: By) -> tuple[int, int]:
    """The smallest range of full minutes (for a total), hours or UTC days around `[start, end)`: Stripe takes no other."""
    width = SECONDS_OF[by]
    return start // width * width, -(-end // width) * width


async def find_meter(client: stripe.StripeClient, event_name: str) -> MeterAtStripe:
    """The meter with this event name; of Stripe's there is one at most. Raises NotPossible when there is none, and names those there are."""

    async def fetch(after: str | None) -> stripe.ListObject[stripe.billing.Meter]:
        params: MeterListParams = {"limit": PAGE_ROWS}
        if after is not None:
            params["starting_after"] = after
        return await client.v1.billing.meters.list_async(params)

    found: list[stripe.billing.Meter] = await all_rows(fetch, what="meters", rows_max=METERS_LISTED_MAX)
    for meter in sorted(found, key=lambda one: one.status != "active"):
        if meter.event_name == event_name:
            return MeterAtStripe(meter.id, meter.event_name, meter.status == "active", meter.default_aggregation.formula)
    names = _some(meter.event_name for meter in found)
    raise NotPossible(f"this account has no meter {event_name!r}; it has {names}. `taximeter stripe setup` makes those of the settings file")


async def read_usage(client: stripe.StripeClient, meter: MeterAtStripe, customer: str, *, start: int, end: int, by: By) -> Usage:
    """The usage of a customer between two times in Unix seconds, widened to what Stripe's summaries can show (see `aligned`).

    Raises NotPossible for an empty or too long range and for a customer that Stripe does not know.
    """
    if end <= start:
        raise NotPossible("the range ends before it begins")
    start, end = aligned(start, end, by)
    width = end - start if by == "total" else SECONDS_OF[by]
    if (end - start) // width > GROUPS_MAX:
        raise NotPossible(f"the range has more than {GROUPS_MAX:,} {by}s; ask for less, or by day, or for the total")
    rows: dict[int, UsageRow] = {}
    step = width * _GROUPS_OF_A_CALL
    for first in range(start, end, step):
        for row in await _summaries(client, meter, customer, start=first, end=min(end, first + step), by=by):
            value, exact = quantity(row.aggregated_value)
            if value or by == "total":
                rows[row.start_time] = UsageRow(row.start_time, row.end_time, value, exact)
    return Usage(customer, meter, by, start, end, tuple(rows[begin] for begin in sorted(rows)))


async def _summaries(
    client: stripe.StripeClient, meter: MeterAtStripe, customer: str, *, start: int, end: int, by: By
) -> list[stripe.billing.MeterEventSummary]:
    async def fetch(after: str | None) -> stripe.ListObject[stripe.billing.MeterEventSummary]:
        params: MeterListEventSummariesParams = {"customer": customer, "start_time": start, "end_time": end, "limit": PAGE_ROWS}
        if by != "total":
            params["value_grouping_window"] = by
        if after is not None:
            params["starting_after"] = after
        return await client.v1.billing.meters.event_summaries.list_async(meter.id, params)

    try:
        return await all_rows(fetch, what="summaries", rows_max=GROUPS_MAX)
    except stripe.InvalidRequestError as error:
        if error.param != "customer":
            raise
        raise NotPossible(f"there is no customer {customer!r} in this account; `taximeter stripe customer list` shows who there is") from None


def _some(names: Iterable[str], shown: int = 20) -> str:
    listed = sorted(set(names))
    return (", ".join(listed[:shown]) or "none") + (f" and {len(listed) - shown} more" if len(listed) > shown else "")
