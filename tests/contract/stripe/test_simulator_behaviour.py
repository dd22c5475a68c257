"""What a simulator can be made to show on demand: time, lag, limits, lanes, faults, and the oracle's view of it all."""

import asyncio
import contextlib
import io
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe

from tests.contract.stripe.conftest import KEY, client_of
from tests.contract.stripe.process import SimulatorProcess
from tests.contract.stripe.target import HOUR_S, Target, refused

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


async def test_an_identifier_is_forgotten_after_24_hours_and_usage_is_billed_twice(simulator: Target) -> None:
    await ready(simulator)
    await simulator.send("tokens", "cus_1", 5, identifier="a")
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 24 * 3_600_000 - 60_000})
    assert (await refused(simulator.send("tokens", "cus_1", 5, identifier="a"))).http_status == 400
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    await simulator.send("tokens", "cus_1", 5, identifier="a")
    assert books(simulator) == [{"event_name": "tokens", "customer": "cus_1", "total": "10", "events": 2}]
    counted = stats(simulator)
    assert (counted["duplicates"], counted["counted_again"]) == (1, 1)


async def test_timestamps_are_judged_by_the_simulated_clock(simulator: Target) -> None:
    await ready(simulator)
    now = int(time.time())
    error = await refused(simulator.send("tokens", "cus_1", 1, timestamp=now - 36 * 86_400))
    assert (error.http_status, error.code) == (400, "timestamp_too_far_in_past")
    assert (await refused(simulator.send("tokens", "cus_1", 1, timestamp=now + 3600))).code == "timestamp_in_future"
    assert (await refused(simulator.send("tokens", "cus_1", 1, timestamp=now * 1000))).code == "timestamp_in_future"
    simulator.control.call("POST", "/_control/clock", {"advance_ms": -2 * 86_400_000, "rate": 0})
    await simulator.send("tokens", "cus_1", 1, timestamp=now - 36 * 86_400)


async def test_usage_shows_in_summaries_only_after_the_lag(simulator: Target) -> None:
    made = await ready(simulator)
    simulator.control.call("POST", "/_control/clock", {"rate": 0})
    configure(simulator, processing={"lag_min_ms": 1_000, "lag_max_ms": 60_000})
    for value in (1, 2, 4):
        await simulator.send("tokens", "cus_1", value)
    assert await simulator.total(made.id, "cus_1") == 0.0
    assert simulator.control.call("GET", "/_oracle/books")["events_pending"] == 3
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    assert await simulator.total(made.id, "cus_1") == 7.0
    assert stats(simulator)["events_pending"] == 0


async def test_usage_of_a_missing_or_deleted_customer_is_taken_and_dropped_later(simulator: Target) -> None:
    await ready(simulator)
    gone = await simulator.customer()
    await simulator.client.v1.customers.delete_async(gone)
    for customer in (gone, "cus_nobody", "cus_1"):
        await simulator.send("tokens", customer, 9)
    assert books(simulator) == [{"event_name": "tokens", "customer": "cus_1", "total": "9", "events": 1}]
    assert stats(simulator)["drops"] == {"meter_event_customer_not_found": 2}
    events = simulator.control.call("GET", "/_oracle/events")["events"]
    assert [(event["customer"], event["state"]) for event in events] == [(gone, "dropped"), ("cus_nobody", "dropped"), ("cus_1", "counted")]


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


async def test_formulas_windows_and_custom_keys_reach_the_summaries(simulator: Target) -> None:
    simulator.control.call("POST", "/_control/customers", {"ids": ["cus_1"]})
    hour = int(time.time()) // HOUR_S * HOUR_S
    keys = {"customer_mapping": {"event_payload_key": "who", "type": "by_id"}, "value_settings": {"event_payload_key": "much"}}
    for formula, window, expected in (("sum", None, 60.0), ("count", None, 3.0), ("last", None, 30.0), ("sum", "hour", 20.0)):
        extra = {} if window is None else {"event_time_window": window}
        made = await simulator.meter(default_aggregation={"formula": formula}, **keys, **extra)
        for value, offset in ((10, 10), (30, 30), (20, 20)):
            await simulator.send(made.event_name, "", 0, payload={"who": "cus_1", "much": str(value), "model": "m"}, timestamp=hour - HOUR_S + offset)
        assert await simulator.total(made.id, "cus_1") == expected


