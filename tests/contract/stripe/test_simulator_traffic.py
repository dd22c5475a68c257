"""What stands between a call and its effect: lanes, idempotency keys, limits, keys, and faults on demand."""

import asyncio
import contextlib
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest
import stripe

from tests.support.stripe_simulator_control import ROUTE, books, configure, outcome, ready, script, stats
from tests.support.stripe_target import Target, client_of, refused


@pytest.mark.parametrize(("reading", "status", "code"), [("conflict", 409, "too_many_concurrent_requests"), ("lock_timeout", 429, "lock_timeout")])
async def test_one_call_at_a_time_per_customer_and_meter(simulator: Target, reading: str, status: int, code: str) -> None:
    await ready(simulator)
    await ready(simulator, "other", "cus_2")
    configure(simulator, assumptions={"concurrency": reading}, latency={ROUTE: {"median_ms": 300}})
    lanes = [("tokens", "cus_1"), ("tokens", "cus_1"), ("tokens", "cus_2"), ("other", "cus_1")]
    outcomes = await asyncio.gather(*(outcome(simulator.send(event_name, customer, 1)) for event_name, customer in lanes))
    assert Counter(outcomes) == {"200": 3, f"{status} {code}": 1}
    assert stats(simulator)["peak_calls_per_lane"] == 2
    assert await outcome(simulator.send("tokens", "cus_1", 1)) == "200"


async def test_a_call_in_progress_holds_its_idempotency_key(simulator: Target) -> None:
    await ready(simulator)
    configure(simulator, latency={ROUTE: {"median_ms": 300}})
    outcomes = await asyncio.gather(*(outcome(simulator.send("tokens", "cus_1", 1, key="k", identifier="a")) for _ in range(2)))
    assert sorted(outcomes) == ["200", "409 idempotency_key_in_use"]
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="k", identifier="a")) == "200"
    assert books(simulator)[0]["events"] == 1


async def test_what_is_kept_under_an_idempotency_key(simulator: Target) -> None:
    """Errors of a started endpoint are; refused parameters, limits and 401 are not."""
    await ready(simulator)
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="kept", identifier="a")) == "200"
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="duplicate", identifier="a")) == "400 None"
    error = await refused(simulator.send("tokens", "cus_1", 1, key="duplicate", identifier="a"))
    assert error.headers is not None
    assert (error.headers["idempotent-replayed"], error.headers["stripe-should-retry"]) == ("true", "false")
    assert "original-request" in error.headers
    assert await outcome(simulator.send("tokens", "cus_1", "abc", key="free")) == "400 meter_event_invalid_value"
    script(simulator, "rate_limited")
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="free")) == "429 rate_limit"
    script(simulator, "key_revoked")
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="free")) == "401 api_key_expired"
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="free")) == "200"
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 24 * 3_600_000})
    assert await outcome(simulator.send("tokens", "cus_1", 1, key="kept", identifier="a")) == "200"
    assert stats(simulator)["counted_again"] == 1


async def test_a_500_is_replayed_under_its_key_and_its_effect_depends_on_when_it_struck(simulator: Target) -> None:
    await ready(simulator)
    for kind, next_outcome in (("server_error_before", "200"), ("server_error_after", "400 None")):
        script(simulator, kind)
        assert await outcome(simulator.send("tokens", "cus_1", 1, key=kind, identifier=kind)) == "500 None"
        assert await outcome(simulator.send("tokens", "cus_1", 1, key=kind, identifier=kind)) == "500 None"
        assert await outcome(simulator.send("tokens", "cus_1", 1, key=f"{kind}2", identifier=kind)) == next_outcome
    assert books(simulator)[0] == {"event_name": "tokens", "customer": "cus_1", "total": "2", "events": 2}


@pytest.mark.parametrize(("kind", "events"), [("reset_before", 0), ("reset_after", 1), ("hang_before", 0), ("hang_after", 1)])
async def test_a_lost_connection_leaves_the_outcome_unknown(simulator: Target, kind: str, events: int) -> None:
    await ready(simulator)
    script(simulator, kind, delay_ms=300)
    with pytest.raises(stripe.APIConnectionError):
        await simulator.send("tokens", "cus_1", 1, identifier="a")
    assert len(simulator.control.call("GET", "/_oracle/events")["events"]) == events
    assert await outcome(simulator.send("tokens", "cus_1", 1, identifier="a")) == ("400 None" if events else "200")
    assert books(simulator)[0]["events"] == 1
    assert stats(simulator)["faults"] == {ROUTE: {kind: 1}}


async def test_a_truncated_answer_is_no_stripe_error(simulator: Target) -> None:
    await ready(simulator)
    script(simulator, "truncate_after")
    with pytest.raises(aiohttp.ClientPayloadError):
        await simulator.send("tokens", "cus_1", 1, identifier="a")
    assert books(simulator)[0]["events"] == 1


