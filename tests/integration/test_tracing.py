"""One trace from a request to its tally, as a collector sees it."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import orjson
import pytest

from metering.kafka.clients import KafkaSettings
from metering.tracing.trace_context import TRACEPARENT, traceparent_of
from tests.support.aggregator_process import aggregator
from tests.support.broker_topics import unique_name
from tests.support.gateway_process import gateway
from tests.support.gateway_requests import event, post
from tests.support.otlp_spans import CALLER, Collector, SeenSpan, collector

pytestmark = pytest.mark.broker
PATIENCE_SECONDS: Final = 60.0


async def test_one_trace_leads_from_a_request_to_its_tally(broker: str, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("traced"), partitions=1, replication_factor=1)
    header = {TRACEPARENT: traceparent_of(CALLER)}
    with ExitStack() as stack:
        collected = stack.enter_context(collector())
        tracing = {"TAXIMETER_TRACING_ENDPOINT": collected.url}
        door = stack.enter_context(gateway(kafka, tmp_path / "gateway", variables=tracing))
        stack.enter_context(aggregator(kafka, tmp_path / "aggregator", more=tracing))
        assert (await post(door.url, orjson.dumps([event(1), event(1)]), header))[0] == 202
        assert (await post(door.url, orjson.dumps(event(2)), {TRACEPARENT: traceparent_of(CALLER._replace(sampled=False))}))[0] == 202
        status, answer, _ = await post(door.url, b"{", header)
        assert (status, answer["trace_id"]) == (400, CALLER.trace_id)
        _wait_for(collected, "process ")
        spans = {span.name: span for span in collected.spans if span.attributes.get("http.response.status_code") != 400}
        assert len(collected.spans) == len(spans) + 1, collected.spans
    request, send, process = (_one(spans, words) for words in ("POST /v1/events", "send ", "process "))
    assert [span.parent for span in (request, send, process)] == [CALLER.span_id, request.span_id, send.span_id]
    assert {span.trace_id for span in spans.values()} == {CALLER.trace_id}
    assert [span.service for span in (request, send, process)] == ["taximeter-gateway", "taximeter-gateway", "taximeter-aggregator"]
    assert (process.attributes["messaging.kafka.offset"], process.attributes["taximeter.tally.offset"]) == (0, 0)
    assert 0 < send.seconds <= request.seconds


def _wait_for(found: Collector, words: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(words in span.name for span in found.spans):
        assert time.monotonic() < deadline, [span.name for span in found.spans]
        time.sleep(0.05)


def _one(spans: dict[str, SeenSpan], words: str) -> SeenSpan:
    (found,) = (span for name, span in spans.items() if name.startswith(words))
    return found