async def test_lists_are_paged_by_ten(simulator: Target) -> None:
    simulator.control.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(25)]})
    page = await simulator.client.v1.customers.list_async()
    assert (len(page.data), page.has_more, page.data[0].id) == (10, True, "cus_24")
    assert len([customer.id async for customer in page.auto_paging_iter()]) == 25
    made = await simulator.meter()
    hour = int(time.time()) // HOUR_S * HOUR_S
    for number in range(12):
        await simulator.send(made.event_name, "cus_1", 1, timestamp=hour - number * HOUR_S)
    summaries = simulator.client.v1.billing.meters.event_summaries
    first = await summaries.list_async(
        made.id, {"customer": "cus_1", "start_time": hour - 20 * HOUR_S, "end_time": hour + HOUR_S, "value_grouping_window": "hour"}
    )
    assert (len(first.data), first.has_more) == (10, True)
    assert len({row.id async for row in first.auto_paging_iter()}) == 12


async def test_the_oracle_groups_narrows_streams_and_resets(simulator: Target) -> None:
    await ready(simulator)
    hour = int(time.time()) // HOUR_S * HOUR_S
    simulator.control.call("POST", "/_control/customers", {"ids": ["cus_2"]})
    for customer, model, value, timestamp in (
        ("cus_1", "a", "1.5", hour),
        ("cus_1", "b", "2", hour - 1),
        ("cus_1", "a", "4", hour),
        ("cus_2", "a", "8", hour),
    ):
        await simulator.send("tokens", customer, 0, payload={"stripe_customer_id": customer, "value": value, "model": model}, timestamp=timestamp)
    rows = books(simulator, "?group=dimensions,hour&customer=cus_1")
    assert sorted((row["dimensions"]["model"], row["hour"], row["total"], row["events"]) for row in rows) == [
        ("a", hour, "5.5", 2),
        ("b", hour - HOUR_S, "2", 1),
    ]
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.control.url}/_oracle/events?format=ndjson&after=0") as response:
        streamed = [json.loads(line) async for line in response.content]
    assert [event["sequence"] for event in streamed] == [1, 2, 3]
    assert streamed[0]["payload"] == {"stripe_customer_id": "cus_1", "value": "2", "model": "b"}
    page = simulator.control.call("GET", "/_oracle/events?after=0&limit=2")
    assert ([event["sequence"] for event in page["events"]], page["has_more"]) == ([1, 2], True)
    simulator.control.call("POST", "/_oracle/reset", {"keep_catalogue": True})
    assert books(simulator) == []
    await simulator.send("tokens", "cus_2", 1)
    assert books(simulator)[0]["total"] == "1"
    simulator.control.call("POST", "/_oracle/reset")
    assert stats(simulator)["customers"] == 0


