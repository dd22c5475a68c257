"""One meter event by hand, outside of the pipeline: to see that a meter, a price and a customer work together.

It is real to Stripe: it is billed, to this customer, in this period. Taximeter's ledger knows nothing of it, so `taximeter verify` does not
count it, and `taximeter reconcile` shows it as extra.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import stripe

from billing.calls import NotPossible, calling
from billing.selling.usage import MeterAtStripe, read_usage
from metering.records.meters import Meter

if TYPE_CHECKING:
    from stripe.params.billing import MeterEventCreateParams

IDENTIFIER_PREFIX: Final = "taximeter-test-"
TEST_VALUE_MAX: Final = 10**12
OLDEST_S: Final = 35 * 86_400  # Stripe's limits for a timestamp
NEWEST_S: Final = 5 * 60
_DUPLICATE: Final = re.compile(r"An event already exists with identifier")


@dataclass(frozen=True, slots=True)
class SingleEvent:
    """A meter event to be: `timestamp` in Unix seconds, `identifier` unique to it."""

    meter: Meter
    customer: str
    value: int
    timestamp: int
    dimensions: Mapping[str, str] = field(default_factory=dict)
    identifier: str = field(default_factory=lambda: IDENTIFIER_PREFIX + uuid4().hex)

    def problems(self, now: int) -> list[str]:
        """What would make it fail at Stripe, or be billed otherwise than the pipeline's; `now` in Unix seconds."""
        found = [] if 0 < self.value <= TEST_VALUE_MAX else [f"the value must be between 1 and {TEST_VALUE_MAX:,}"]
        if not now - OLDEST_S <= self.timestamp <= now + NEWEST_S:
            found.append("the time must be within the past 35 days and at most 5 minutes ahead: Stripe takes no other")
        unknown = sorted(self.dimensions.keys() - set(self.meter.dimensions))
        if unknown:
            known = ", ".join(self.meter.dimensions) or "none"
            found.append(f"the meter {self.meter.event_name!r} has no dimension {', '.join(unknown)}; it has {known}")
        return found


async def send_event(client: stripe.StripeClient, event: SingleEvent) -> None:
    """Send it. Repetitions after a failure have the same identifier, so that it counts once. Raises what the library raises."""
    payload = {**event.dimensions, event.meter.customer_key: event.customer, event.meter.value_key: str(event.value)}
    params: MeterEventCreateParams = {
        "event_name": event.meter.event_name,
        "payload": payload,
        "identifier": event.identifier,
        "timestamp": event.timestamp,
    }
    try:
        await calling(lambda: client.v1.billing.meter_events.create_async(params, {"idempotency_key": event.identifier}))
    except stripe.InvalidRequestError as error:
        # The first attempt arrived after all.
        if not _DUPLICATE.search(error.user_message or ""):
            raise


async def total_of_the_minute(client: stripe.StripeClient, meter: MeterAtStripe, event: SingleEvent) -> int:
    """What summaries show for the customer in the minute of the event. Raises NotPossible for a meter that is no sum."""
    if meter.formula != "sum":
        raise NotPossible(f"the meter {meter.event_name!r} has the formula {meter.formula!r}: only a sum tells whether one event is in it")
    usage = await read_usage(client, meter, event.customer, start=event.timestamp, end=event.timestamp + 1, by="total")
    return int(usage.total)
