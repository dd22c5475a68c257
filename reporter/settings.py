"""Options of the reporter."""

from dataclasses import dataclass

from metering.secrets import Secret
from metering.settings import option
from reporter.stripe_access import check_api_base, check_key

LIVE_CALLS_PER_SECOND = 1_000  # Stripe's limit for meter events in live mode
TEST_CALLS_PER_SECOND = 25  # a sandbox's limit for everything


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    """Section `stripe`."""

    api_key: Secret = option(doc="Secret or restricted key of the account.", alias="STRIPE_API_KEY")
    api_base: str = option(doc="Where Stripe's API is; another address only for a simulator.", default="https://api.stripe.com")
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
    def calls_limit(self) -> int:
        """Calls a second that the account allows."""
        if self.calls_per_second is not None:
            return self.calls_per_second
        return LIVE_CALLS_PER_SECOND if self.production else TEST_CALLS_PER_SECOND

    def problems(self) -> tuple[str, ...]:
        """Rules between the fields."""
        found = (check_key(self.api_key.reveal(), self.production), check_api_base(self.api_base, self.production))
        return tuple(problem for problem in found if problem is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    """Section `reporter`."""

    group_id: str = option(doc="Consumer group that shares the partitions among reporters.", default="taximeter-reporter")
    instance_id: str | None = option(
        doc="Name of this instance, unique in the group; with one, a restart within the session timeout moves no partitions.", default=None
    )
    report_seconds: float = option(
        doc="How often what was counted is reported; usage of one customer and window in that time is one meter event.",
        default=60.0,
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    receipt_seconds: float = option(
        doc="How long an outcome may wait to be written to the ledger.", default=0.5, unit="seconds", minimum=0.01, maximum=60
    )
    drain_target_seconds: float = option(
        doc="When sending what waits would take longer than this, windows are merged, up to an hour.",
        default=60.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    rows_max: int = option(doc="Sums that a partition may hold before its reading pauses.", default=50_000, minimum=100, maximum=200_000)
    sends_max: int = option(doc="Meter events that may wait to be sent, over all partitions.", default=300_000, minimum=1_000, maximum=5_000_000)
    probe_seconds: float = option(
        doc="After Stripe refused the key, how often one call finds out whether it is accepted again.",
        default=30.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    stall_seconds: float = option(
        doc="Not ready when usage waits and Stripe took nothing for this long.", default=900.0, unit="seconds", minimum=1, maximum=86_400
    )
