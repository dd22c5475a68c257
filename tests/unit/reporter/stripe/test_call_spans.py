"""Sampled calls with meter events: what their spans say, and that others are as if there were none."""

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import SpanKind
from metering.tracing.tracing_metrics import TracingMetrics
from reporter.stripe.call_spans import CallSpans, HttpReply
from reporter.stripe.replies import ErrorReply
from tests.support.manual_clock import ManualClock
from tests.support.otlp_spans import SpanList

URL = "https://api.stripe.com/v1/billing/meter_events"
HEADERS = {"Authorization": "Bearer rk_live_1", "idempotency-key": "tm-1"}


async def reply(status: int) -> HttpReply:
    headers: Mapping[str, str] = {"Request-Id": "req_1", "Set-Cookie": "secret"}
    return b"{}", status, headers


async def refused() -> HttpReply:
    raise ErrorReply(429, {"Request-Id": "req_2"}, b"{}")


async def lost() -> HttpReply:
    raise TimeoutError


async def test_a_sampled_call_is_a_trace_of_its_own() -> None:
    sink = SpanList()
    calls = CallSpans(SpanMaker(TracingSettings(), sink, TracingMetrics.create(CollectorRegistry()), ManualClock()))
    assert await calls.around("post", URL, HEADERS, reply(200)) == await reply(200)
    assert await calls.around("post", URL, HEADERS, reply(200)) == await reply(200)  # the second of this second
    (span,) = sink.spans
    assert (span.name, span.kind, span.parent, span.error) == ("POST /v1/billing/meter_events", SpanKind.CLIENT, "", "")
    assert span.attributes == {
        "http.request.method": "POST",
        "url.full": URL,
        "url.template": "/v1/billing/meter_events",
        "server.address": "api.stripe.com",
        "server.port": 443,
        "http.request.header.idempotency-key": ["tm-1"],
        "http.response.status_code": 200,
        "http.response.header.request-id": ["req_1"],
    }


async def test_a_call_that_fails_is_an_error_and_fails_as_before() -> None:
    sink = SpanList()
    settings = TracingSettings(stripe_calls_per_second=10)
    calls = CallSpans(SpanMaker(settings, sink, TracingMetrics.create(CollectorRegistry()), ManualClock()))
    with pytest.raises(ErrorReply):
        await calls.around("post", URL, HEADERS, refused())
    with pytest.raises(TimeoutError):
        await calls.around("post", URL, HEADERS, lost())
    assert [(span.error, span.attributes["error.type"]) for span in sink.spans] == [("429", "429"), ("TimeoutError", "TimeoutError")]
    assert sink.spans[0].attributes["http.response.header.request-id"] == ["req_2"]
