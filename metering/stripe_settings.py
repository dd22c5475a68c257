"""How to reach Stripe: options of the reporter and of the commands that talk to Stripe."""

from dataclasses import dataclass
from typing import Final

from metering.secrets import Secret
from metering.settings import option
from metering.stripe_access import check_api_base, check_key

API_BASE: Final = "https://api.stripe.com"
STREAM_BASE: Final = "https://meter-events.stripe.com"
LIVE_CALLS_PER_SECOND: Final = 1_000  # Stripe's limit for meter events in live mode
TEST_CALLS_PER_SECOND: Final = 25  # a sandbox's limit for everything


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    """Section `stripe`."""

    api_key: Secret = option(doc="Secret or restricted key of the account.", alias="STRIPE_API_KEY")
    api_base: str = option(doc="Where Stripe's API is; another address only for a simulator.", default=API_BASE)
    meter_events_base: str | None = option(
        doc="Where Stripe's meter event stream is; none means Stripe's own, and with another api_base that one.", default=None
    )
    production: bool = option(doc="Allow a live key, which bills real customers.", default=False)
    calls_per_second: int | None = option(
        doc="The account's limit on meter event calls, for all reporters together; none means 1000 with a live key and 25 with a test key.",
        default=None,
        minimum=1,
        maximum=100_000,
    )
    connections: int = option(doc="Calls in flight at most.", default=256, minimum=1, maximum=10_000)
    timeout_seconds: float = option(doc="How long one call may take.", default=15.0, unit="seconds", minimum=0.1, maximum=120)

    @property
    def stream_base(self) -> str:
        """Where the meter event stream is."""
        if self.meter_events_base is not None:
            return self.meter_events_base
        return STREAM_BASE if self.api_base.rstrip("/") == API_BASE else self.api_base

    @property
    def calls_limit(self) -> int:
        """Calls a second that the account allows."""
        if self.calls_per_second is not None:
            return self.calls_per_second
        return LIVE_CALLS_PER_SECOND if self.production else TEST_CALLS_PER_SECOND

    def problems(self) -> tuple[str, ...]:
        """Rules between the fields."""
        found = [check_key(self.api_key.reveal(), self.production)]
        found += [check_api_base(base, self.production) for base in {self.api_base, self.stream_base}]
        return tuple(problem for problem in found if problem is not None)
