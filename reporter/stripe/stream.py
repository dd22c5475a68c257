"""Meter events through the stream of version 2 of Stripe's API: up to 100 events a request, judged by Stripe later.

A 200 says that Stripe received the events; what it drops afterwards, it reports by webhook. Values below zero go by version 1.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from taximeter_emitter.clock import Clock

from metering.configuration.secrets import Secret
from metering.stripe.client import make_client
from metering.tracing.span_maker import SpanMaker
from reporter.sending.verdicts import (
    Delivered,
    MeterRefused,
    Refused,
    Reply,
    Retry,
    StopTheWorld,
    TooOld,
    TryAgain,
    Verdict,
    classify,
    interrupted,
    unreachable,
)
from reporter.stripe.adjustments import StripeAdjustments
from reporter.stripe.call_spans import CallSpans
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from reporter.stripe.prepared_bodies import PreparedHttp, prepared
from reporter.stripe.replies import SENDING_REPLY_BYTES_MAX, ErrorReply, Verdicts
from reporter.stripe.stream_requests import STREAM_EVENTS_MAX, Gathered, SentRequests, StreamEvent, body_of, encode_event, request_key
from reporter.stripe.stream_session import Grant, Session, SessionKeeper, grant_of, verdicts_for

_PATH: Final = "/v2/billing/meter_event_stream"
_GATHER_S: Final = 0.01  # how long the first event of a request waits for others
_BACK_AT_ONCE_MAX: Final = 20  # calls by version 1, which takes a tenth of what the stream takes


@dataclass(frozen=True, slots=True, eq=False)
class _WaitingEvent:
    """A call of `send`, and where its verdict goes."""

    event: StreamEvent
    verdict: asyncio.Future[Verdict]


class StripeMeterEventStream:
    """Meter events by `POST /v2/billing/meter_event_stream`: a MeterEventPort.

    Create it inside the running event loop, for that loop; `close` it there. `connections` bounds the requests in flight, `timeout_s` the
    time of one. `api_base` and `stream_base` are where Stripe's API and its stream are, without a path. `requests_per_s` bounds the requests
    started in a second, where it is not the number of events that is limited; events that wait meanwhile share a request.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        api_base: str,
        stream_base: str,
        connections: int,
        timeout_s: float,
        clock: Clock,
        requests_per_s: float | None = None,
        span_maker: SpanMaker | None = None,
    ) -> None:
        self._api_key = api_key
        self._clock = clock
        self._connections = connections
        self._spacing_s = 1 / requests_per_s if requests_per_s else 0.0
        self._next_at = 0.0
        self._http = PreparedHttp(connections=connections + 1, timeout_s=timeout_s, reply_bytes_max=SENDING_REPLY_BYTES_MAX)  # one more for sessions
        self._http.spans = None if span_maker is None else CallSpans(span_maker)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base, stream_base=stream_base)
        self._adjustments = StripeAdjustments(self._http, api_key=api_key, api_base=api_base)
        back = min(connections, _BACK_AT_ONCE_MAX)
        self._one_by_one = StripeMeterEvents(api_key=api_key, api_base=api_base, connections=back, timeout_s=timeout_s)
        self._turns_back = asyncio.Semaphore(back)
        self._sessions = SessionKeeper(self._create_session, clock)
        self._sent = SentRequests()
        self._gathered: Gathered[_WaitingEvent] = Gathered()
        self._timer: asyncio.TimerHandle | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Awaitable[Verdict]:
        """Make one attempt, started at once. Its verdict waits for a free connection and for the network, a bounded time; it raises only
        CancelledError.

        An event that shares a request has the request's verdict, unless Stripe refuses the request: then the events are sent in smaller
        requests, until the one that Stripe refuses is alone.
        """
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if self._closed:
            verdict.set_result(unreachable("the connections are closed"))
            return verdict
        encoded = encode_event(event_name=event_name, payload=payload, identifier=identifier, timestamp_s=timestamp_s)
        self._gathered.add(_WaitingEvent(StreamEvent(identifier, idempotency_key, encoded), verdict))
        if len(self._gathered) >= STREAM_EVENTS_MAX:
            self._stop_timer()
            self._start()
        elif self._timer is None:
            self._start_in(_GATHER_S)
        return verdict

    async def take_back(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        """Make one attempt by version 1: the stream would answer 200 and drop a value below zero. Waits for its turn, then for the network."""
        async with self._turns_back:
            return await self._one_by_one.send(
                event_name=event_name, payload=payload, identifier=identifier, timestamp_s=timestamp_s, idempotency_key=idempotency_key
            )

    async def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Verdict:
        """Make one attempt to cancel a meter event; see StripeAdjustments."""
        return await self._adjustments.cancel(event_name=event_name, identifier=identifier, idempotency_key=idempotency_key)

    def identifiers_of(self, key: str) -> tuple[str, ...]:
        """The identifiers of the events that went out under a request's idempotency key; none where it is not, or no longer, known."""
        return self._sent.identifiers_of(key)

    async def close(self) -> None:
        """Close the connections; attempts still in flight end as interrupted."""
        self._closed = True
        self._stop_timer()
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)
        while waiting := self._gathered.take():
            _settle(waiting, unreachable("the connections are closed"))
        await self._one_by_one.close()
        await self._sessions.close()
        await self._http.close_async()

    def _start_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._gathering_ended)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _gathering_ended(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        """Start requests with waiting events while there are connections; the rest starts when one is free."""
        while len(self._gathered) and len(self._requests) < self._connections and not self._closed:
            now = self._clock.monotonic()
            if now < self._next_at:
                if self._timer is None:
                    self._start_in(self._next_at - now)
                return
            self._next_at = now + self._spacing_s
            # A caller that was cancelled while it waited has nothing to send.
            events = [waiting for waiting in self._gathered.take() if not waiting.verdict.done()]
            if events:
                request = asyncio.get_running_loop().create_task(self._deliver(events))
                self._requests.add(request)
                request.add_done_callback(self._ended)

    def _ended(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        # Where the timer runs, others are still being gathered.
        if self._timer is None:
            self._start()

    async def _deliver(self, waiting: Sequence[_WaitingEvent]) -> None:
        """Send until every event has its verdict."""
        try:
            _settle(waiting, *await self._judge([item.event for item in waiting]))
        finally:
            # Cancelled by `close`.
            _settle(waiting, interrupted(Retry.CONNECTION_LOST, "the connections are closed"))

    async def _judge(self, events: Sequence[StreamEvent], *, refused_before: bool = False) -> list[Verdict]:
        """The verdict on each event, in order; one object for all that had one reply."""
        verdict = await self._attempt(events)
        if refused_before:
            verdict = _after_refusal(verdict)
        if len(events) == 1 or not _speaks_of_one(verdict):
            return [verdict] * len(events)
        middle = len(events) // 2
        halves = events[:middle], events[middle:]
        return [verdict for half in halves for verdict in await self._judge(half, refused_before=True)]

    async def _attempt(self, events: Sequence[StreamEvent]) -> Verdict:
        """One request; once more with a new session if Stripe does not know the one it was made with."""
        session = await self._sessions.get()
        if not isinstance(session, Session):
            return session
        verdict = await self._post(session, events)
        if verdict is None:
            session = await self._sessions.after(session)
            if not isinstance(session, Session):
                return session
            verdict = await self._post(session, events)
        return verdict or StopTheWorld("HTTP 401: Stripe refuses the meter event session that it has just made")

    async def _post(self, session: Session, events: Sequence[StreamEvent]) -> Verdict | None:
        """The verdict on one request; None for 401."""
        key = request_key(events)
        self._sent.note(key, events)
        try:
            with prepared(body_of(events)):
                reply = await self._client.raw_request_async("post", _PATH, base="meter_events", api_key=session.token.reveal(), idempotency_key=key)
        except Exception as error:
            if isinstance(error, ErrorReply) and error.status == 401:
                return None
            return verdicts_for(self._api_key, session).of(error)
        return classify(Reply(200, recognised=isinstance(reply.data, dict)))

    async def _create_session(self) -> Grant | Verdict:
        try:
            session = await self._client.v2.billing.meter_event_session.create_async()
        except Exception as error:
            return Verdicts(self._api_key).of(error)
        return grant_of(*(getattr(session, name, None) for name in ("authentication_token", "created", "expires_at")))


def _settle(waiting: Sequence[_WaitingEvent], *verdicts: Verdict) -> None:
    """Give each its verdict, or all the one there is; who has one already, or stopped waiting, gets none."""
    each = verdicts if len(verdicts) > 1 else verdicts * len(waiting)
    for item, verdict in zip(waiting, each, strict=True):
        if not item.verdict.done():
            item.verdict.set_result(verdict)


def _speaks_of_one(verdict: Verdict) -> bool:
    """Whether a verdict on a request is about one of its events, and says nothing of the others."""
    match verdict:
        case Refused() | MeterRefused() | TooOld() | Delivered(duplicate=True) | TryAgain(reason=Retry.IN_FUTURE):
            return True
        case _:
            return False


def _after_refusal(verdict: Verdict) -> Verdict:
    """The verdict on events that were in a refused request before. Stripe does not say whether the others of such a request were taken."""
    match verdict:
        case TryAgain() | MeterRefused():
            return replace(verdict, maybe_arrived=True)
        case StopTheWorld(reason):
            # As it is, it would leave no trace of the earlier request. The next attempt finds the world still stopped.
            return TryAgain(Retry.ASKED_TO, reason, maybe_arrived=True)
        case _:
            return verdict
