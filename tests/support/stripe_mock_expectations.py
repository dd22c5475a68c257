"""What stripe-mock refuses of our calls, and why that is right."""

from collections.abc import Iterable

from tests.support.stripe_mock_recording import Exchange

_V2 = "Stripe's OpenAPI document, which stripe-mock serves, has version 1 of the API only; tests/contract/stripe has the simulator's"
UNKNOWN_PATHS = {
    "POST /v2/billing/meter_event_session": _V2,
    "POST /v2/billing/meter_event_stream": _V2,
    "GET /v2/core/events": _V2,
    "GET /v2/core/events/evt_1": _V2,
    "GET /v2/core/event_destinations": _V2,
    "POST /v2/core/event_destinations": _V2,
}
# Wrong on purpose, so that it has no effect: by the refusal one sees that the key may do it.
PROBES = {"POST /v1/billing/meter_events": "is required"}


def malformed(exchanges: Iterable[Exchange], *, probes: bool = False) -> list[str]:
    """The requests that stripe-mock refused and should not have."""
    found = []
    for exchange in exchanges:
        call = f"{exchange.method} {exchange.path}"
        is_known_to_be_unknown = call in UNKNOWN_PATHS and exchange.status == 404 and "Unrecognized request URL" in exchange.message
        is_probe = probes and call in PROBES and exchange.status == 400 and PROBES[call] in exchange.message
        if exchange.status >= 400 and not is_known_to_be_unknown and not is_probe:
            found.append(f"{call}?{exchange.query}: {exchange.status} {exchange.message}")
    return found
