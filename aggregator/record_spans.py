"""Spans of sampled records, from their reading to their tally. Only where a collector is configured: elsewhere no header is looked at.

A record says by its header `traceparent` whether somebody records its trace. Batches of the gateway have that of their append.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from metering.kafka.batches.framed_records import FramedRecords
from metering.records.record import LogRecord
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import SpanKind, TraceSpan
from metering.tracing.trace_context import TRACEPARENT, TraceContext, parse_traceparent

RECORDS_PER_TALLY: Final = 100
"""Of further sampled records in a tally there is no span."""

_NAME: Final = TRACEPARENT.encode()
_HEADERS_BYTES_MAX: Final = 4096  # as far as the header is looked for in the headers of the last record
_HEADERS_AT, _HEADERS_COUNT = 4, 5


class _Sampled(NamedTuple):
    offset: int
    parent: TraceContext
    read_ns: int


class RecordSpans:
    """Of one partition. `topic`: of the records."""

    def __init__(self, span_maker: SpanMaker, *, topic: str, partition: int) -> None:
        self._span_maker = span_maker
        self._topic = topic
        self._partition = partition
        self._sampled: list[_Sampled] = []

    def look(self, records: Sequence[LogRecord]) -> None:
        """Note the sampled ones among records that were counted."""
        read_ns = self._span_maker.now_ns()
        for record in _with_trace(records):
            if len(self._sampled) >= RECORDS_PER_TALLY:
                return
            parent = _trace_of(record)
            if parent is not None and parent.sampled:
                self._sampled.append(_Sampled(record.offset, parent, read_ns))

    def tallied(self, tally_offset: int) -> None:
        """What was noted is in an accepted tally, which is at this offset."""
        ended_ns = self._span_maker.now_ns()
        for offset, parent, read_ns in self._sampled:
            context = self._span_maker.child_of(parent)
            if context is not None:
                self._span_maker.end(self._span(offset, parent, context, (read_ns, ended_ns), tally_offset))
        self._sampled.clear()

    def forget(self) -> None:
        """What was noted is counted again, here or elsewhere."""
        self._sampled.clear()

    def _span(self, offset: int, parent: TraceContext, context: TraceContext, times_ns: tuple[int, int], tally_offset: int) -> TraceSpan:
        return TraceSpan(
            name=f"process {self._topic}",
            kind=SpanKind.CONSUMER,
            context=context,
            start_ns=times_ns[0],
            end_ns=times_ns[1],
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": self._topic,
                "messaging.destination.partition.id": str(self._partition),
                "messaging.kafka.offset": offset,
                "taximeter.tally.offset": tally_offset,
            },
            parent=parent.span_id,
        )


def _trace_of(record: LogRecord) -> TraceContext | None:
    value = next((value for name, value in record.headers if name == TRACEPARENT), None)
    return None if value is None else parse_traceparent(value.decode("latin-1"))


def _with_trace(records: Sequence[LogRecord]) -> Iterator[LogRecord]:
    """The records that may have the header. Of framed ones the bytes are searched, so that no record is made that has none."""
    if not isinstance(records, FramedRecords):
        yield from (record for record in records if record.headers)
        return
    having = np.flatnonzero(records.places[:, _HEADERS_COUNT] > 0)
    if not len(having):
        return
    begins = records.places[having, _HEADERS_AT]
    at, end = int(begins[0]), int(begins[-1]) + _HEADERS_BYTES_MAX
    while (at := records.data.find(_NAME, at, end)) >= 0:
        found = int(begins.searchsorted(at, side="right")) - 1
        yield records[int(having[found])]
        if found + 1 == len(having):
            return
        at = int(begins[found + 1])  # one look at each record, whatever its value says
