"""What every call to Stripe's API goes through, in Stripe's order.

Faults of the network, API key, rate limits, idempotency key, validation, lane, effect, answer. Nothing is awaited
between the effect and the journal's write, so a kill leaves either both or neither.

Bodies are forms under /v1 and JSON under /v2, and errors take the form of the version. An idempotency key under /v2 keeps successes
only: a call that failed is carried out when it is repeated.
"""

import asyncio
import re
import socket
import struct
import sys
import time
from typing import NamedTuple

from aiohttp import web

from taximeter_sandbox.stripe.http import errors
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.forms import nest, parse_pairs
from taximeter_sandbox.stripe.http.json_bodies import fingerprint_of, parse_object
from taximeter_sandbox.stripe.http.keys import mask
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Route
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.traffic.faults import Fault
from taximeter_sandbox.stripe.traffic.idempotency import StoredReply, fingerprint
from taximeter_sandbox.stripe.webhooks.event_log import API_VERSION

VERSION_FORM = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}[.a-z]{0,40}\Z", re.ASCII)
FORM_BYTES_MAX = 256 * 1024
JSON_BYTES_MAX = 1024 * 1024
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
DISCONNECT_POLL_S = 0.25
RST_ON_CLOSE = struct.pack("ii", 1, 0)
BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)
NETWORK_BEFORE = frozenset({"reset_before", "hang_before", "bad_gateway_before"})
NETWORK_AFTER = frozenset({"reset_after", "hang_after", "truncate_after", "bad_gateway_after"})


class Reply(NamedTuple):
    """An answer before the network has had its way with it."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    outcome: str


class Pipeline:
    """Answers calls for one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        """The answer to one call, or a broken connection."""
        simulator = self._simulator
        stats = simulator.account.stats
        stats.arrived(route.name, int(time.monotonic()))
        fault = simulator.faults.draw(route.name)
        if fault is not None:
            stats.faults[(route.name, fault.kind)] += 1
            if fault.kind in NETWORK_BEFORE:
                return await _break(request, fault, b"", {})
        request_id = simulator.account.identities.request_id()
        simulator.concurrent += 1
        try:
            reply = await self._reply(route, request, request_id, fault)
        except ApiError as error:
            reply = _refusal(error, request.path)
        finally:
            simulator.concurrent -= 1
        simulator.account.stats.answered(route.name, reply.outcome)
        headers = {"Request-Id": request_id, "Stripe-Version": _version(request) or API_VERSION}
        key = request.headers.get("Idempotency-Key")
        if key is not None and key.isascii():
            headers["Idempotency-Key"] = key
        headers.update(reply.headers)
        if fault is not None:
            if fault.should_retry is not None:
                headers["Stripe-Should-Retry"] = "true" if fault.should_retry else "false"
            if fault.kind in NETWORK_AFTER:
                return await _break(request, fault, reply.body, headers)
        return web.Response(body=reply.body, status=reply.status, headers=headers, content_type="application/json")

    async def _reply(self, route: Route, request: web.Request, request_id: str, fault: Fault | None) -> Reply:
        simulator = self._simulator
        given = await _given(request)
        authorization = request.headers.get("Authorization")
        now_ms = simulator.clock.now_ms()
        if route.traffic == "stream":
            livemode = simulator.account.sessions.check(authorization, now_ms)
        else:
            livemode = simulator.settings.keys.check(authorization, route.permission)
        parameters, marks = given.read()
        events = parameters.count("events")
        reason = simulator.limiter.admit(route.name, route.traffic, events=events, concurrent=simulator.concurrent, now_ns=time.monotonic_ns())
        if reason is not None:
            raise errors.rate_limited(reason)
        if fault is not None:
            _refuse_by(fault, authorization or "", route)
        version = _version(request)
        if version is None:
            raise errors.invalid("Invalid Stripe API version: it must look like 2026-10-28.endive.")
        key = (request.headers.get("Idempotency-Key") or None) if request.method == "POST" else None
        identity = request.match_info.get("id", "")
        origin = str(request.url.origin())
        call = Call(request.method, sys.intern(request.path), identity, parameters, livemode, version, now_ms, key, request_id, origin)
        if key is None:
            return await self._run(route, call, fault, None)
        kept = simulator.account.idempotency.begin(key, call.path, marks, now_ms)
        if kept is not None:
            return self._replay(kept, livemode=livemode)
        store = simulator.account.idempotency
        try:
            return await self._run(route, call, fault, _Key(key, marks, request_id))
        finally:
            store.end(key)

    def _replay(self, kept: StoredReply, *, livemode: bool) -> Reply:
        simulator = self._simulator
        simulator.account.stats.replayed += 1
        body = kept.body if kept.event is None else simulator.endpoints.event_body(kept.event, livemode=livemode)
        headers = (*kept.headers, ("Original-Request", kept.request_id))
        if simulator.settings.assumptions.replayed_header:
            headers = (*headers, ("Idempotent-Replayed", "true"))
        return Reply(kept.status, body, headers, f"replayed:{kept.status}")

    async def _run(self, route: Route, call: Call, fault: Fault | None, key: "_Key | None") -> Reply:
        simulator = self._simulator
        try:
            prepared = route.prepare(call)
        except ApiError as error:
            return self._settle(error, call, key)
        concurrency = simulator.settings.assumptions.concurrency
        if not simulator.lanes.enter(prepared.lanes, exclusive=concurrency != "allowed"):
            raise errors.lock_timeout() if concurrency == "lock_timeout" else errors.concurrent_events()
        try:
            pause_s = simulator.faults.latency_s(route.name) / 2
            if fault is not None and fault.kind == "slow":
                pause_s += fault.delay_ms / 2000
            if pause_s:
                await asyncio.sleep(pause_s)
            reply = self._commit(prepared, call, fault, key)
            if pause_s:
                await asyncio.sleep(pause_s)
            return reply
        finally:
            simulator.lanes.leave(prepared.lanes)

    def _commit(self, prepared: Prepared, call: Call, fault: Fault | None, key: "_Key | None") -> Reply:
        """Take effect, keep the reply, write the journal: all or nothing."""
        simulator = self._simulator
        kind = None if fault is None else fault.kind
        server_error = errors.server_error(stored=simulator.settings.assumptions.server_errors_stored)
        if kind == "server_error_before":
            return self._settle(server_error, call, key)
        now_ms = simulator.clock.now_ms()
        try:
            result = prepared.commit(now_ms)
        except ApiError as error:
            return self._settle(error, call, key)
        if kind == "server_error_after":
            return self._settle(server_error, call, key)
        if key is not None:
            body = result.body if result.event is None else b""
            kept = StoredReply(call.path, key.marks, now_ms, key.request_id, 200, (), body, result.event)
            simulator.account.keep_reply(key.text, kept)
        simulator.journal.flush()
        return Reply(200, result.body, (), "ok")

    def _settle(self, error: ApiError, call: Call, key: "_Key | None") -> Reply:
        """Turn an error into a reply, kept under the idempotency key where Stripe keeps it."""
        simulator = self._simulator
        reply = _refusal(error, call.path)
        if key is not None and error.stored and not _is_v2(call.path):
            now_ms = simulator.clock.now_ms()
            kept = StoredReply(call.path, key.marks, now_ms, key.request_id, reply.status, reply.headers, reply.body, None)
            simulator.account.keep_reply(key.text, kept)
        simulator.journal.flush()
        return reply


