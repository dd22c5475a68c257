"""Spans of appends to Kafka, and which request's span they are below. Only where a collector is configured."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from taximeter_emitter.transports.batch_producer import RecordHeaders

from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import AttributeValue, SpanKind, TraceSpan
from metering.tracing.trace_context import TRACEPARENT, TraceContext, traceparent_of

REQUEST_SPAN: Final[ContextVar[TraceContext | None]] = ContextVar("request_span", default=None)
"""The span of the request that is being answered."""

NO_HEADERS: Final[RecordHeaders] = ()


class TracedBatch(Protocol):
    """A batch on its way to Kafka, by identity."""

    @property
    def partition(self) -> int: ...  # noqa: D102

    @property
    def count(self) -> int: ...  # noqa: D102

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Begun:
    context: TraceContext
    start_ns: int
    parent: TraceContext
    others: Sequence[TraceContext]


class AppendSpans:
    """One span for each batch that has events of a sampled request. It is below the first of these requests' spans, and has links to the others'."""

    def __init__(self, span_maker: SpanMaker, topic: str) -> None:
        self._span_maker = span_maker
        self._topic = topic
        self._begun: dict[TracedBatch, _Begun] = {}

    def begin(self, batch: TracedBatch, spans: Sequence[TraceContext]) -> RecordHeaders:
        """The batch goes to Kafka, with these headers. `spans`: of the requests that have events in it."""
        context = self._span_maker.child_of(spans[0]) if spans else None
        if context is None:
            return NO_HEADERS
        self._begun[batch] = _Begun(context, self._span_maker.now_ns(), spans[0], spans[1:])
        return ((TRACEPARENT, traceparent_of(context).encode()),)

    def end(self, batch: TracedBatch, *, acknowledged: bool) -> None:
        """The fate of the batch is known."""
        begun = self._begun.pop(batch, None)
        if begun is None:
            return
        error = "" if acknowledged else "Kafka has not acknowledged the record"
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": self._topic,
            "messaging.destination.partition.id": str(batch.partition),
            "taximeter.events": batch.count,
        }
        self._span_maker.end(
            TraceSpan(
                name=f"send {self._topic}",
                kind=SpanKind.PRODUCER,
                context=begun.context,
                start_ns=begun.start_ns,
                end_ns=self._span_maker.now_ns(),
                attributes=attributes | ({"error.type": "not_acknowledged"} if error else {}),
                parent=begun.parent.span_id,
                links=begun.others,
                error=error,
            )
        )
