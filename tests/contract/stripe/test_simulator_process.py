"""The process itself: its control API and oracle, bad input, kill -9, settings at start."""

import asyncio
import contextlib
import io
import json
import time
from pathlib import Path

import aiohttp
import pytest
import stripe

from tests.support.stripe_simulator_control import books, ready, stats
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import HOUR_S, KEY, Target, client_of, refused


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
