"""The Stripe adapter over real sockets: every way in which a reply can fail to come, and whole runs against the Stripe simulator."""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.retry import RetryPolicy

from metering.configuration.secrets import Secret
from metering.records.ledger_records import MeterEvent, Outcome
from metering.records.meters import Meter
from reporter.sending.lanes import Attempt, Lanes, MeterSend
from reporter.sending.meter_events import MeterEventPort, payload_of
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, MeterRefused, Retry, StopTheWorld, TryAgain, Verdict
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from reporter.stripe.replies import SENDING_REPLY_BYTES_MAX
from tests.support.stripe_simulator_process import SimulatorProcess

KEY = "sk_test_adapter4321"
METER = Meter("tokens", ("input_tokens",))
CLOCK = SystemClock()
TIMEOUT_S = 1.0

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@asynccontextmanager
async def adapter(api_base: str, *, key: str = KEY, timeout_s: float = TIMEOUT_S, connections: int = 50) -> AsyncIterator[StripeMeterEvents]:
    subject = StripeMeterEvents(api_key=Secret(key), api_base=api_base, connections=connections, timeout_s=timeout_s)
    try:
        yield subject
    finally:
        await subject.close()


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that does with the bytes of each connection's first request what `answer` says; the requests are listed."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            requests.append(head + await reader.readexactly(length))
            await answer(reader, writer, requests[-1])
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", requests
    finally:
        listening.close()
        await listening.wait_closed()


def replying(reply: bytes) -> Answer:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _request: bytes) -> None:
        writer.write(reply)
        await writer.drain()

    return answer


def http(status: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _request: bytes) -> None:
    await reader.read()


async def stall_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await reader.read()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _request: bytes) -> None:
    plain = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


async def send_one(port: MeterEventPort, identifier: str = "tm-1", **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "event_name": "tokens",
        "payload": {"stripe_customer_id": "cus_1", "value": "5"},
        "identifier": identifier,
        "timestamp_s": CLOCK.now_ms() // 1000,
        "idempotency_key": identifier,
    }
    return await port.send(**{**fields, **changes})


EVENT = b'{"object":"billing.meter_event","identifier":"tm-1"}'


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        pytest.param(http("200 OK", EVENT), Delivered(), id="accepted"),
        pytest.param(http("200 OK", b'{"object":"billing.meter_event"}'), Delivered(), id="accepted, without saying which"),
        pytest.param(http("200 OK", b"{}"), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 200", maybe_arrived=True), id="an object of no kind"),
        pytest.param(
            http("200 OK", EVENT.replace(b"tm-1", b"tm-2")), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 200", maybe_arrived=True), id="another event"
        ),
        pytest.param(http("200 OK", b"<html>", kind="text/html"), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 200", maybe_arrived=True), id="HTML 200"),
        pytest.param(http("200 OK", b"[]"), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 200", maybe_arrived=True), id="a list"),
        pytest.param(
            http("502 Bad Gateway", b"<html>", kind="text/html"), TryAgain(Retry.SERVER_ERROR, "HTTP 502", maybe_arrived=True), id="HTML 502"
        ),
        pytest.param(http("500 Oh", b'{"error": "oh"}'), TryAgain(Retry.SERVER_ERROR, "HTTP 500", maybe_arrived=True), id="not Stripe's error"),
        pytest.param(
            http("429 Slow", b"{}", "stripe-rate-limited-reason: global-rate"),
            TryAgain(Retry.RATE_LIMITED, "HTTP 429", rate_limited=True),
            id="429 without an error",
        ),
        pytest.param(
            http("429 Slow", b'{"error":{"message":"slow"}}', "stripe-rate-limited-reason: global-rate"),
            TryAgain(Retry.RATE_LIMITED, "global-rate", rate_limited=True),
            id="429",
        ),
        pytest.param(
            http("409 Conflict", b'{"error":{"code":"too_many_concurrent_requests","type":"x"}}'), TryAgain(Retry.CONCURRENT), id="409 with its code"
        ),
        pytest.param(http("401 No", b'{"error": "unauthorised"}'), StopTheWorld("HTTP 401"), id="401 in another form"),
        pytest.param(
            http("302 Found", b"", "Location: http://127.0.0.1:1/login"),
            StopTheWorld("the address redirects (HTTP 302); Stripe's API does not"),
            id="redirect",
        ),
        pytest.param(
            http("404 Not Found", b"nothing here", kind="text/plain"),
            StopTheWorld("HTTP 404 without an error object: the address is not Stripe's API"),
            id="wrong server",
        ),
    ],
)
async def test_a_whole_reply_has_its_verdict(reply: bytes, verdict: Verdict) -> None:
    async with server(replying(reply)) as (url, requests), adapter(url) as subject:
        assert await send_one(subject) == verdict
        assert len(requests) == 1, "the library must not retry by itself"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(hang, Retry.TIMEOUT, id="no reply"),
        pytest.param(stall_in_the_body, Retry.TIMEOUT, id="half a reply, then silence"),
        pytest.param(replying(b""), Retry.CONNECTION_LOST, id="closed without a reply"),
        pytest.param(reset, Retry.CONNECTION_LOST, id="reset"),
        pytest.param(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Retry.CONNECTION_LOST, id="body cut short"),
        pytest.param(replying(b"SSH-2.0-OpenSSH\r\n\r\n"), Retry.CONNECTION_LOST, id="not HTTP"),
        pytest.param(replying(http("200 OK", b"\xff" * (SENDING_REPLY_BYTES_MAX + 1))), Retry.NOT_UNDERSTOOD, id="reply too large"),
    ],
)
async def test_without_a_whole_reply_the_event_may_have_arrived(answer: Answer, reason: Retry) -> None:
    async with server(answer) as (url, requests), adapter(url, timeout_s=0.4) as subject:
        verdict = await send_one(subject)
        assert isinstance(verdict, TryAgain)
        assert (verdict.reason, verdict.maybe_arrived, verdict.rotate_key) == (reason, True, False)
        assert len(requests) == 1


