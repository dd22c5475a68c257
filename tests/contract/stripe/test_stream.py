"""Version 2 of the API for metered usage, through the official library: sessions, the stream, synchronous events, adjustments."""

import asyncio
import io
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import stripe

from tests.support.stripe_simulator_control import books, configure, ready, stats
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, Target, client_of, refused

STREAM = "v2.meter_event_stream.create"
SYNCHRONOUS = "v2.meter_events.create"


def written(seconds: int) -> str:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(identifier: str, value: object = 5, *, customer: str = "cus_1", event_name: str = "tokens", **changes: Any) -> dict[str, Any]:
    payload = {"stripe_customer_id": customer, "value": str(value)}
    return {"event_name": event_name, "payload": payload, "identifier": identifier, "timestamp": written(int(time.time()) - 60), **changes}


async def token_of(target: Target) -> str:
    return (await target.client.v2.billing.meter_event_session.create_async()).authentication_token


async def stream(target: Target, token: str, *events: dict[str, Any], key: str | None = None) -> None:
    options: dict[str, Any] = {"api_key": token} if key is None else {"api_key": token, "idempotency_key": key}
    await target.client.v2.billing.meter_event_stream.create_async({"events": list(events)}, options)  # type: ignore[arg-type]  # built from parts


async def create(target: Target, given: dict[str, Any], *, key: str | None = None) -> Any:
    options: dict[str, Any] = {} if key is None else {"idempotency_key": key}
    return await target.client.v2.billing.meter_events.create_async(given, options)  # type: ignore[arg-type]  # built from parts


def code_of(error: stripe.StripeError) -> tuple[int | None, str | None, str | None]:
    """Status, code and type."""
    assert isinstance(error.json_body, dict)
    body = error.json_body["error"]
    return error.http_status, body.get("code"), body.get("type")


async def test_a_session_takes_events_to_the_books(any_stripe: Target) -> None:
    meter = await any_stripe.meter()
    customer = await any_stripe.customer()
    session = await any_stripe.client.v2.billing.meter_event_session.create_async()
    assert session.object == "v2.billing.meter_event_session"
    created, expires = (datetime.fromisoformat(text) for text in (session.created, session.expires_at))
    assert (expires - created).total_seconds() == pytest.approx(900, abs=5)
    assert not session.authentication_token.startswith(("sk_", "rk_"))
    if any_stripe.simulator is not None:
        any_stripe.simulator.call("POST", "/_control/customers", {"ids": [customer]})
    mark = f"{time.time_ns()}"
    await stream(
        any_stripe,
        session.authentication_token,
        *(event(f"{mark}-{number}", number, customer=customer, event_name=meter.event_name) for number in range(1, 4)),
    )

    async def total() -> float:
        return await any_stripe.total(meter.id, customer)

    await any_stripe.until(6.0, total)


async def test_a_token_is_for_the_stream_and_a_key_for_all_else(simulator: Target) -> None:
    await ready(simulator)
    token = await token_of(simulator)
    by_key = await refused(stream(simulator, simulator.api_key, event("a")))
    assert isinstance(by_key, stripe.AuthenticationError)
    assert simulator.api_key not in str(by_key.json_body)
    session = simulator.client.v2.billing.meter_event_session
    assert isinstance(await refused(session.create_async({}, {"api_key": token})), stripe.AuthenticationError)
    meters = simulator.client.v1.billing.meters
    assert isinstance(await refused(meters.list_async({}, {"api_key": token})), stripe.AuthenticationError)
    assert stats(simulator)["events"] == 0


async def test_a_token_expires_after_15_minutes(simulator: Target) -> None:
    await ready(simulator)
    token = await token_of(simulator)
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 14 * 60_000})
    await stream(simulator, token, event("a"))
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    error = await refused(stream(simulator, token, event("b")))
    assert isinstance(error, stripe.TemporarySessionExpiredError)
    assert code_of(error) == (401, "billing_meter_event_session_expired", "temporary_session_expired")
    await stream(simulator, await token_of(simulator), event("b"))
    assert books(simulator)[0]["events"] == 2


async def test_what_the_stream_takes_with_200_and_drops_is_counted_by_reason(simulator: Target) -> None:
    await ready(simulator)
    archived = await ready(simulator, "archived")
    await simulator.client.v1.billing.meters.deactivate_async(archived.id)
    now = int(time.time())
    await stream(
        simulator,
        await token_of(simulator),
        event("good", 7),
        event("a", event_name="nothing"),
        event("b", event_name="archived"),
        event("c", customer="cus_missing"),
        event("d", "many"),
        event("e", "1234567890123456"),
        event("f", timestamp=written(now - 36 * 86_400)),
        event("g", timestamp=written(now + 600)),
        event("h", payload={"value": "1"}),
        event("i", payload={"stripe_customer_id": "cus_1"}),
        event("good", 100),
        key="batch-1",
    )
    (row,) = books(simulator)
    assert (row["total"], row["events"]) == ("7", 1)
    found = stats(simulator)
    assert found["duplicates"] == 1
    assert found["drops"] == {
        "no_meter": 1,
        "archived_meter": 1,
        "meter_event_customer_not_found": 1,
        "meter_event_invalid_value": 1,
        "meter_event_value_too_many_digits": 1,
        "timestamp_too_far_in_past": 1,
        "timestamp_in_future": 1,
        "meter_event_no_customer_defined": 1,
        "meter_event_value_not_found": 1,
    }
    listed = simulator.control.call("GET", "/_oracle/events")["events"]
    assert {item["request_key"] for item in listed} == {"batch-1"}
    assert {item["identifier"]: item["drop_reason"] for item in listed}["a"] == "no_meter"


