"""The stream's adapter against a server with scripted answers: gathering, splitting, sessions, closing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from taximeter_emitter.clock import Clock, SystemClock

from metering.configuration.secrets import Secret
from reporter.sending.verdicts import Delivered, Refused, Retry, StopTheWorld, TryAgain, Verdict
from reporter.stripe.stream import StripeMeterEventStream
from tests.support.manual_clock import SleeplessClock

KEY = "sk_test_stream4321"
PATIENCE_S = 60.0
CLOCK = SystemClock()
Answer = Callable[[list[str]], tuple[int, object]]


def taken(_: list[str]) -> tuple[int, object]:
    return 200, {}


def error(status: int, code: str) -> tuple[int, object]:
    return status, {"error": {"code": code, "message": code}}


class Stripe:
    """Takes sessions and stream requests; `answer` says what a request with these identifiers gets."""

    def __init__(self) -> None:
        self.answer: Answer = taken
        self.session_answer: Callable[[int], tuple[int, object]] = self.session
        self.requests: list[list[str]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.sessions = 0
        self.singles: list[tuple[str, str, str]] = []
        self.at_once = self.most_at_once = 0
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    @staticmethod
    def session(number: int) -> tuple[int, object]:
        times = {"created": "2020-01-01T00:00:00.000Z", "expires_at": "2020-01-01T00:15:00.000Z"}
        return 200, {"object": "v2.billing.meter_event_session", "id": "s", "authentication_token": f"token-{number}", "livemode": False, **times}

    async def make_session(self, _: web.Request) -> web.Response:
        self.sessions += 1
        status, body = self.session_answer(self.sessions)
        return web.json_response(body, status=status)

    async def single(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.singles.append((str(form["payload[value]"]), str(form["identifier"]), request.headers["Idempotency-Key"]))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return web.json_response({"object": "billing.meter_event", "identifier": str(form["identifier"])})

    async def stream(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        identifiers = [event["identifier"] for event in body["events"]]
        self.requests.append(identifiers)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        await self.open.wait()
        if request.headers["Authorization"] == "Bearer token-old":
            status, answer = error(401, "unauthorised")
        else:
            status, answer = self.answer(identifiers)
        return web.json_response(answer, status=status)

    @property
    def sizes(self) -> list[int]:
        return [len(request) for request in self.requests]


@pytest.fixture
async def server() -> AsyncIterator[Stripe]:
    side = Stripe()
    app = web.Application()
    app.router.add_post("/v2/billing/meter_event_session", side.make_session)
    app.router.add_post("/v2/billing/meter_event_stream", side.stream)
    app.router.add_post("/v1/billing/meter_events", side.single)
    async with TestServer(app) as running:
        side.url = f"http://127.0.0.1:{running.port}"
        yield side


@asynccontextmanager
async def adapter(server: Stripe, *, connections: int = 8, clock: Clock = CLOCK, **changes: Any) -> AsyncIterator[StripeMeterEventStream]:
    subject = StripeMeterEventStream(
        api_key=Secret(KEY),
        api_base=server.url,
        stream_base=server.url,
        connections=connections,
        timeout_s=PATIENCE_S,
        clock=clock,
        **changes,
    )
    try:
        yield subject
    finally:
        await subject.close()


def send(port: StripeMeterEventStream, identifier: str) -> Awaitable[Verdict]:
    payload = {"stripe_customer_id": "cus_1", "value": "5"}
    return port.send(event_name="tokens", payload=payload, identifier=identifier, timestamp_s=1_764_000_000, idempotency_key=identifier)


async def send_all(port: StripeMeterEventStream, count: int) -> list[Verdict]:
    async with asyncio.timeout(PATIENCE_S):
        return list(await asyncio.gather(*(send(port, str(number)) for number in range(count))))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # it becomes true in the server, which sets no event
            await asyncio.sleep(0.01)


async def test_calls_that_wait_at_the_same_moment_share_requests_of_at_most_100(server: Stripe) -> None:
    async with adapter(server) as subject:
        assert await send_all(subject, 250) == [Delivered()] * 250
    assert sorted(server.sizes) == [50, 100, 100]
    assert server.sessions == 1


async def test_values_below_zero_go_by_version_1_one_by_one_and_not_too_many_at_once(server: Stripe) -> None:
    async with adapter(server, connections=3) as subject, asyncio.timeout(PATIENCE_S):
        back = [
            subject.take_back(
                event_name="tokens",
                payload={"stripe_customer_id": "cus_1", "value": str(-number)},
                identifier=f"tm-{number}",
                timestamp_s=1_764_000_000,
                idempotency_key=f"tm-{number}.2",
            )
            for number in range(1, 41)
        ]
        assert await asyncio.gather(*back) == [Delivered()] * 40
    assert sorted(server.singles) == sorted((str(-number), f"tm-{number}", f"tm-{number}.2") for number in range(1, 41))
    assert (server.requests, server.most_at_once <= 3) == ([], True)


async def test_a_call_alone_is_not_kept_waiting_for_others(server: Stripe) -> None:
    async with adapter(server) as subject:
        assert await send(subject, "a") == Delivered()
    assert server.sizes == [1]


async def test_what_finds_no_free_connection_waits_and_then_shares_a_request(server: Stripe) -> None:
    server.open.clear()
    async with adapter(server, connections=1) as subject:
        first = asyncio.ensure_future(send(subject, "first"))
        await until(lambda: len(server.requests) == 1)
        others = [asyncio.ensure_future(send(subject, str(number))) for number in range(30)]
        await asyncio.sleep(0.05)  # longer than a request is gathered, on most machines
        others += [asyncio.ensure_future(send(subject, str(number))) for number in range(30, 60)]
        await asyncio.sleep(0)
        assert server.sizes == [1]
        server.open.set()
        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.gather(first, *others) == [Delivered()] * 61
    assert server.sizes == [1, 60]


async def test_where_requests_are_limited_the_events_share_them(server: Stripe) -> None:
    clock = SleeplessClock()
    async with adapter(server, requests_per_s=20.0, clock=clock) as subject:
        assert await send(subject, "first") == Delivered()
        calls = []
        for number in range(40):
            calls.append(asyncio.ensure_future(send(subject, str(number))))
            await asyncio.sleep(0)
        clock.now += 0.051
        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.gather(*calls) == [Delivered()] * 40
    assert server.sizes == [1, 40]


async def test_the_request_is_the_one_that_stripe_documents(server: Stripe) -> None:
    async with adapter(server) as subject:
        await send(subject, "tm-1")
    assert server.bodies == [
        {
            "events": [
                {
                    "event_name": "tokens",
                    "payload": {"stripe_customer_id": "cus_1", "value": "5"},
                    "identifier": "tm-1",
                    "timestamp": "2025-11-24T16:00:00Z",
                }
            ]
        }
    ]
    (headers,) = server.headers
    assert headers["Authorization"] == "Bearer token-1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Stripe-Version"].startswith("20")
    assert subject.identifiers_of(headers["Idempotency-Key"]) == ("tm-1",)
    assert subject.identifiers_of("unknown") == ()


async def test_a_refused_request_is_split_until_the_offender_is_alone(server: Stripe) -> None:
    server.answer = lambda identifiers: error(400, "invalid_timestamp") if "37" in identifiers else (200, {})
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 100)
    refused = Refused("invalid_timestamp", "invalid_timestamp")
    assert verdicts == [refused if number == 37 else Delivered() for number in range(100)]
    assert server.sizes[0] == 100
    assert ["37"] in server.requests
    assert len(server.requests) < 20


async def test_when_every_event_is_refused_each_is_judged_alone(server: Stripe) -> None:
    server.answer = lambda _: error(400, "payload_invalid_value")
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 10)
    assert verdicts == [Refused("payload_invalid_value", "payload_invalid_value")] * 10
    assert server.sizes.count(1) == 10


async def test_a_duplicate_says_nothing_of_the_events_beside_it(server: Stripe) -> None:
    server.answer = lambda identifiers: error(400, "duplicate_meter_event") if "3" in identifiers else (200, {})
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 8)
    assert verdicts == [Delivered(duplicate=number == 3) for number in range(8)]


async def test_events_that_shared_a_reply_share_the_verdict_on_it(server: Stripe) -> None:
    server.answer = lambda identifiers: error(400, "invalid_timestamp") if len(identifiers) > 2 else error(429, "rate_limit")
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 4)
    assert [verdicts[0] is verdicts[1], verdicts[1] is verdicts[2], verdicts[2] is verdicts[3]] == [True, False, True]


async def test_what_was_in_a_refused_request_may_have_arrived(server: Stripe) -> None:
    server.answer = lambda identifiers: error(400, "invalid_timestamp") if len(identifiers) > 1 else error(429, "rate_limit")
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 2)
    for verdict in verdicts:
        assert isinstance(verdict, TryAgain)
        assert (verdict.reason, verdict.maybe_arrived, verdict.rate_limited) == (Retry.RATE_LIMITED, True, True)
    server.answer = lambda identifiers: error(400, "invalid_timestamp") if len(identifiers) > 1 else error(403, "forbidden")
    async with adapter(server) as subject:
        for verdict in await send_all(subject, 2):
            assert isinstance(verdict, TryAgain)
            assert verdict.maybe_arrived


@pytest.mark.parametrize(
    ("status", "code", "reason", "arrived"),
    [
        (500, "server_error", Retry.SERVER_ERROR, True),
        (429, "rate_limit", Retry.RATE_LIMITED, False),
        (409, "too_many_concurrent_requests", Retry.CONCURRENT, False),
        (409, "idempotency_key_in_use", Retry.KEY_IN_USE, True),
    ],
)
async def test_a_failure_of_the_request_is_that_of_each_event(server: Stripe, status: int, code: str, reason: Retry, *, arrived: bool) -> None:
    server.answer = lambda _: error(status, code)
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 5)
    assert server.sizes == [5]
    assert len(set(verdicts)) == 1
    assert isinstance(verdicts[0], TryAgain)
    assert (verdicts[0].reason, verdicts[0].maybe_arrived) == (reason, arrived)


@pytest.mark.parametrize("body", [[], "ok"])
async def test_a_200_of_another_form_is_not_believed(server: Stripe, body: object) -> None:
    server.answer = lambda _: (200, body)
    async with adapter(server) as subject:
        verdict = await send(subject, "a")
    assert isinstance(verdict, TryAgain)
    assert (verdict.reason, verdict.maybe_arrived) in {(Retry.NOT_UNDERSTOOD, True), (Retry.UNEXPECTED, True)}


async def test_a_session_that_stripe_no_longer_knows_is_renewed_once_for_all_who_wait(server: Stripe) -> None:
    def make(number: int) -> tuple[int, object]:
        status, body = Stripe.session(number)
        assert isinstance(body, dict)
        return status, {**body, "authentication_token": "token-old"} if number == 1 else body

    server.session_answer = make
    async with adapter(server, connections=50) as subject:
        assert await send_all(subject, 5000) == [Delivered()] * 5000
    assert server.sessions == 2
    assert len(server.requests) <= 100
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer token-old", "Bearer token-2"}


async def test_a_new_session_that_is_refused_too_stops_the_world(server: Stripe) -> None:
    server.answer = lambda _: error(401, "unauthorised")
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 3)
    assert all(isinstance(verdict, StopTheWorld) for verdict in verdicts)
    assert (server.sessions, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(("status", "stops"), [(401, True), (403, True), (400, True), (500, False), (429, False)])
async def test_without_a_session_nothing_is_sent(server: Stripe, status: int, *, stops: bool) -> None:
    server.session_answer = lambda _: error(status, "oh")
    async with adapter(server) as subject:
        verdicts = await send_all(subject, 3)
    assert not server.requests
    for verdict in verdicts:
        if stops:
            assert isinstance(verdict, StopTheWorld)
        else:
            assert isinstance(verdict, TryAgain)
            assert not verdict.maybe_arrived


async def test_neither_key_nor_token_gets_into_a_verdict(server: Stripe) -> None:
    server.answer = lambda _: (400, {"error": {"code": "bad", "message": f"not for token-1 of {KEY}"}})
    async with adapter(server) as subject:
        verdict = await send(subject, "a")
    assert isinstance(verdict, Refused)
    assert "token-1" not in repr(verdict)
    assert KEY not in repr(verdict)


async def test_a_caller_that_stops_waiting_sends_nothing_and_takes_nothing_from_others(server: Stripe) -> None:
    async with adapter(server) as subject:
        gone, stays = asyncio.ensure_future(send(subject, "gone")), asyncio.ensure_future(send(subject, "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == Delivered()
    assert server.requests == [["stays"]]


async def test_closing_gives_everyone_a_verdict(server: Stripe) -> None:
    server.open.clear()
    async with adapter(server, connections=1) as subject:
        flying = asyncio.ensure_future(send(subject, "flying"))
        await until(lambda: len(server.requests) == 1)
        waiting = asyncio.ensure_future(send(subject, "waiting"))
        await asyncio.sleep(0)
        await subject.close()
        found = [await flying, await waiting, await send(subject, "late")]
    server.open.set()
    assert all(isinstance(verdict, TryAgain) for verdict in found)
    assert [verdict.maybe_arrived for verdict in found if isinstance(verdict, TryAgain)] == [True, False, False]
