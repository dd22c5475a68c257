"""Takes spans to a collector, by OTLP over HTTP, in the background. Nothing waits for it, and nothing fails with it."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from random import Random
from typing import Final

import aiohttp
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy

from metering.process.logs import RateLimited, get_log
from metering.tracing.settings import TracingSettings
from metering.tracing.span_encoding import encode_spans
from metering.tracing.spans import AttributeValue, TraceSpan
from metering.tracing.tracing_metrics import TracingMetrics

TRACES_PATH: Final = "/v1/traces"
SPANS_PER_REQUEST: Final = 512
GATHER_SECONDS: Final = 1.0
EXPORT_CLOSE_SECONDS: Final = 1.0
COLLECTOR_SAID_AGAIN_SECONDS: Final = 300.0

_AGAIN: Final = RetryPolicy(base_seconds=1.0, cap_seconds=30.0)
# OTLP's: the same request may succeed later. Everything else never will.
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_SCOPE: Final = "taximeter"


class SpanExporter:
    """A bounded queue and who empties it. `resource`: attributes of the process, `service.version` among them."""

    def __init__(self, settings: TracingSettings, resource: Mapping[str, AttributeValue], metrics: TracingMetrics, clock: Clock) -> None:
        assert settings.endpoint is not None, "only with a collector are there spans to export"
        self._url = settings.endpoint.rstrip("/") + TRACES_PATH
        self._settings = settings
        self._resource = resource
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock, interval_seconds=COLLECTOR_SAID_AGAIN_SECONDS)
        self._waiting: deque[TraceSpan] = deque()
        self._some = asyncio.Event()

    def put(self, span: TraceSpan) -> None:
        """Queue a span. Without room it is left out and counted."""
        if len(self._waiting) >= self._settings.queue_max:
            self._metrics.dropped.labels("full").inc()
            return
        self._waiting.append(span)
        self._some.set()

    async def run(self) -> None:
        """Send what is queued until cancelled. While the collector is away the queue keeps the oldest."""
        backoff = Backoff(_AGAIN, now=self._clock.monotonic(), random=Random())
        async with self._session() as session:
            while True:
                await self._some.wait()
                await self._clock.sleep(GATHER_SECONDS)  # others come with it
                while self._waiting:
                    if await self._send(session):
                        backoff.reset(self._clock.monotonic())
                    else:
                        await self._clock.sleep(backoff.next_delay(self._clock.monotonic()) or _AGAIN.cap_seconds)
                self._some.clear()

    async def close(self) -> None:
        """Send what is left, once `run` is cancelled: one try, for a second. What is left then is left out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EXPORT_CLOSE_SECONDS), self._session() as session:
                while self._waiting and await self._send(session):
                    pass
        self._metrics.dropped.labels("stopped").inc(len(self._waiting))
        self._waiting.clear()

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/x-protobuf"}
        if self._settings.authorization is not None:
            headers["Authorization"] = self._settings.authorization.reveal()
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_seconds)
        return aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def _send(self, session: aiohttp.ClientSession) -> bool:
        """Send the first spans, and take them out unless they are to be sent again. Returns whether the next ones may follow at once."""
        spans = list(islice(self._waiting, SPANS_PER_REQUEST))
        try:
            async with session.post(self._url, data=self._encoded(spans), allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return self._failed(type(error).__name__)
        except Exception as error:  # a mistake in here must not end a service that bills
            self._leave_out(len(spans), type(error).__name__)
            return True
        if status in _RETRYABLE:
            return self._failed(f"HTTP {status}")
        if 200 <= status < 300:
            self._take_out(len(spans))
            self._metrics.exported.inc(len(spans))
        else:
            self._leave_out(len(spans), f"HTTP {status}")
        return True

    def _leave_out(self, count: int, problem: str) -> None:
        self._take_out(count)
        self._metrics.dropped.labels("refused").inc(count)
        self._warnings.warning(self._log, "the collector refuses spans; they are left out", problem=problem, url=self._url)

    def _take_out(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()

    def _encoded(self, spans: Sequence[TraceSpan]) -> bytes:
        return encode_spans(spans, self._resource, scope=_SCOPE, version=str(self._resource.get("service.version", "")))

    def _failed(self, problem: str) -> bool:
        self._metrics.failures.inc()
        self._warnings.warning(self._log, "the collector takes no spans; nothing else is affected", problem=problem, url=self._url)
        return False