async def test_without_a_connection_the_event_did_not_arrive() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound and not listening: refused.
        async with adapter(f"http://127.0.0.1:{taken.getsockname()[1]}") as subject:
            verdict = await send_one(subject)
    assert isinstance(verdict, TryAgain)
    assert (verdict.reason, verdict.maybe_arrived) == (Retry.UNREACHABLE, False)


async def test_waiting_in_vain_for_a_free_connection_sends_nothing() -> None:
    async with server(hang) as (url, requests), adapter(url, timeout_s=1.0, connections=1) as subject:
        first, second = await asyncio.gather(send_one(subject, "tm-1"), send_one(subject, "tm-2"))
        assert isinstance(first, TryAgain)
        assert isinstance(second, TryAgain)
        assert (first.reason, first.maybe_arrived) == (Retry.TIMEOUT, True)
        assert (second.reason, second.maybe_arrived) == (Retry.UNREACHABLE, False)
        assert len(requests) == 1


async def test_a_cancelled_attempt_is_cancelled() -> None:
    async with server(hang) as (url, _), adapter(url, timeout_s=30.0) as subject:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await send_one(subject)


async def test_after_close_an_attempt_still_ends_in_a_verdict() -> None:
    async with server(replying(http("200 OK", EVENT))) as (url, _), adapter(url) as subject:
        await subject.close()
        assert isinstance(await send_one(subject), TryAgain)


