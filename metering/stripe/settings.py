"""How to reach Stripe: options of the reporter and of the commands that talk to Stripe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from metering.configuration.secrets import Secret
from metering.configuration.settings import describe, option
from metering.stripe.access import check_api_base, check_key

API_BASE: Final = "https://api.stripe.com"
STREAM_BASE: Final = "https://meter-events.stripe.com"
LIVE_CALLS_PER_SECOND: Final = 1_000  # Stripe's limit for meter events in live mode
LIVE_STREAM_EVENTS_PER_SECOND: Final = 10_000  # Stripe's limit for the meter event stream in live mode
STREAM_EVENTS_PER_CALL: Final = 100  # Stripe's limit for one request of the stream
TEST_CALLS_PER_SECOND: Final = 25  # a sandbox's limit for everything
LIVE_READS_PER_SECOND: Final = 20.0  # Stripe takes 25 of one kind
TEST_READS_PER_SECOND: Final = 5.0  # of the 25, the rest is for what is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    """Section `stripe`."""

    api_key: Secret = option(doc="Secret or restricted key of the account.", alias="STRIPE_API_KEY")
    api_base: str = option(doc="Address of Stripe's API. Change it only for a simulator.", default=API_BASE)
    meter_events_base: str | None = option(
        doc="Address of Stripe's meter event stream; none means Stripe's own, or api_base if that was changed.", default=None
    )
    production: bool = option(doc="Allow a live key, which bills real customers.", default=False)
    meter_events: str = option(
        doc="How meter events are sent: one a call, checked at once (v1), or up to 100 a call, checked by Stripe later (v2_stream).",
        default="v1",
        choices=("v1", "v2_stream"),
    )
    calls_per_second: int | None = option(
        doc="The account's limit on meter events a second, for all reporters together. None means Stripe's limit: 1000 for v1 and 10000 for "
        "v2_stream with a live key, 25 calls with a test key.",
        default=None,
        minimum=1,
        maximum=200_000,
    )
    connections: int = option(doc="Most calls in flight.", default=256, minimum=1, maximum=10_000)
    invoice_grace_seconds: float = option(
        doc="How long after a period's end Stripe keeps its invoice open for usage, as the account's invoice settings say. Alerts and "
        "`taximeter status` use it.",
        default=3600.0,
        unit="seconds",
        minimum=0,
        maximum=72 * 3600,
    )
    reads_per_month: int = option(
        doc="How many reads Stripe grants the account in 30 days: 500 for each transaction, and 10000 at least.",
        default=10_000,
        minimum=0,
        maximum=10_000_000_000,
    )
    timeout_seconds: float = option(doc="How long one call may take.", default=15.0, unit="seconds", minimum=0.1, maximum=120)

    @property
    def stream_base(self) -> str:
        """Where the meter event stream is."""
        if self.meter_events_base is not None:
            return self.meter_events_base
        return STREAM_BASE if self.api_base.rstrip("/") == API_BASE else self.api_base

    @property
    def reads_per_second(self) -> float:
        """Reads of one kind that may begin in a second: a little less than what Stripe takes."""
        return LIVE_READS_PER_SECOND if self.production else TEST_READS_PER_SECOND

    @property
    def streams(self) -> bool:
        """Whether meter events go through the stream."""
        return self.meter_events == "v2_stream"

    @property
    def events_limit(self) -> int:
        """Meter events a second that the account allows."""
        if self.calls_per_second is not None:
            return self.calls_per_second
        if self.streams:
            return LIVE_STREAM_EVENTS_PER_SECOND if self.production else TEST_CALLS_PER_SECOND * STREAM_EVENTS_PER_CALL
        return LIVE_CALLS_PER_SECOND if self.production else TEST_CALLS_PER_SECOND

    @property
    def stream_calls_per_second(self) -> float | None:
        """Requests to the stream that may start in a second; None where only events are limited. A part of the limit is left for others."""
        return None if self.production or self.calls_per_second is not None else TEST_CALLS_PER_SECOND * 0.8

    @property
    def events_in_flight(self) -> int:
        """Meter events that may be under way at once."""
        return self.connections * STREAM_EVENTS_PER_CALL if self.streams else self.connections

    def problems(self) -> tuple[str, ...]:
        """Rules between the fields."""
        found = [check_key(self.api_key.reveal(), self.production)]
        found += [check_api_base(base, self.production) for base in {self.api_base, self.stream_base}]
        return tuple(problem for problem in found if problem is not None)


def stripe_is_configured(file: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether somebody has set a Stripe key, right or wrong."""
    key = next(row for row in describe(StripeSettings, "stripe") if row.key == "api_key")
    names = [name + suffix for name in (key.variable, key.alias) for suffix in ("", "_FILE")]
    table = file.get("stripe")
    return any(environ.get(name) for name in names) or (isinstance(table, Mapping) and key.key in table)