@pytest.mark.parametrize(
    ("events", "code"),
    [
        pytest.param([event(str(number)) for number in range(101)], "invalid_parameter", id="too many"),
        pytest.param([], "invalid_events", id="none"),
        pytest.param([event("a"), {"event_name": "tokens", "payload": {"value": 5}}], "invalid_parameter", id="a number for a text"),
        pytest.param([event("a"), event("b", timestamp="2026-11-22")], "invalid_timestamp", id="not a time"),
        pytest.param([event("a"), event("b", colour="red")], "parameter_unknown", id="an unknown field"),
        pytest.param([event("a"), event("x" * 101)], "invalid_parameter", id="a long identifier"),
        pytest.param([event("a"), {"payload": {"value": "5"}}], "parameter_missing", id="no event name"),
    ],
)
async def test_a_request_of_wrong_form_is_refused_as_a_whole(simulator: Target, events: list[dict[str, Any]], code: str) -> None:
    await ready(simulator)
    error = await refused(stream(simulator, await token_of(simulator), *events))
    assert code_of(error) == (400, code, None)
    assert stats(simulator)["events"] == 0


async def test_a_refused_request_may_have_taken_what_came_before_the_fault(simulator: Target) -> None:
    await ready(simulator)
    configure(simulator, assumptions={"stream_refusals": "rest"})
    token = await token_of(simulator)
    await refused(stream(simulator, token, event("a"), event("b", timestamp="soon"), event("c")))
    assert [row["identifier"] for row in simulator.control.call("GET", "/_oracle/events")["events"]] == ["a"]


@pytest.mark.parametrize(("reading", "taken"), [("whole", 1), ("rest", 2)])
async def test_duplicates_may_be_refused_instead_of_dropped(simulator: Target, reading: str, taken: int) -> None:
    await ready(simulator)
    configure(simulator, assumptions={"stream_duplicates": "refused", "stream_refusals": reading})
    token = await token_of(simulator)
    await stream(simulator, token, event("a"))
    error = await refused(stream(simulator, token, event("b"), event("a"), event("c")))
    assert code_of(error) == (400, "duplicate_meter_event", None)
    assert books(simulator)[0]["events"] == taken


@pytest.mark.parametrize(("reading", "left"), [("reject", "7"), ("accept", "3")])
async def test_version_1_takes_what_is_below_zero_and_the_stream_drops_it_without_a_word(simulator: Target, reading: str, left: str) -> None:
    await ready(simulator)
    configure(simulator, assumptions={"v2_negative_value": reading})
    await stream(simulator, await token_of(simulator), event("a", 10), event("b", -4))
    await simulator.send("tokens", "cus_1", -3, identifier="c")
    assert [row["total"] for row in books(simulator)] == [left]


async def test_identifiers_are_remembered_across_both_versions_of_the_api(simulator: Target) -> None:
    await ready(simulator)
    await simulator.send("tokens", "cus_1", 5, identifier="a")
    await stream(simulator, await token_of(simulator), event("a"), event("b"))
    assert "already exists" in str(await refused(simulator.send("tokens", "cus_1", 5, identifier="b")))
    assert code_of(await refused(create(simulator, event("a")))) == (400, "duplicate_meter_event", None)
    assert books(simulator)[0]["events"] == 2


async def test_one_customers_events_in_two_requests_at_once_may_conflict(simulator: Target) -> None:
    await ready(simulator)
    configure(simulator, assumptions={"stream_concurrency": "conflict"}, latency={STREAM: {"median_ms": 1000}})
    token = await token_of(simulator)
    async with aiohttp.ClientSession() as session:

        async def post(*events: dict[str, Any]) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.post(f"{simulator.control.url}/v2/billing/meter_event_stream", json={"events": events}, headers=headers) as reply:
                return reply.status

        statuses = await asyncio.gather(post(event("a"), event("b")), post(event("c")), post(event("d", customer="cus_2")))
    assert sorted(statuses) == [200, 200, 409]


