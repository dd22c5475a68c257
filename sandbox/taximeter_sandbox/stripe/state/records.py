"""Frozen dataclasses out of the JSON that the journal has of them.

orjson writes a dataclass as an object of its fields. `restored` is the way back: it follows the annotations, which may be scalars,
tuples, dataclasses and unions of one of these with None.
"""

import functools
import types
from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

R = TypeVar("R")


def restored(kind: type[R], given: Mapping[str, Any]) -> R:
    """The record whose fields `given` has. Raises TypeError or KeyError when it is of another kind."""
    hints = _hints(cast("Any", kind))
    return kind(**{name: _value(hints[name], value) for name, value in given.items()})


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = get_origin(hint)
    if origin is Union or origin is types.UnionType:
        return _value(next(option for option in get_args(hint) if option is not type(None)), value)
    if origin is tuple:
        parts = get_args(hint)
        each = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        return tuple(_value(part, item) for part, item in zip(each, value, strict=True))
    return restored(cast("type[Any]", hint), value) if is_dataclass(hint) else value