async def test_other_faults_arrive_as_stripe_sends_them(simulator: Target) -> None:
    await ready(simulator)
    kinds = {
        "rate_limited": (stripe.RateLimitError, 429),
        "lock_timeout": (stripe.RateLimitError, 429),
        "conflict": (stripe.APIError, 409),
        "bad_gateway_before": (stripe.APIError, 502),
        "key_revoked": (stripe.AuthenticationError, 401),
        "forbidden": (stripe.PermissionError, 403),
    }
    for kind, (kind_of_error, status) in kinds.items():
        script(simulator, kind)
        error = await refused(simulator.send("tokens", "cus_1", 1, identifier="a"))
        assert type(error) is kind_of_error
        assert error.http_status == status
    assert books(simulator) == []
    script(simulator, "rate_limited", reason="global-concurrency", should_retry=True)
    error = await refused(simulator.send("tokens", "cus_1", 1))
    assert error.headers is not None
    assert (error.headers["stripe-rate-limited-reason"], error.headers["stripe-should-retry"]) == ("global-concurrency", "true")
    script(simulator, "lock_timeout")
    error = await refused(simulator.send("tokens", "cus_1", 1))
    assert error.headers is not None
    assert "stripe-rate-limited-reason" not in error.headers


async def test_an_outage_stops_stripe_but_not_the_control_api(simulator: Target) -> None:
    await ready(simulator)
    for mode in ("reset", "server_error", "bad_gateway"):
        configure(simulator, outage=mode)
        await refused(simulator.send("tokens", "cus_1", 1))
    configure(simulator, outage="off")
    assert await outcome(simulator.send("tokens", "cus_1", 1)) == "200"
    assert books(simulator)[0]["events"] == 1


async def test_random_faults_lose_nothing_that_was_acknowledged(simulator: Target) -> None:
    """A client that repeats the identifier under a new key until it hears 200 or duplicate ends with exact books."""
    await ready(simulator)
    kinds = (
        "server_error_before",
        "server_error_after",
        "reset_before",
        "reset_after",
        "truncate_after",
        "bad_gateway_after",
        "rate_limited",
        "conflict",
    )
    configure(
        simulator, faults={ROUTE: [{"kind": kind, "probability": 0.06} for kind in kinds]}, latency={ROUTE: {"distribution": "uniform", "p99_ms": 4}}
    )
    simulator.control.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(10)]})

    async def deliver(customer: str) -> None:
        for number in range(20):
            for _ in range(100):
                with contextlib.suppress(stripe.APIConnectionError, aiohttp.ClientError):
                    if await outcome(simulator.send("tokens", customer, number, identifier=f"{customer}:{number}")) in ("200", "400 None"):
                        break

    await asyncio.gather(*(deliver(f"cus_{number}") for number in range(10)))
    assert [(row["total"], row["events"]) for row in books(simulator)] == [("190", 20)] * 10
    counted = stats(simulator)
    assert set(counted["faults"][ROUTE]) == set(kinds)
    assert counted["peak_calls_per_lane"] == 1
    assert counted["counted_again"] == 0


async def test_limits_refuse_with_a_reason(simulator: Target) -> None:
    made = await ready(simulator)
    configure(simulator, limits={"meter_events_per_second": 5, "endpoint_per_second": 3, "global_per_second": 4})
    errors = [error for error in await asyncio.gather(*(_error(simulator.send("tokens", "cus_1", 1)) for _ in range(8))) if error is not None]
    assert {error.headers["stripe-rate-limited-reason"] for error in errors if error.headers is not None} == {"endpoint-rate"}
    assert 2 <= len(errors) <= 3
    retrieve = simulator.client.v1.billing.meters.retrieve_async
    assert sum([await _error(retrieve(made.id)) is not None for _ in range(5)]) in (1, 2)


async def _error(call: Any) -> stripe.RateLimitError | None:
    try:
        await call
    except stripe.RateLimitError as error:
        return error
    return None


async def test_restricted_and_revoked_keys(simulator: Target, http_client: stripe.HTTPClient) -> None:
    await ready(simulator)
    configure(simulator, keys={"restricted": {"rk_test_events1234": ["billing_meter_event_write"]}, "revoked": ["sk_test_old12345"]})
    limited = client_of(simulator.control.url, http_client, "rk_test_events1234")
    payload = {"stripe_customer_id": "cus_1", "value": "1"}
    await limited.v1.billing.meter_events.create_async({"event_name": "tokens", "payload": payload})
    error = await refused(limited.v1.customers.list_async())
    assert isinstance(error, stripe.PermissionError)
    assert "rk_test_events1234" not in str(error)
    error = await refused(client_of(simulator.control.url, http_client, "sk_test_old12345").v1.customers.list_async())
    assert isinstance(error, stripe.AuthenticationError)
    assert "sk_test_old12345" not in json.dumps(simulator.control.call("GET", "/_control/config"))
