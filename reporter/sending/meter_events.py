"""What is sent to Stripe for a meter event of an intent, and the port through which it goes."""

from collections.abc import Awaitable, Mapping
from typing import Protocol

from metering.records.ledger_records import MeterEvent
from metering.records.meters import Meter
from metering.records.service_limits import VALUE_MAX
from reporter.sending.verdicts import Verdict


class MeterEventPort(Protocol):
    """Takes meter events to Stripe.

    One call carries one event, also where the protocol takes many in a request (the v2 stream: up to 100). Such an adapter gathers the calls
    that wait at the same moment into one request, and gives each of them the request's verdict: how events are packed is the transport's
    affair, and the lanes, their bounds and their order stay the same for both. Hundreds of calls may be in flight, never two in one lane.
    """

    def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Awaitable[Verdict]:
        """Make one attempt. Awaited, it waits for the network, for a bounded time; it raises only CancelledError.

        A coroutine or a future: an adapter that answers many calls at once needs no task for each.

        `payload` as made by `payload_of`; `identifier` and `idempotency_key` as given by an Attempt; `timestamp_s` is Unix seconds.
        """
        ...

    def take_back(
        self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str
    ) -> Awaitable[Verdict]:
        """As `send`, of a value that is not above zero: always by version 1 of the API, because version 2 drops it after a success."""
        ...

    def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Awaitable[Verdict]:
        """Make one attempt to cancel the meter event with this identifier; otherwise as `send`.

        Stripe cancels within 24 hours of having received the event, and only one that is not cancelled: it refuses otherwise.
        """
        ...

    async def close(self) -> None:
        """Close the connections; attempts still in flight end as interrupted."""
        ...


def payload_of(event: MeterEvent, meter: Meter) -> dict[str, str]:
    """The payload that Stripe's meter reads: who is billed, value and the dimensions, all as text.

    The value is at most VALUE_MAX, and below zero where a correction negates or usage was adjusted.
    """
    # Larger sums would be refused, and cutting one here would change what was agreed in the intent: who merges must stop before.
    assert abs(event.value) <= VALUE_MAX, f"value of {len(str(event.value))} digits"
    return {**dict(event.dimensions), meter.customer_key: event.billed, meter.value_key: str(event.value)}
