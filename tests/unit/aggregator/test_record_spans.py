"""Sampled records on their way to a tally: found by their bytes as by their headers, and no more of them than is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aggregator import record_spans
from aggregator.record_spans import RecordSpans
from metering.records.record import Record
from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import SpanKind
from metering.tracing.trace_context import TraceContext, traceparent_of
from metering.tracing.tracing_metrics import TracingMetrics
from tests.support.manual_clock import ManualClock
from tests.support.metering_framed_records import framed
from tests.support.otlp_spans import CALLER, SpanList

SAMPLED = ("traceparent", traceparent_of(CALLER).encode())
UNSAMPLED = ("traceparent", traceparent_of(CALLER._replace(sampled=False)).encode())
VALUES = [b"{}", b'{"traceparent":"00-x"}', b"traceparent" * 3, None]
HEADERS = st.lists(
    st.sampled_from([SAMPLED, UNSAMPLED, ("traceparent", b"\xff"), ("traceparent", None), ("x", b"traceparent"), ("y", b"")]), max_size=3
)
RECORDS = st.lists(st.tuples(st.sampled_from(VALUES), HEADERS), min_size=1, max_size=12)


def spans_of(*runs: object, per_second: int = 1_000) -> tuple[RecordSpans, SpanList]:
    sink = SpanList()
    span_maker = SpanMaker(TracingSettings(spans_per_second=per_second), sink, TracingMetrics.create(CollectorRegistry()), ManualClock())
    subject = RecordSpans(span_maker, topic="usage.events", partition=3)
    for run in runs:
        subject.look(run)  # type: ignore[arg-type]
    return subject, sink


@given(RECORDS, st.data())
def test_bytes_and_headers_show_the_same(given_records: list[tuple[bytes | None, list[tuple[str, bytes | None]]]], data: st.DataObject) -> None:
    records = [Record(100 + at, 0, b"traceparent", value, tuple(headers)) for at, (value, headers) in enumerate(given_records)]
    begin = data.draw(st.integers(0, len(records) - 1))
    end = data.draw(st.integers(begin + 1, len(records)))
    sampled = [record.offset for record in records[begin:end] if dict(reversed(record.headers)).get("traceparent") == SAMPLED[1]]
    for run in (records[begin:end], framed(records)[begin:end]):
        subject, sink = spans_of(run)
        subject.tallied(7)
        assert [span.attributes["messaging.kafka.offset"] for span in sink.spans] == sampled


def test_the_span_of_a_record_is_below_that_of_its_append_and_names_its_tally() -> None:
    subject, sink = spans_of([Record(5, 0, None, b"{}", (SAMPLED,))])
    assert not sink.spans
    subject.tallied(41)
    subject.tallied(42)
    (span,) = sink.spans
    assert (span.name, span.kind, span.parent, span.context.trace_id) == ("process usage.events", SpanKind.CONSUMER, CALLER.span_id, CALLER.trace_id)
    assert span.attributes["messaging.destination.partition.id"] == "3"
    assert span.attributes["taximeter.tally.offset"] == 41
    assert isinstance(span.context, TraceContext)


def test_what_is_counted_again_has_no_span_of_the_first_time() -> None:
    subject, sink = spans_of([Record(5, 0, None, b"{}", (SAMPLED,))])
    subject.forget()
    subject.tallied(41)
    assert not sink.spans


@pytest.mark.parametrize(("per_second", "expected"), [(1_000, 4), (2, 2)])
def test_spans_of_a_tally_and_of_a_second_are_bounded(per_second: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_spans, "RECORDS_PER_TALLY", 4)
    run = [Record(at, 0, None, b"{}", (SAMPLED,)) for at in range(9)]
    subject, sink = spans_of(framed(run), run, per_second=per_second)
    subject.tallied(41)
    assert len(sink.spans) == expected
