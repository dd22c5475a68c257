"""A sampled request at the gateway: its span, the span of its append, and what the record says to who reads it."""

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import refused
from ingest.requests.request_ids import HEADER, RequestId, RequestIds
from ingest.tracing.append_spans import REQUEST_SPAN, AppendSpans
from ingest.tracing.request_spans import RequestSpans
from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import SpanKind, TraceSpan
from metering.tracing.trace_context import TRACEPARENT, TraceContext, parse_traceparent, traceparent_of
from metering.tracing.tracing_metrics import TracingMetrics
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.manual_clock import ManualClock
from tests.support.otlp_spans import CALLER, SpanList
from tests.support.publishing import make, place, running

OTHER = TraceContext("af92f3577b34da6a3ce929d0e0e47364", "b0f067aa0ba902b7", sampled=True)


def span_maker() -> tuple[SpanMaker, list[TraceSpan]]:
    found = SpanList()
    return SpanMaker(TracingSettings(), found, TracingMetrics.create(CollectorRegistry()), ManualClock()), found.spans


def traced(kafka: FakeKafka, **more: Any) -> tuple[Publisher, list[TraceSpan]]:
    publisher, _ = make(kafka, **more)
    made, spans = span_maker()
    publisher.spans = AppendSpans(made, "usage.events")
    return publisher, spans


def placed(publisher: Publisher, numbers: range, span: TraceContext | None) -> Any:
    token = REQUEST_SPAN.set(span)
    try:
        return place(publisher, numbers)[0]
    finally:
        REQUEST_SPAN.reset(token)


async def test_a_record_goes_on_with_the_trace_of_the_first_request_and_names_the_others() -> None:
    kafka = FakeKafka(partitions=1)
    publisher, spans = traced(kafka)
    async with running(publisher):
        requests = [placed(publisher, range(number, number + 1), span) for number, span in enumerate([None, CALLER, OTHER])]
        await asyncio.gather(*(publisher.settled(request) for request in requests))
    (span,) = spans
    assert (span.name, span.kind, span.parent, span.context.trace_id) == ("send usage.events", SpanKind.PRODUCER, CALLER.span_id, CALLER.trace_id)
    assert span.links == [OTHER]
    assert not span.error
    assert span.attributes["taximeter.events"] == 3
    (name, value), *more = next(headers for headers in kafka.headers if headers)
    assert (name, parse_traceparent(value.decode()), more) == (TRACEPARENT, span.context, [])


async def test_of_requests_that_nobody_traces_nothing_is_said() -> None:
    kafka = FakeKafka(partitions=1)
    publisher, spans = traced(kafka)
    async with running(publisher):
        await publisher.settled(placed(publisher, range(1), None))
    assert not spans
    assert not any(kafka.headers)


async def test_an_append_that_kafka_does_not_acknowledge_is_an_error() -> None:
    kafka = FakeKafka(partitions=1)
    publisher, spans = traced(kafka, acknowledge_seconds=0.1)
    async with running(publisher):
        kafka.is_silent = True
        await publisher.settled(placed(publisher, range(1), CALLER))
        kafka.break_producers()
    (span,) = spans
    assert span.error
    assert span.attributes["error.type"] == "not_acknowledged"


def request(path: str = "/v1/events", method: str = "POST") -> web.Request:
    return make_mocked_request(method, path)


async def answer(status: int, seen: list[TraceContext | None]) -> web.Response:
    seen.append(REQUEST_SPAN.get())
    return web.Response(status=status)


@pytest.mark.parametrize(("status", "is_error"), [(202, False), (400, False), (503, True)])
async def test_the_span_of_a_request_is_below_its_callers(status: int, is_error: bool) -> None:
    made, spans = span_maker()
    seen: list[TraceContext | None] = []
    await RequestSpans(made, ["/v1/events"]).around(request(), "r-1", CALLER, answer(status, seen))
    (span,) = spans
    assert (span.name, span.kind, span.parent, span.context.trace_id) == ("POST /v1/events", SpanKind.SERVER, CALLER.span_id, CALLER.trace_id)
    assert seen == [span.context]
    assert REQUEST_SPAN.get() is None
    assert bool(span.error) is is_error
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["taximeter.request_id"] == "r-1"


async def test_what_a_caller_made_up_is_not_in_a_span() -> None:
    made, spans = span_maker()
    await RequestSpans(made, ["/v1/events"]).around(request("/cus_secret?key=tmk_1", "BREW"), "r-1", CALLER, answer(404, []))
    (span,) = spans
    assert span.name == "HTTP"
    assert not any("secret" in str(value) or "BREW" in str(value) for value in span.attributes.values())


async def test_a_request_that_nobody_traces_is_answered_without_a_span() -> None:
    made, spans = span_maker()
    seen: list[TraceContext | None] = []
    for parent in (None, CALLER._replace(sampled=False)):
        await RequestSpans(made, ["/v1/events"]).around(request(), "r-1", parent, answer(202, seen))
    assert (spans, seen) == ([], [None, None])


def test_an_error_names_the_trace_next_to_the_request() -> None:
    given = RequestIds().of({HEADER: "r-1", TRACEPARENT: traceparent_of(CALLER._replace(sampled=False))})
    body = refused(RequestRefused(Refusal.OVERLOADED, "full"), given).body
    assert isinstance(body, bytes)
    assert orjson.loads(body)["trace_id"] == CALLER.trace_id
    assert given.fields() == {"request_id": "r-1", "trace_id": CALLER.trace_id}
    malformed = RequestIds().of({HEADER: "r-2", TRACEPARENT: "00-0-0-01"})
    assert malformed == RequestId("r-2")
    body = refused(RequestRefused(Refusal.OVERLOADED, "full"), malformed).body
    assert isinstance(body, bytes)
    assert "trace_id" not in orjson.loads(body)