async def test_live_mode_takes_ten_thousand_events_a_second_on_the_stream(simulator: Target) -> None:
    await ready(simulator)
    configure(simulator, limits={"stream_events_per_second": 300})
    token = await token_of(simulator)
    outcomes = []
    for request in range(4):
        try:
            await stream(simulator, token, *(event(f"{request}-{number}") for number in range(100)))
            outcomes.append("ok")
        except stripe.RateLimitError as error:
            outcomes.append((error.headers or {})["stripe-rate-limited-reason"])
    assert outcomes[:3] == ["ok"] * 3
    assert outcomes[3] in {"ok", "endpoint-rate"}, "a slow machine fills the bucket again"
    assert books(simulator)[0]["events"] == 100 * outcomes.count("ok")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param(event("x", event_name="nothing"), "no_meter", id="no meter"),
        pytest.param(event("x", event_name="archived"), "archived_meter", id="archived meter"),
        pytest.param(event("x", "many"), "payload_invalid_value", id="invalid value"),
        pytest.param(event("x", payload={"value": "1"}), "payload_no_customer_defined", id="no customer"),
        pytest.param(event("x", payload={"stripe_customer_id": "cus_1"}), "payload_no_value_defined", id="no value"),
        pytest.param(event("taken"), "duplicate_meter_event", id="duplicate"),
        pytest.param(event("x", timestamp="2020-01-01T00:00:00Z"), "timestamp_too_far_in_past", id="too old"),
    ],
)
async def test_a_synchronous_event_is_judged_at_once(simulator: Target, given: dict[str, Any], code: str) -> None:
    await ready(simulator)
    archived = await ready(simulator, "archived")
    await simulator.client.v1.billing.meters.deactivate_async(archived.id)
    taken = await create(simulator, event("taken"), key="first")
    assert (taken.object, taken.identifier, taken.payload["value"]) == ("v2.billing.meter_event", "taken", "5")
    assert code_of(await refused(create(simulator, given))) == (400, code, None)
    assert books(simulator)[0]["events"] == 1


async def test_an_idempotency_key_of_v2_keeps_successes_only(simulator: Target) -> None:
    await ready(simulator)
    given = event("a")
    simulator.control.call("POST", "/_control/script", {"route": SYNCHRONOUS, "kind": "server_error_before"})
    assert code_of(await refused(create(simulator, given, key="k")))[0] == 500
    done = await create(simulator, given, key="k")
    again = await create(simulator, given, key="k")
    assert (done.identifier, done.created) == (again.identifier, again.created)
    assert stats(simulator)["duplicates"] == 0
    mismatch = await refused(create(simulator, event("b"), key="k"))
    assert isinstance(mismatch, stripe.IdempotencyError)


async def test_an_event_of_v2_can_be_cancelled(simulator: Target) -> None:
    await ready(simulator)
    await stream(simulator, await token_of(simulator), event("a"), event("b", 7))
    adjustments = simulator.client.v2.billing.meter_event_adjustments
    done = await adjustments.create_async({"event_name": "tokens", "type": "cancel", "cancel": {"identifier": "a"}})
    assert (done.object, done.cancel.identifier, done.type) == ("v2.billing.meter_event_adjustment", "a", "cancel")
    assert done.id
    again = await refused(adjustments.create_async({"event_name": "tokens", "type": "cancel", "cancel": {"identifier": "a"}}))
    assert code_of(again) == (400, "invalid_cancel_configuration", None)
    assert books(simulator)[0]["total"] == "7"


async def test_forms_and_bodies_that_are_not_objects_are_refused_under_v2(simulator: Target) -> None:
    url = f"{simulator.control.url}/v2/billing/meter_event_session"
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    deep = "[" * 20 + "]" * 20
    async with aiohttp.ClientSession(headers=headers) as session:
        for body, kind, status in (
            ("a=1", "application/x-www-form-urlencoded", 400),
            ("{", "application/json", 400),
            ("[]", "application/json", 400),
            (f'{{"a": {deep}}}', "application/json", 400),
            (f'{{"a": "{"x" * (1 << 20)}"}}', "application/json", 413),
            ("{}", "application/json; charset=utf-8", 200),
            ("", "application/json", 200),
        ):
            async with session.post(url, data=io.BytesIO(body.encode()), headers={"Content-Type": kind}) as reply:
                assert reply.status == status
                if status != 200:
                    assert set((await reply.json())["error"]) == {"code", "message"}
        async with session.post(f"{simulator.control.url}/v2/nothing", json={}) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (404, "unrecognised")


async def test_what_the_stream_answered_survives_a_kill(tmp_path: Any, http_client: stripe.HTTPClient) -> None:
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"))
    process.start()
    target = Target(client_of(process.url, http_client), KEY, 2.0, process)
    await ready(target)
    token = await token_of(target)
    await stream(target, token, event("a"), event("b", event_name="nothing"), key="batch-1")
    before = process.call("GET", "/_oracle/events")["events"]
    process.kill()
    process.start()
    target = Target(client_of(process.url, http_client), KEY, 2.0, process)
    await stream(target, token, event("a"), event("c"))
    after = process.call("GET", "/_oracle/events")["events"]
    assert after[:2] == before
    assert [item["identifier"] for item in after] == ["a", "b", "c"]
    assert process.stop() == 0
