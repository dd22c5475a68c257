"""Reads the spans of an OTLP request in protobuf: the few fields that a mapping may name, and no other. Pure.

A decoder of its own rather than Google's: six messages with a dozen fields, whose numbers never change, need no dependency. What is not needed, such
as events with prompts in them, is stepped over without being decoded. Every read is within the bytes of its message.
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import Any, Final

from ingest.refusals import Refusal, RequestRefused
from metering.tracing.span_encoding import encoded_varint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX: Final = 10
_SIGN: Final = 1 << 63
_ALL: Final = 1 << 64
_ATTRIBUTES_MAX: Final = 256

Fields = Iterator[tuple[int, Any]]
"""The number of each field of a message, with an integer or its bytes."""


def protobuf_spans(body: bytes) -> Iterator[dict[str, Any]]:
    """The spans of an ExportTraceServiceRequest. Raises RequestRefused, also while they are taken."""
    for number, resource_spans in _fields(memoryview(body)):
        if number == 1:
            yield from _resource_spans(_message(resource_spans))


def partial_success(rejected: int, text: str) -> bytes:
    """An ExportTraceServiceResponse."""
    if not rejected and not text:
        return b""
    message = text.encode()
    inner = (b"\x08" + encoded_varint(rejected) if rejected else b"") + b"\x12" + encoded_varint(len(message)) + message
    return b"\x0a" + encoded_varint(len(inner)) + inner


def _resource_spans(message: memoryview) -> Iterator[dict[str, Any]]:
    resource: dict[str, Any] = {}
    scopes = []
    for number, value in _fields(message):
        if number == 1:
            resource = _attributes(_message(value), field=1)
        elif number == 2:
            scopes.append(_message(value))
    for scope_spans in scopes:
        yield from _scope_spans(scope_spans, resource)


def _scope_spans(message: memoryview, resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    scope = ""
    spans = []
    for number, value in _fields(message):
        if number == 1:
            scope = next((_text(each) for field, each in _fields(_message(value)) if field == 1), "")
        elif number == 2:
            spans.append(_message(value))
    for span in spans:
        yield {**_span(span), "scope": scope, "resource": resource}


def _span(message: memoryview) -> dict[str, Any]:
    found: dict[str, Any] = {"attributes": _attributes(message, field=9), "status": 0}
    for number, value in _fields(message):
        if number == 1:
            found["trace_id"] = _message(value).hex()
        elif number == 2:
            found["span_id"] = _message(value).hex()
        elif number == 5:
            found["name"] = _text(value)
        elif number == 7:
            found["start_ns"] = value
        elif number == 8:
            found["end_ns"] = value
        elif number == 15:
            found["status"] = next((code for field, code in _fields(_message(value)) if field == 3), 0)
    return found


def _attributes(message: memoryview, *, field: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(message):
        if number == field and len(found) < _ATTRIBUTES_MAX:
            parts = dict(_fields(_message(value)))
            if 1 in parts and 2 in parts:
                found[_text(parts[1])] = _any_value(_message(parts[2]))
    return found


def _any_value(message: memoryview) -> Any:
    """A text, boolean, integer or float; None for what no mapping can use."""
    for number, value in _fields(message):
        if number == 1:
            return _text(value)
        if number == 2:
            return bool(value)
        if number == 3:
            return value - _ALL if value >= _SIGN else value
        if number == 4:
            return unpack_from("<d", value.to_bytes(8, "little"))[0]
    return None


def _fields(message: memoryview) -> Fields:
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        size = 8 if kind == _FIXED64 else 4
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind not in {_FIXED64, _FIXED32}:
            raise _broken()
        if size > end - place:
            raise _broken()
        content = message[place : place + size]
        yield key >> 3, content if kind == _BYTES else int.from_bytes(content, "little")
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[place : place + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value % _ALL, place + shift + 1
    raise _broken()


def _message(value: Any) -> memoryview:
    if type(value) is not memoryview:
        raise _broken()
    return value


def _text(value: Any) -> str:
    return str(_message(value), "utf-8", "replace")


def _broken() -> RequestRefused:
    return RequestRefused(Refusal.MALFORMED_PROTOBUF, "the body is not an ExportTraceServiceRequest in protobuf")
