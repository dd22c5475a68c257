"""Makes the contexts of spans, and passes finished spans on. There is one only where a collector is configured; elsewhere nothing of it runs."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import Final, Protocol

from taximeter_emitter.clock import Clock

from metering.process.service import ServiceContext, installed_version
from metering.tracing.settings import TracingSettings
from metering.tracing.span_exporter import SpanExporter
from metering.tracing.spans import TraceSpan
from metering.tracing.trace_context import TraceContext
from metering.tracing.tracing_metrics import TracingMetrics

SERVICE_NAMESPACE: Final = "taximeter"


class SpanSink(Protocol):
    """Where finished spans go."""

    def put(self, span: TraceSpan) -> None:
        """Take one. Never waits, never raises."""
        ...


class PerSecond:
    """Admits at most a number in each second of a monotonic clock."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._second = -1
        self._admitted = 0

    def admit(self) -> bool:
        """Whether one more is within the bound."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._admitted = second, 0
        self._admitted += 1
        return self._admitted <= self._most


class SpanMaker:
    """Bounded: beyond `spans_per_second` there is no context, and the work goes on without a span. Times are Unix ns."""

    def __init__(
        self, settings: TracingSettings, sink: SpanSink, metrics: TracingMetrics, clock: Clock, *, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.now_ns = wall_ns
        self._sink = sink
        self._metrics = metrics
        self._spans = PerSecond(settings.spans_per_second, clock)
        self._stripe_calls = PerSecond(settings.stripe_calls_per_second, clock)
        self._random = Random(SystemRandom().getrandbits(128))

    def child_of(self, parent: TraceContext | None) -> TraceContext | None:
        """The context of a span below this one; None if nobody records its trace, or beyond the bound."""
        if parent is None or not parent.sampled:
            return None
        if not self._spans.admit():
            self._metrics.dropped.labels("rate").inc()
            return None
        return TraceContext(parent.trace_id, self._digits(64), sampled=True)

    def of_stripe_call(self) -> TraceContext | None:
        """The context of a span that begins a trace; None for a call that is not sampled."""
        return TraceContext(self._digits(128), self._digits(64), sampled=True) if self._stripe_calls.admit() else None

    def end(self, span: TraceSpan) -> None:
        """A span is finished."""
        self._sink.put(span)

    def _digits(self, bits: int) -> str:
        # All zeros would be no id.
        return f"{self._random.getrandbits(bits) or 1:0{bits // 4}x}"


@asynccontextmanager
async def tracing_to(settings: TracingSettings, context: ServiceContext) -> AsyncIterator[SpanMaker | None]:
    """The span_maker of a service while the block lasts, with its exporter in the background; None where no collector is configured."""
    if settings.endpoint is None:
        yield None
        return
    metrics = TracingMetrics.create(context.registry)
    resource = {
        "service.name": f"{SERVICE_NAMESPACE}-{context.name}",
        "service.namespace": SERVICE_NAMESPACE,
        "service.version": installed_version(),
        "host.name": socket.gethostname(),
    }
    exporter = SpanExporter(settings, resource, metrics, context.clock)
    context.log.info("spans of sampled requests go to a collector", endpoint=settings.endpoint)
    running = context.spawn("spans", exporter.run(), background=True)
    try:
        yield SpanMaker(settings, exporter, metrics, context.clock)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await exporter.close()
