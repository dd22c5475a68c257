"""Reads the spans of an OTLP request in JSON. Pure."""

from collections.abc import Iterator
from typing import Any, Final

_VALUES: Final = ("stringValue", "intValue", "doubleValue", "boolValue")
_STATUS: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def json_spans(document: Any) -> Iterator[dict[str, Any]]:
    """The spans of a decoded ExportTraceServiceRequest, as mappings see them. What OTLP does not say is passed over."""
    for resource_spans in _objects(document, "resourceSpans"):
        resource = _attributes(_object(resource_spans, "resource"))
        for scope_spans in _objects(resource_spans, "scopeSpans"):
            scope = _object(scope_spans, "scope").get("name", "")
            for span in _objects(scope_spans, "spans"):
                status = _object(span, "status").get("code", 0)
                yield {
                    "trace_id": span.get("traceId"),
                    "span_id": span.get("spanId"),
                    "name": span.get("name", ""),
                    "start_ns": span.get("startTimeUnixNano"),
                    "end_ns": span.get("endTimeUnixNano"),
                    "status": _STATUS.get(status, 0) if type(status) is str else status,
                    "attributes": _attributes(span),
                    "scope": scope,
                    "resource": resource,
                }


def _objects(holder: Any, name: str) -> list[dict[str, Any]]:
    found = holder.get(name) if type(holder) is dict else None
    return [each for each in found if type(each) is dict] if type(found) is list else []


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    return found if type(found) is dict else {}


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in _objects(holder, "attributes"):
        key, value = attribute.get("key"), _object(attribute, "value")
        if type(key) is str:
            found[key] = next((value[kind] for kind in _VALUES if kind in value), None)
    return found
