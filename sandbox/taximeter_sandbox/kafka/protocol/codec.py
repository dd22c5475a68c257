"""Between bytes on the wire and kio's message classes, for every version that the broker offers."""

import io
import struct
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from typing import Any, get_args, get_type_hints

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer

_REQUEST_START = struct.Struct(">hhi")
_SIZE = struct.Struct(">i")
_NO_THROTTLE = timedelta(0)

#: A response, or a part of one, by field name. Names that the version in question does not have are left out when it is written.
Fields = Mapping[str, Any]

#: (field name, nested kio class if it holds such, whether it must be given) for each field of a kio class.
_Plan = tuple[tuple[str, type[Any] | None, bool], ...]
_PLANS: dict[type[Any], _Plan] = {}


class MalformedRequest(Exception):
    """The bytes of a request do not parse as what they claim to be."""


@dataclass(frozen=True, slots=True)
class RequestStart:
    """What every request begins with, in every version."""

    api_key: int
    api_version: int
    correlation_id: int


def read_request_start(frame: bytes) -> RequestStart:
    """Read the part that can be read without knowing the API. Raises MalformedRequest."""
    if len(frame) < _REQUEST_START.size:
        raise MalformedRequest(f"a request of {len(frame)} bytes")
    return RequestStart(*_REQUEST_START.unpack_from(frame))


def read_request(frame: bytes, start: RequestStart) -> tuple[str, Any]:
    """(client id, kio request) of a whole request whose API and version are known to kio. Raises MalformedRequest."""
    schema = load_request_schema(start.api_key, start.api_version)
    try:
        header, size = entity_reader(schema.__header_schema__)(frame, 0)
        request, body_size = entity_reader(schema)(frame, size)
    except Exception as error:  # kio raises several kinds, and any of them means the same here
        raise MalformedRequest(f"API {start.api_key} version {start.api_version}: {type(error).__name__}: {error}") from error
    if size + body_size != len(frame):
        raise MalformedRequest(f"API {start.api_key} version {start.api_version}: {len(frame) - size - body_size} bytes too many")
    return header.client_id or "", request


def write_response(start: RequestStart, response: Fields) -> memoryview:
    """A whole response, its length in front; ``throttle_time`` is filled in where a version has it."""
    schema = load_response_schema(start.api_key, start.api_version)
    buffer = io.BytesIO()
    buffer.write(bytes(_SIZE.size))
    header_schema = schema.__header_schema__
    entity_writer(header_schema)(buffer, header_schema(correlation_id=start.correlation_id))  # type: ignore[arg-type]  # a plain int is an i32
    entity_writer(schema)(buffer, build_entity(schema, {"throttle_time": _NO_THROTTLE, **response}))
    message = buffer.getbuffer()
    _SIZE.pack_into(message, 0, len(message) - _SIZE.size)
    return message


def build_entity(schema: type[Any], values: Fields) -> Any:
    """An instance of a kio class from values by name, nested ones included; a field that is neither given nor defaulted is an error."""
    arguments: dict[str, Any] = {}
    for name, nested, required in _plan(schema):
        if name not in values:
            if required:
                raise TypeError(f"{schema.__module__}.{schema.__qualname__} needs {name}")
            continue
        value = values[name]
        if nested is None or value is None:
            arguments[name] = value
        elif isinstance(value, Mapping):
            arguments[name] = build_entity(nested, value)
        else:
            arguments[name] = tuple(build_entity(nested, item) for item in value)
    return schema(**arguments)


def _plan(schema: type[Any]) -> _Plan:
    """How to fill a kio class; worked out once for each of the few hundred classes."""
    plan = _PLANS.get(schema)
    if plan is None:
        hints = get_type_hints(schema)
        plan = _PLANS[schema] = tuple(
            (field.name, _nested_entity(hints[field.name]), field.default is MISSING and field.default_factory is MISSING) for field in fields(schema)
        )
    return plan


def _nested_entity(hint: Any) -> type[Any] | None:
    if isinstance(hint, type) and hasattr(hint, "__flexible__"):
        return hint
    for argument in get_args(hint):
        nested = _nested_entity(argument)
        if nested is not None:
            return nested
    return None
