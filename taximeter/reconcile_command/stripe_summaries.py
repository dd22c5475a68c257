"""Stripe's summaries as `reconcile` asks for them."""

from collections.abc import Mapping
from typing import Final

import stripe

from billing.calls import NotPossible
from billing.selling.usage import By, MeterAtStripe, find_meter, read_usage
from metering.reconciliation.cells import CellScope
from metering.reconciliation.reconciler import SummariesRefused, SummaryValue
from metering.stripe.client import PAGE_ROWS

_WINDOW: Final[dict[int, By]] = {3_600_000: "hour", 86_400_000: "day"}


class StripeSummaries:
    """Asks Stripe. Meters are looked up once each."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self._meters: dict[str, MeterAtStripe] = {}

    def calls(self, scope: CellScope) -> int:
        """One page of cells a call."""
        return -(-((scope.to_ms - scope.from_ms) // scope.width_ms) // PAGE_ROWS)

    async def sums(self, customer: str, meter: str, scope: CellScope) -> Mapping[int, SummaryValue]:
        """By the start of each cell with usage. Raises SummariesRefused, and what the library raises after its retries."""
        try:
            if meter not in self._meters:
                self._meters[meter] = await find_meter(self._client, meter)
            found = self._meters[meter]
            if found.formula != "sum":
                raise SummariesRefused(f"the meter's formula is {found.formula}: only sums are compared")
            usage = await read_usage(self._client, found, customer, start=scope.from_ms // 1000, end=scope.to_ms // 1000, by=_WINDOW[scope.width_ms])
        except NotPossible as error:
            raise SummariesRefused(str(error)) from None
        return {row.start * 1000: SummaryValue(int(row.value), row.exact) for row in usage.rows}