async def test_mistaken_control_calls_are_explained_and_change_nothing(simulator: Target) -> None:
    before = simulator.control.call("GET", "/_control/config")
    mistakes: list[tuple[str, object, str]] = [
        ("/_control/config", {"limits": {"global_per_second": 3}, "outage": "total"}, "outage"),
        ("/_control/config", [], "JSON object"),
        ("/_control/script", {"route": "nowhere", "kind": "slow"}, "unknown route"),
        ("/_control/script", {"kind": "explode"}, "script.kind"),
        ("/_control/script", {"kind": "slow", "times": 0}, "times"),
        ("/_control/clock", {"set_ms": "now"}, "clock.set_ms"),
        ("/_control/clock", {"set_ms": 1, "advance_ms": 1}, "not both"),
        ("/_control/customers", {"ids": [1]}, "ids"),
        ("/_oracle/reset", {"everything": True}, "keep_catalogue"),
    ]
    for path, document, reason in mistakes:
        assert reason in simulator.control.refusal("POST", path, document)
    assert "group" in simulator.control.refusal("GET", "/_oracle/books?group=colour", None)
    assert simulator.control.call("GET", "/_control/config") == before


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"event_name": "tokens"}', "application/json", 400),
        (b"payload" + b"[a]" * 50_000 + b"=1", "application/x-www-form-urlencoded", 400),
        (b"event_name=%FF", "application/x-www-form-urlencoded", 400),
        (b"event_name=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 2000), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * 300_000, "application/x-www-form-urlencoded", 413),
        (b"", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_malformed_bodies_get_an_answer_of_stripes_shape(simulator: Target, body: bytes, content_type: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": content_type}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.control.url}/v1/billing/meter_events", data=io.BytesIO(body), headers=headers) as response,
    ):
        assert response.status == status
        assert response.headers["Request-Id"].startswith("req_")
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "header", "status"),
    [
        ("POST", "/v1/billing/meter_events", b"Idempotency-Key: k\xff", 400),
        ("POST", "/v1/billing/meter_events", b"Idempotency-Key: " + b"k" * 256, 400),
        ("POST", "/v1/billing/meter_events", b"Stripe-Version: \xff", 400),
        ("POST", "/v1/billing/meter_events", b"Authorization: Bearer \xff", 401),
        ("GET", "/v1/customers/%FF%00", b"X: y", 404),
        ("GET", "/%FF", b"X: y", 404),
        ("PUT", "/v1/customers", b"X: y", 404),
        ("GET", "/v1/customers?limit=%FF", b"X: y", 400),
    ],
)
async def test_hostile_headers_and_paths_get_an_answer_of_stripes_shape(
    simulator: Target, method: str, path: str, header: bytes, status: int
) -> None:
    await ready(simulator)
    body = b"event_name=tokens&payload[stripe_customer_id]=cus_1&payload[value]=1" if method == "POST" else b""
    authorization = b"" if header.startswith(b"Authorization") else f"Authorization: Bearer {KEY}\r\n".encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.control.url.rpartition(":")[2]))
    writer.write(head + authorization + header + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert books(simulator) == []


async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, http_client: stripe.HTTPClient) -> None:
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"), "--seed", "7")
    process.start()
    acknowledged: list[str] = []
    target = Target(client_of(process.url, http_client), KEY, 2.0, process)
    made = await ready(target)
    process.call("POST", "/_control/config", {"limits": {"meter_events_per_second": 0}})
    process.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(8)]})
    process.call("POST", "/_control/clock", {"advance_ms": 3_600_000})

    async def send_until_killed(customer: str) -> None:
        number = 0
        with contextlib.suppress(stripe.APIConnectionError, aiohttp.ClientError):
            while True:
                identifier = f"{customer}:{number}"
                await target.send("tokens", customer, 1, key=identifier, identifier=identifier)
                acknowledged.append(identifier)
                number += 1

    senders = [asyncio.create_task(send_until_killed(f"cus_{number}")) for number in range(8)]
    await asyncio.sleep(0.5)
    process.kill()
    await asyncio.gather(*senders)
    process.start()
    try:
        kept = {event["identifier"] for event in process.call("GET", "/_oracle/events?limit=10000")["events"]}
        assert len(acknowledged) > 50
        assert kept >= set(acknowledged)
        assert len(kept) - len(acknowledged) <= 8
        again = Target(client_of(process.url, http_client), KEY, 2.0, process)
        assert (await again.client.v1.billing.meters.retrieve_async(made.id)).event_name == "tokens"
        assert process.call("GET", "/_control/clock")["now_ms"] > (time.time() + 3500) * 1000
        customer = acknowledged[0].partition(":")[0]
        replayed = await again.send("tokens", customer, 1, key=acknowledged[0], identifier=acknowledged[0])
        assert replayed.identifier == acknowledged[0]
        assert (await refused(again.send("tokens", customer, 1, identifier=acknowledged[0]))).http_status == 400
        assert {(await again.meter()).id for _ in range(3)}.isdisjoint({made.id})
    finally:
        assert process.stop() == 0


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    config.write_text('{"assumptions": {"zero_value": "perhaps"}}')
    with pytest.raises(RuntimeError, match="did not start"):
        SimulatorProcess(tmp_path, "--config", str(config)).start()


def test_settings_from_a_file_are_in_force(tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    config.write_text('{"assumptions": {"identifier_scope": "customer"}, "limits": {"endpoint_per_second": 9}}')
    process = SimulatorProcess(tmp_path, "--config", str(config), "--profile", "sandbox")
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": {"endpoint_per_second": 0}})
        for settings in (process.call("GET", "/_control/config"), process.call("DELETE", "/_control/config")):
            assert settings["assumptions"]["identifier_scope"] == "customer"
            assert settings["limits"]["global_per_second"] == 25
        assert settings["limits"]["endpoint_per_second"] == 9
    finally:
        assert process.stop() == 0
