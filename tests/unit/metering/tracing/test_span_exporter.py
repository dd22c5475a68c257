"""Spans on their way to a collector: what it reads, and that nobody minds when it is away, refuses, or is slow."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.configuration.secrets import Secret
from metering.tracing import span_exporter
from metering.tracing.settings import TracingSettings
from metering.tracing.span_encoding import encode_spans
from metering.tracing.span_exporter import SpanExporter
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import SPAN_LINKS_MAX, SpanKind, TraceSpan
from metering.tracing.trace_context import TraceContext
from metering.tracing.tracing_metrics import TracingMetrics
from tests.support.manual_clock import ManualClock
from tests.support.otlp_spans import CALLER, SpanList, collector, seen
from tests.support.waiting import until_async

RESOURCE = {"service.name": "taximeter-test", "service.version": "1"}


def span(number: int = 1, **more: object) -> TraceSpan:
    given: dict[str, object] = {
        "name": "send usage.events",
        "kind": SpanKind.PRODUCER,
        "context": TraceContext(CALLER.trace_id, f"{number:016x}", sampled=True),
        "start_ns": 1_800_000_000_000_000_000,
        "end_ns": 1_800_000_000_500_000_000,
        "attributes": {"text": "größe", "nothing": "", "number": -3, "zero": 0, "yes": True, "no": False},
        **more,
    }
    return TraceSpan(**given)  # type: ignore[arg-type]


def exporter(url: str, **more: object) -> tuple[SpanExporter, CollectorRegistry]:
    registry = CollectorRegistry()
    settings = TracingSettings(endpoint=url, **more)  # type: ignore[arg-type]
    return SpanExporter(settings, RESOURCE, TracingMetrics.create(registry), SystemClock()), registry


@asynccontextmanager
async def running(subject: SpanExporter) -> AsyncIterator[None]:
    task = asyncio.create_task(subject.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_exporter, "GATHER_SECONDS", 0.01)


def test_a_collector_reads_what_was_written() -> None:
    links = [TraceContext(f"{number:032x}", f"{number:016x}", sampled=True) for number in range(1, SPAN_LINKS_MAX + 4)]
    body = encode_spans([span(parent=CALLER.span_id, links=links, error="away"), span(2)], RESOURCE, scope="taximeter", version="1")
    first, second = seen(body)
    assert (first.name, first.kind, first.trace_id, first.parent) == ("send usage.events", 4, CALLER.trace_id, CALLER.span_id)
    assert first.attributes == {"text": "größe", "nothing": "", "number": -3, "zero": 0, "yes": True, "no": False}
    assert (first.links, first.links_left_out) == ([(link.trace_id, link.span_id) for link in links[:SPAN_LINKS_MAX]], 3)
    assert (first.seconds, first.is_error, first.service) == (0.5, True, "taximeter-test")
    assert (second.parent, second.links, second.is_error, second.span_id) == ("", [], False, f"{2:016x}")


async def test_spans_come_with_the_header_that_the_collector_asks_for() -> None:
    with collector() as found:
        subject, registry = exporter(found.url + "/", authorization=Secret("Bearer t-1"))
        async with running(subject):
            for number in range(1, 601):
                subject.put(span(number))
            await until_async(lambda: registry.get_sample_value("taximeter_spans_exported_total") == 600)
        assert [int(each.span_id, 16) for each in found.spans] == list(range(1, 601))
        assert len(found.bodies) == 2
        assert {headers["Authorization"] for headers in found.headers} == {"Bearer t-1"}


async def test_while_the_collector_is_away_the_oldest_spans_wait_and_others_are_counted() -> None:
    with collector() as found:
        found.status = 503
        subject, registry = exporter(found.url, queue_max=3)
        async with running(subject):
            for number in range(1, 6):
                subject.put(span(number))
            await until_async(lambda: registry.get_sample_value("taximeter_spans_export_failures_total") == 1)
        assert registry.get_sample_value("taximeter_spans_dropped_total", {"reason": "full"}) == 2
        found.status = 200
        await subject.close()
        assert [int(each.span_id, 16) for each in found.spans] == [1, 2, 3]


async def test_what_the_collector_refuses_is_left_out_and_the_next_goes_on() -> None:
    with collector() as found:
        found.status = 400
        subject, registry = exporter(found.url)
        async with running(subject):
            subject.put(span(1))
            await until_async(lambda: registry.get_sample_value("taximeter_spans_dropped_total", {"reason": "refused"}) == 1)
            found.status = 200
            subject.put(span(2))
            await until_async(lambda: len(found.spans) == 1)
        assert found.spans[0].span_id == f"{2:016x}"


async def test_a_span_that_cannot_be_encoded_ends_nothing() -> None:
    with collector() as found:
        subject, registry = exporter(found.url)
        async with running(subject):
            subject.put(span(attributes={"what": object()}))
            await until_async(lambda: registry.get_sample_value("taximeter_spans_dropped_total", {"reason": "refused"}) == 1)
            subject.put(span(2))
            await until_async(lambda: len(found.spans) == 1)


async def test_a_collector_that_never_answers_keeps_no_process_from_stopping() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        subject, registry = exporter(f"http://127.0.0.1:{silent.getsockname()[1]}")
        subject.put(span())
        began = time.monotonic()
        await subject.close()
    assert time.monotonic() - began < 3 * span_exporter.EXPORT_CLOSE_SECONDS
    assert registry.get_sample_value("taximeter_spans_dropped_total", {"reason": "stopped"}) == 1


def test_beyond_the_bound_of_a_second_there_are_no_spans() -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    span_maker = SpanMaker(TracingSettings(spans_per_second=2, stripe_calls_per_second=1), SpanList(), TracingMetrics.create(registry), clock)
    made = [span_maker.child_of(CALLER) for _ in range(5)]
    assert [context is not None for context in made] == [True, True, False, False, False]
    assert registry.get_sample_value("taximeter_spans_dropped_total", {"reason": "rate"}) == 3
    assert [span_maker.of_stripe_call() is not None for _ in range(2)] == [True, False]
    clock.advance(1)
    first, second = span_maker.child_of(CALLER), span_maker.of_stripe_call()
    assert first is not None
    assert second is not None
    assert (first.trace_id, first.span_id != CALLER.span_id, second.trace_id != CALLER.trace_id) == (CALLER.trace_id, True, True)


def test_a_trace_that_nobody_records_has_no_spans() -> None:
    span_maker = SpanMaker(TracingSettings(), SpanList(), TracingMetrics.create(CollectorRegistry()), ManualClock())
    assert span_maker.child_of(None) is None
    assert span_maker.child_of(CALLER._replace(sampled=False)) is None


@pytest.mark.parametrize("endpoint", ["collector:4318", "http://", "http://u:p@collector", "https://collector/?a=b", "http://[", "http://c:x"])
def test_an_endpoint_that_is_no_server_is_named_at_the_start(endpoint: str) -> None:
    assert TracingSettings(endpoint=endpoint).problems()
    assert not TracingSettings(endpoint="https://collector.internal/otlp").problems()
    assert not TracingSettings().problems()