class _Key(NamedTuple):
    text: str
    marks: bytes
    request_id: str


class _Given(NamedTuple):
    """The parameters as they came. A call under /v1 has one text of the query string and the form, any other both as they are."""

    query: str
    body: bytes
    is_json: bool

    def read(self) -> tuple[Parameters, bytes]:
        """The parameters and what distinguishes them from others. Raises ApiError."""
        if self.is_json:
            document = parse_object(self.body)
            tree: dict[str, object] = {**nest(parse_pairs(self.query)), **document}
            return Parameters(tree), fingerprint_of(self.query, document)
        pairs = parse_pairs(self.query)
        return Parameters(nest(pairs)), fingerprint(pairs)


def _is_v2(path: str) -> bool:
    return path.startswith("/v2/")


def _refusal(error: ApiError, path: str) -> Reply:
    return Reply(error.status, error.v2_body() if _is_v2(path) else error.body(), error.headers, error.outcome)


def _refuse_by(fault: Fault, authorization: str, route: Route) -> None:
    key = authorization.rpartition(" ")[2]
    match fault.kind:
        case "rate_limited":
            raise errors.rate_limited(fault.reason)
        case "lock_timeout":
            raise errors.lock_timeout()
        case "conflict":
            raise errors.concurrent_events()
        case "key_revoked":
            raise errors.revoked_api_key(mask(key))
        case "forbidden":
            raise errors.forbidden(mask(key), f"rak_{route.permission}")
        case _:
            return


def _version(request: web.Request) -> str | None:
    """The API version asked for, the simulator's own when none is; None when it is malformed."""
    version = request.headers.get("Stripe-Version", API_VERSION)
    return version if VERSION_FORM.match(version) else None


async def _given(request: web.Request) -> _Given:
    """The query string and the body. Raises ApiError for a body of another type, encoding or size than the version of the API takes."""
    query, is_json = request.rel_url.raw_query_string, _is_v2(request.path)
    if not request.can_read_body:
        return _Given(query, b"", is_json)
    kind, limit = (JSON, JSON_BYTES_MAX) if is_json else (FORM, FORM_BYTES_MAX)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    if len(body) > limit:
        raise _too_large(limit)
    if body and request.content_type != kind:
        raise errors.invalid(f"Invalid request (check that your POST content type is {kind}).", code="invalid_content_type" if is_json else None)
    if is_json:
        return _Given(query, body, is_json)
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise errors.invalid("Invalid encoding in the request body: form bodies are percent-encoded ASCII.") from None
    return _Given(f"{query}&{text}" if query and text else query or text, b"", is_json)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"Request entity too large: at most {limit} bytes are taken.", outcome="too_large")


async def _break(request: web.Request, fault: Fault, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
    """Answer as a broken network would: with a proxy's page, half an answer, or a reset at once or after a silence."""
    if fault.kind in ("bad_gateway_before", "bad_gateway_after"):
        return web.Response(body=BAD_GATEWAY, status=502, content_type="text/html")
    response: web.StreamResponse = web.Response(status=500)
    if fault.kind == "truncate_after":
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/json", "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if fault.kind in ("hang_before", "hang_after"):
        await _wait_in_silence(request, fault.delay_ms / 1000)
    transport = request.transport
    if transport is not None:
        if fault.kind != "truncate_after":  # a reset would take the half that was sent with it
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            transport.abort()
        else:
            transport.close()
    return response


async def _wait_in_silence(request: web.Request, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        transport = request.transport
        if transport is None or transport.is_closing():
            return
        await asyncio.sleep(min(left, DISCONNECT_POLL_S))