async def test_the_request_is_the_one_that_stripe_documents_and_carries_no_telemetry() -> None:
    async with server(replying(http("200 OK", EVENT, "Request-Id: req_1"))) as (url, requests), adapter(url) as subject:
        for _ in range(2):
            assert await send_one(subject, timestamp_s=1_764_000_000, idempotency_key="tm-1.2") == Delivered()
        head, _, body = requests[1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/billing/meter_events HTTP/1.1\r\n")
        assert b"\r\nIdempotency-Key: tm-1.2\r\n" in head + b"\r\n"
        assert f"Authorization: Bearer {KEY}".encode() in head
        assert b"telemetry" not in head.lower()
        assert sorted(body.split(b"&")) == [
            b"event_name=tokens",
            b"identifier=tm-1",
            b"payload[stripe_customer_id]=cus_1",
            b"payload[value]=5",
            b"timestamp=1764000000",
        ]


async def test_a_key_that_is_echoed_stays_out_of_verdicts_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = f'{{"error":{{"type":"invalid_request_error","message":"Invalid API Key provided: {KEY}"}}}}'.encode()
    async with server(replying(http("401 Unauthorized", body))) as (url, _), adapter(url) as subject:
        verdict = await send_one(subject)
        assert isinstance(verdict, StopTheWorld)
        assert "Invalid API Key" in verdict.reason
        assert KEY not in repr(verdict) + caplog.text


async def test_stripes_notices_are_logged_once_and_do_not_hide_the_reply(caplog: pytest.LogCaptureFixture) -> None:
    async with server(replying(http("200 OK", EVENT, "Stripe-Notice: sandbox expires"))) as (url, _), adapter(url) as subject:
        assert await send_one(subject) == Delivered()
        assert await send_one(subject) == Delivered()
    assert [record.getMessage() for record in caplog.records if record.name == "metering.stripe.client"] == ["Stripe sends a notice: sandbox expires"]


@pytest.fixture(scope="module")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    folder: Path = tmp_path_factory.mktemp("stripe_adapter")
    process = SimulatorProcess(folder)
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """A simulator as good as new, with one meter and 20 customers."""
    simulator_process.call("DELETE", "/_control/config")
    simulator_process.call("DELETE", "/_control/script")
    simulator_process.call("POST", "/_oracle/reset")
    simulator_process.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(20)]})
    return simulator_process


async def create_meter(url: str) -> None:
    form = {
        "display_name": "Tokens",
        "event_name": "tokens",
        "default_aggregation[formula]": "sum",
        "customer_mapping[type]": "by_id",
        "customer_mapping[event_payload_key]": "stripe_customer_id",
        "value_settings[event_payload_key]": "value",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/billing/meters", data=form, headers={"Authorization": f"Bearer {KEY}"}) as reply,
    ):
        assert reply.status == 200


def script(simulator: SimulatorProcess, kind: str, **more: object) -> None:
    simulator.call("POST", "/_control/script", {"route": "meter_events.create", "kind": kind, **more})


async def test_the_simulator_takes_an_event_once_whatever_the_key(simulator: SimulatorProcess) -> None:
    await create_meter(simulator.url)
    async with adapter(simulator.url) as subject:
        assert await send_one(subject) == Delivered()
        # The same key replays the first reply; a new one meets the identifier.
        assert await send_one(subject) in {Delivered(), Delivered(duplicate=True)}
        assert await send_one(subject, idempotency_key="tm-1.2") == Delivered(duplicate=True)
        refused = await send_one(subject, "tm-2", event_name="nothing")
        assert isinstance(refused, MeterRefused)
        assert "No active meter found" in refused.message
    (row,) = simulator.call("GET", "/_oracle/books")["rows"]
    assert row["total"] == "5"


@pytest.mark.parametrize("fault", ["server_error_after", "reset_after", "truncate_after", "bad_gateway_after"])
async def test_an_event_that_arrived_without_our_knowing_is_met_again_as_delivered(simulator: SimulatorProcess, fault: str) -> None:
    await create_meter(simulator.url)
    script(simulator, fault)
    async with adapter(simulator.url) as subject:
        lost = await send_one(subject)
        assert isinstance(lost, TryAgain)
        assert lost.maybe_arrived
        assert isinstance(await send_one(subject, idempotency_key="tm-1.2"), Delivered)
    (row,) = simulator.call("GET", "/_oracle/books")["rows"]
    assert row["total"] == "5"


async def run_lanes(port: MeterEventPort, lanes: Lanes, pacer: Pacer) -> dict[int, list[Outcome]]:
    """Send until all is settled, at most 30 s; the outcomes of each index."""
    settled: dict[int, list[Outcome]] = {}
    flying: set[asyncio.Task[None]] = set()
    changed = asyncio.Event()

    async def make(attempt: Attempt) -> None:
        began, event = CLOCK.monotonic(), attempt.send.event
        verdict = await port.send(
            event_name=event.meter,
            payload=payload_of(event, METER),
            identifier=attempt.send.identifier,
            timestamp_s=event.time_ms // 1000,
            idempotency_key=attempt.idempotency_key,
        )
        if isinstance(verdict, TryAgain) and verdict.rate_limited:
            pacer.on_rate_limited(CLOCK.monotonic(), began=began)
        elif isinstance(verdict, Delivered):
            pacer.on_success(CLOCK.monotonic(), began=began)
        lanes.done(attempt, verdict, CLOCK.now_ms(), CLOCK.monotonic())
        changed.set()

    async with asyncio.timeout(30):
        while lanes.sends:
            changed.clear()
            wait = lanes.wait_s(CLOCK.monotonic())
            if wait == 0.0 and (wait := pacer.take(CLOCK.monotonic())) == 0.0:
                attempt = lanes.next_ready(CLOCK.now_ms(), CLOCK.monotonic())
                if attempt is not None:
                    task = asyncio.create_task(make(attempt))
                    flying.add(task)
                    task.add_done_callback(flying.discard)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), wait)
    for entry in lanes.take_settlements():
        settled.setdefault(entry.settlement.index, []).append(entry.settlement.outcome)
    return settled


