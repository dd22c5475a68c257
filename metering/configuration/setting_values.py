"""Converts the text of an environment variable, or a value of a TOML file, to the type of a settings field."""

import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from metering.configuration.secrets import Secret

PREFIX: Final = "TAXIMETER_"
FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
"""Names the settings file."""

TEXT_CHARS_MAX: Final = 65_536

_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_INTEGER: Final = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_SCALARS: Final = (str, int, float, bool, Secret, Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of a value beyond its type. `minimum` and `maximum` are inclusive; empty `choices` allow any value."""

    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a setting: a scalar, an optional scalar, or a list of scalars."""

    scalar: type
    optional: bool = False
    many: bool = False

    @property
    def is_secret(self) -> bool:
        """Whether values of this type must never be shown."""
        return self.scalar is Secret

    @property
    def words(self) -> str:
        """The type in words, for the documentation."""
        word = {str: "text", int: "integer", float: "number", bool: "boolean", Secret: "secret", Path: "path"}[self.scalar]
        return f"list of {word}" if self.many else word


class RefusedValueError(ValueError):
    """The value does not fit. The message says why, and never repeats the value."""


def value_type(annotation: Any) -> ValueType:
    """Read the annotation of a field. Raises TypeError for a type that a setting cannot have."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType} and len(arguments) == 2 and types.NoneType in arguments:
        inner = value_type(next(argument for argument in arguments if argument is not types.NoneType))
        return ValueType(inner.scalar, optional=True, many=inner.many)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and arguments[0] in {str, Secret}:
        return ValueType(arguments[0], many=True)
    if annotation in _SCALARS:
        return ValueType(annotation)
    raise TypeError(f"{annotation!r} is not a type that a setting can have")


def accepted(kind: ValueType, bounds: Bounds, unit: str) -> str:
    """The values that a variable of this type takes, in words."""
    if bounds.choices:
        return "one of " + ", ".join(bounds.choices) + (", separated by commas" if kind.many else "")
    words = {
        str: "a text",
        int: "an integer",
        float: "a number",
        bool: "true or false",
        Secret: "a secret text",
        Path: "a path",
    }[kind.scalar]
    if kind.many:
        words = "texts separated by commas (in the file: an array)"
    if unit:
        words += f" of {unit}"
    if bounds.minimum is not None and bounds.maximum is not None:
        return f"{words} from {bounds.minimum} to {bounds.maximum}"
    if bounds.minimum is not None:
        return f"{words}, at least {bounds.minimum}"
    if bounds.maximum is not None:
        return f"{words}, at most {bounds.maximum}"
    return words


def from_text(text: str, kind: ValueType, bounds: Bounds) -> Any:
    """Parse an environment variable. Raises RefusedValueError."""
    if len(text) > TEXT_CHARS_MAX:
        raise RefusedValueError(f"longer than {TEXT_CHARS_MAX} characters")
    if not kind.many:
        return _bounded(_scalar_from_text(text.strip(), kind.scalar), bounds)
    items = [item.strip() for item in text.replace("\n", ",").split(",")]
    return tuple(_bounded(_scalar_from_text(item, kind.scalar), bounds) for item in items if item)


def from_file(value: object, kind: ValueType, bounds: Bounds) -> Any:
    """Check a value of a TOML file. It must have the declared type: text is not converted to numbers. Raises RefusedValueError."""
    if not kind.many:
        return _bounded(_scalar_from_file(value, kind.scalar), bounds)
    if not isinstance(value, list):
        raise RefusedValueError("not an array")
    return tuple(_bounded(_scalar_from_file(item, kind.scalar), bounds) for item in value)


def _scalar_from_text(text: str, scalar: type) -> Any:
    if scalar is bool:
        if text.lower() not in _BOOLEANS:
            raise RefusedValueError("not a boolean")
        return _BOOLEANS[text.lower()]
    if scalar is int:
        if not _INTEGER.fullmatch(text) or len(text) > 32:
            raise RefusedValueError("not an integer")
        return int(text)
    if scalar is float:
        try:
            return float(text)
        except ValueError:
            raise RefusedValueError("not a number") from None
    return _text_like(text, scalar)


def _scalar_from_file(value: object, scalar: type) -> Any:
    if scalar is bool or isinstance(value, bool):
        if scalar is not bool or not isinstance(value, bool):
            raise RefusedValueError("not a boolean" if scalar is bool else "a boolean")
        return value
    if scalar is int and not isinstance(value, int):
        raise RefusedValueError("not an integer")
    if scalar is float:
        if not isinstance(value, int | float):
            raise RefusedValueError("not a number")
        return float(value)
    if scalar is int:
        return value
    if not isinstance(value, str):
        raise RefusedValueError("not a text")
    return _text_like(value, scalar)


def _text_like(text: str, scalar: type) -> Any:
    if not text:
        raise RefusedValueError("empty")
    if len(text) > TEXT_CHARS_MAX:
        raise RefusedValueError(f"longer than {TEXT_CHARS_MAX} characters")
    return scalar(text)


def _bounded(value: Any, bounds: Bounds) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedValueError("not a finite number")
    if bounds.choices and value not in bounds.choices:
        raise RefusedValueError("not one of the choices")
    if bounds.minimum is not None and value < bounds.minimum:
        raise RefusedValueError("too small")
    if bounds.maximum is not None and value > bounds.maximum:
        raise RefusedValueError("too large")
    return value


def shown(value: object, kind: ValueType) -> str:
    """A value as text, for an error message or the documentation. Secrets are never shown."""
    if value is None:
        return "none"
    if kind.is_secret:
        return "(secret)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    text = repr(value) if isinstance(value, Mapping | list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
