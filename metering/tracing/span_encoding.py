"""Spans as an ExportTraceServiceRequest of OTLP, in protobuf. Pure.

Written by hand: it is a page, while OpenTelemetry's SDK and exporter are a dozen distributions. Decision 39 says more.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from metering.tracing.spans import SPAN_LINKS_MAX, AttributeValue, TraceSpan
from metering.tracing.trace_context import TraceContext

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STATUS_ERROR: Final = 2
_REMOTE_KNOWN: Final = 0x100  # of the flags: it is known whether the span is of another process


def encode_spans(spans: Iterable[TraceSpan], resource: Mapping[str, AttributeValue], *, scope: str, version: str) -> bytes:
    """A whole request. `resource`: attributes of the process; `scope` and `version`: of what made the spans."""
    about = _message(1, _attributes(1, resource))
    inside = _message(1, _text(1, scope) + _text(2, version)) + b"".join(_message(2, _span(span)) for span in spans)
    return _message(1, about + _message(2, inside))


def _span(span: TraceSpan) -> bytes:
    links = span.links[:SPAN_LINKS_MAX]
    return b"".join(
        (
            _bytes(1, bytes.fromhex(span.context.trace_id)),
            _bytes(2, bytes.fromhex(span.context.span_id)),
            _bytes(4, bytes.fromhex(span.parent)) if span.parent else b"",
            _text(5, span.name),
            _number(6, span.kind),
            _fixed64(7, span.start_ns),
            _fixed64(8, span.end_ns),
            _attributes(9, span.attributes),
            b"".join(_message(13, _link(link)) for link in links),
            _number(14, len(span.links) - len(links)),
            _message(15, _text(2, span.error) + _number(3, _STATUS_ERROR)) if span.error else b"",
            _fixed32(16, int(span.context.sampled)),
        )
    )


def _link(context: TraceContext) -> bytes:
    flags = _REMOTE_KNOWN | int(context.sampled)
    return _bytes(1, bytes.fromhex(context.trace_id)) + _bytes(2, bytes.fromhex(context.span_id)) + _fixed32(6, flags)


def _attributes(field: int, attributes: Mapping[str, AttributeValue]) -> bytes:
    return b"".join(_message(field, _text(1, name) + _message(2, _value(value))) for name, value in attributes.items())


def _value(value: AttributeValue) -> bytes:
    # A zero, a False or an empty text is written, too: a value without a field would be none.
    if isinstance(value, str):
        return _bytes(1, value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return _key(2, _VARINT) + encoded_varint(value)
    if isinstance(value, int):
        return _key(3, _VARINT) + encoded_varint(value % (1 << 64))
    return _message(5, b"".join(_message(1, _value(each)) for each in value))


def _message(field: int, content: bytes) -> bytes:
    return _bytes(field, content)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + encoded_varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode("utf-8", "replace")) if text else b""


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + encoded_varint(value) if value else b""


def _fixed64(field: int, value: int) -> bytes:
    return _key(field, _FIXED64) + value.to_bytes(8, "little")


def _fixed32(field: int, value: int) -> bytes:
    return _key(field, _FIXED32) + value.to_bytes(4, "little")


def _key(field: int, kind: int) -> bytes:
    return encoded_varint(field << 3 | kind)


def encoded_varint(value: int) -> bytes:
    """A whole number of zero or above as protobuf writes it."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