def queue_up(lanes: Lanes, count: int) -> int:
    """Add `count` sends for 20 customers; the sum of their values."""
    now_ms = CLOCK.now_ms()
    for index in range(count):
        event = MeterEvent(f"cus_{index % 20}", "tokens", (), now_ms - 60_000, index + 1)
        lanes.add(MeterSend(0, 0, index, f"tm-run-{index}", event, now_ms, doubtful=False))
    return count * (count + 1) // 2


async def test_a_run_through_every_fault_reports_each_event_exactly_once(simulator: SimulatorProcess) -> None:
    await create_meter(simulator.url)
    kinds = ["server_error_before", "server_error_after", "reset_before", "reset_after", "truncate_after", "bad_gateway_before", "bad_gateway_after"]
    kinds += ["rate_limited", "lock_timeout", "conflict"]
    faults = [{"kind": kind, "probability": 0.03} for kind in kinds]
    simulator.call("POST", "/_control/config", {"faults": {"meter_events.create": faults}})
    retry_delay_s = partial(RetryPolicy(base_seconds=0.02, cap_seconds=0.2).wait_seconds, random=random.Random(11))
    lanes = Lanes(capacity=2000, in_flight_max=32, retry_delay_s=retry_delay_s, probe_every_s=0.2)
    total = queue_up(lanes, 600)
    async with adapter(simulator.url, timeout_s=5.0) as subject:
        settled = await run_lanes(subject, lanes, Pacer(1000, rate_min_per_s=200.0))
    assert sorted(settled) == list(range(600))
    for found in settled.values():
        assert found[-1] in {Outcome.ACCEPTED, Outcome.DUPLICATE}
        assert found[:-1] in ([], [Outcome.UNKNOWN])
    assert any(len(found) == 2 for found in settled.values()), "no fault struck"
    rows = simulator.call("GET", "/_oracle/books")["rows"]
    assert sum(int(row["total"]) for row in rows) == total


async def test_a_revoked_key_stops_everything_until_it_works_again(simulator: SimulatorProcess) -> None:
    await create_meter(simulator.url)
    script(simulator, "key_revoked", times=3)
    lanes = Lanes(capacity=100, in_flight_max=1, retry_delay_s=lambda _: 0.01, probe_every_s=0.1)
    total = queue_up(lanes, 50)
    async with adapter(simulator.url) as subject:
        began = CLOCK.monotonic()
        settled = await run_lanes(subject, lanes, Pacer(1000))
        assert CLOCK.monotonic() - began >= 0.3
    assert lanes.stopped is None
    assert list(settled.values()) == [[Outcome.ACCEPTED]] * 50
    assert sum(int(row["total"]) for row in simulator.call("GET", "/_oracle/books")["rows"]) == total


async def test_the_pace_stays_below_the_account_limit(simulator: SimulatorProcess) -> None:
    await create_meter(simulator.url)
    simulator.call("POST", "/_control/config", {"limits": {"meter_events_per_second": 100, "global_per_second": 0, "endpoint_per_second": 0}})
    lanes = Lanes(capacity=1000, in_flight_max=50, retry_delay_s=lambda _: 0.05, probe_every_s=1.0)
    queue_up(lanes, 250)
    pacer = Pacer(100)
    async with adapter(simulator.url) as subject:
        settled = await run_lanes(subject, lanes, pacer)
    assert list(settled.values()) == [[Outcome.ACCEPTED]] * 250
    assert pacer.rate_per_s == pacer.ceiling_per_s, "the limit was hit"
