"""How far usage has come at one moment: events counted, units reported, and the next invoice."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from billing.money import main_units
from taximeter_sandbox.demo.watching import parse_metrics, total


@dataclass(frozen=True, slots=True)
class Bill:
    """`reported`: units that Stripe has taken. `total` is in the smallest unit of `currency`."""

    counted: int
    duplicates: int
    reported: int
    total: int
    currency: str

    @property
    def money(self) -> str:
        """The next invoice in money."""
        return f"{main_units(self.total, self.currency)} {self.currency.upper()}"

    def line(self) -> str:
        """For people, in 80 columns with a time before it."""
        events = f"{self.counted:,} event{'' if self.counted == 1 else 's'} counted"
        again = f" ({self.duplicates:,} sent again)" if self.duplicates else ""
        return f"{events}{again}, {self.reported:,} units reported, next invoice {self.money}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "events_counted": self.counted,
            "duplicates": self.duplicates,
            "units_reported": self.reported,
            "next_invoice": {"total": self.total, "currency": self.currency, "text": self.money},
        }


async def counted_and_reported(aggregator_url: str, reporter_url: str) -> tuple[int, int, int]:
    """Events counted, events that were duplicates, and units reported, by the services' metrics. Raises aiohttp.ClientError, TimeoutError."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0), raise_for_status=True) as session:
        pages = []
        for url in (aggregator_url, reporter_url):
            async with session.get(f"{url}/metrics") as response:
                pages.append(parse_metrics(await response.text()))
    aggregator, reporter = pages
    counted = total(aggregator, "taximeter_aggregator_events_total", outcome="counted")
    duplicates = total(aggregator, "taximeter_aggregator_events_total", outcome="duplicate")
    reported = total(reporter, "taximeter_reporter_quantity_total")
    return int(counted), int(duplicates), int(reported)
