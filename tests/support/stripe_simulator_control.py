"""Short ways to drive the simulator and to ask its oracle."""

from typing import Any

import stripe

from tests.support.stripe_target import Target

ROUTE = "meter_events.create"


async def ready(target: Target, event_name: str = "tokens", customer: str = "cus_1", **meter: Any) -> Any:
    target.control.call("POST", "/_control/customers", {"ids": [customer]})
    return await target.meter(event_name=event_name, **meter)


def books(target: Target, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = target.control.call("GET", f"/_oracle/books{query}")["rows"]
    return rows


def stats(target: Target) -> dict[str, Any]:
    answer: dict[str, Any] = target.control.call("GET", "/_oracle/stats")
    return answer


def configure(target: Target, **sections: object) -> None:
    target.control.call("POST", "/_control/config", sections)


def script(target: Target, kind: str, times: int = 1, **fields: object) -> None:
    target.control.call("POST", "/_control/script", {"route": ROUTE, "kind": kind, "times": times, **fields})


async def outcome(call: Any) -> str:
    try:
        await call
    except stripe.StripeError as error:
        body = error.json_body if isinstance(error.json_body, dict) else {}
        return f"{error.http_status} {body.get('error', {}).get('code')}"
    return "200"
