"""How one field of an event is found in a foreign record. Pure.

A rule is read once and finds its value in every record. What a record has otherwise than its rule says is refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import type_name
from taximeter_emitter.wire.limits import EVENT_ID_CHARS_MAX, QUANTITY_MAX

from ingest.mappings.field_paths import FieldPath, first_of, getter_of, path_text

Paths = tuple[FieldPath, ...]
"""Where a value may be; the first that has one counts."""
TextRule = Callable[[Any], str | None]
"""Finds a text; None where there is none. Raises EventRejected."""
QuantityFinder = Callable[[Any], int | None]
"""Finds a quantity; None where there is none and none is needed. Raises EventRejected."""
RecordCondition = tuple[tuple[FieldPath, frozenset[Any]], ...]
"""What a record must have at these paths, all of it."""

TIME_UNITS: Final = {"rfc3339": 0, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0, "rfc3339_or_s": 1_000_000}
_NUMBER_CHARS_MAX: Final = 20
_SCALARS: Final = frozenset({str, int, bool, float, type(None)})
_ID_SHOWN_CHARS: Final = 80
_SHOWN_CHARS: Final = 128
_YEAR_10000_MS: Final = 253_402_300_800_000
_SECONDS_CACHED: Final = 4_096
_FRACTIONS: Final = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))


class QuantityRefused(EventRejected):
    """A quantity is not what an event can have. `value` is what there is instead; None for nothing."""

    def __init__(self, reason: Reason, field: str, detail: str, value: object = None) -> None:
        super().__init__(reason, field, detail)
        self.value = value if value is None or type(value) in {int, float} else str(value)[:_SHOWN_CHARS]


@dataclass(frozen=True, slots=True)
class QuantityRule:
    """A number at the first of `paths` that has one, less those at `less`. `scale` is for seconds that are counted in milliseconds."""

    paths: Paths = ()
    less: tuple[Paths, ...] = ()
    constant: int | None = None
    scale: int = 1
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class TextTable:
    """A text at the first of `paths` that has one. `values` renames some of them; `nobody` are texts that mean that there is none."""

    paths: Paths = ()
    constant: str | None = None
    values: Mapping[str, str] | None = None
    default: str | None = None
    nobody: frozenset[str] = frozenset()


def quantity_rule(rule: QuantityRule, field: str) -> QuantityFinder:
    """Compiles a rule. `field` is named where a quantity is needed and is not there."""
    if rule.constant is not None:
        constant = rule.constant
        return lambda _: constant
    find = first_of(rule.paths)
    named = path_text(rule.paths[0])
    parts = tuple((first_of(paths), path_text(paths[0])) for paths in rule.less)
    scale, is_optional = rule.scale, rule.is_optional

    def quantity(record: Any) -> int | None:
        value = find(record)
        if value is None:
            if is_optional:
                return None
            raise QuantityRefused(Reason.MISSING_FIELD, field, f"the record has no {named}")
        whole = value if type(value) is int and scale == 1 else _integer(value, named, scale)
        if not parts:
            return whole
        taken = sum(_integer(part, name, scale) for getter, name in parts if (part := getter(record)) is not None)
        if taken > whole:
            raise QuantityRefused(Reason.BELOW_ZERO, field, f"{named} is {whole}, and its parts are {taken}", whole - taken)
        return whole - taken

    return quantity


def _integer(value: object, named: str, scale: int = 1) -> int:
    """An integer, the digits of one, or a float that is one; with a scale, the nearest integer. Raises EventRejected."""
    if type(value) is str and 0 < len(value) <= _NUMBER_CHARS_MAX and value.isascii():
        value = _number(value)
    if type(value) is int:
        return value * scale
    if type(value) is float and abs(value) <= QUANTITY_MAX and (scale != 1 or value.is_integer()):
        return round(value * scale)
    if type(value) is float:
        raise QuantityRefused(Reason.NOT_AN_INTEGER, named, f"quantities are integers up to {QUANTITY_MAX}; this is {value!r}", value)
    raise QuantityRefused(Reason.WRONG_TYPE, named, f"must be an integer, is {type_name.get(type(value), 'something else')}", value)


def _number(text: str) -> int | float | str:
    """The number that a text of digits is, with or without a fraction; else the text itself."""
    if text.isdigit():
        return int(text)
    whole, point, fraction = text.partition(".")
    return float(text) if point and whole.isdigit() and fraction.isdigit() else text


def is_number_text(value: object) -> bool:
    """Whether a quantity may be meant: a number, or the digits of one."""
    return type(value) in {int, float} or (type(value) is str and 0 < len(value) <= _NUMBER_CHARS_MAX and value.isascii() and value.isdigit())


def text_rule(rule: TextTable) -> TextRule:
    """Compiles a rule. Integers and booleans are taken as texts, as JSON writes them."""
    if rule.constant is not None:
        constant = rule.constant
        return lambda _: constant
    find = first_of(rule.paths)
    named, values, default, nobody = path_text(rule.paths[0]), rule.values, rule.default, rule.nobody
    is_plain = values is None and not nobody

    def text(record: Any) -> str | None:
        value = find(record)
        if type(value) is str and is_plain and value:
            return value
        if value is None or value == "":
            return default
        if type(value) is not str:
            value = _as_text(value, named)
        if value in nobody:
            return None
        return value if values is None else values.get(value, value if default is None else default)

    return text


def _as_text(value: object, named: str) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    raise EventRejected(Reason.WRONG_TYPE, named, f"must be a text, is {type_name.get(type(value), 'something else')}")


def id_rule(parts_at: Sequence[Paths]) -> TextRule:
    """The text of the one part, or one made of all, which must all be there. Where that is too long, it is the first and a digest of all."""
    named_getters = [(first_of(paths), path_text(paths[0])) for paths in parts_at]

    def found(record: Any) -> str:
        parts = []
        for getter, named in named_getters:
            value = getter(record)
            if type(value) is str and value:
                parts.append(value)
            elif type(value) is int or type(value) is float:
                # A tenth of what repr takes, and as exact.
                parts.append(orjson.dumps(value).decode())
            else:
                raise EventRejected(Reason.MISSING_FIELD, "id", f"the record has no {named}, which is part of its id")
        return parts[0] if len(parts) == 1 else _made_of(parts)

    return found


def _made_of(parts: Sequence[str]) -> str:
    # The lengths keep ("a", "b:c") and ("a:b", "c") apart. Hashing takes three times as long, and nobody can read it.
    joined = f"{':'.join(parts)}:{'.'.join([f'{len(part)}' for part in parts])}"
    if len(joined) <= EVENT_ID_CHARS_MAX and joined.isprintable():
        return joined
    digest = blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    shown = parts[0][:_ID_SHOWN_CHARS]
    return f"{shown if shown.isprintable() else 'unprintable'}:{digest}"


def time_rule(paths: Sequence[FieldPath], unit: str) -> TextRule:
    """Compiles a rule for the time, as RFC 3339 writes it."""
    find = first_of(paths)
    named, in_seconds = path_text(paths[0]), TIME_UNITS[unit] == TIME_UNITS["s"]

    def time(record: Any) -> str | None:
        value = find(record)
        if value is None or unit == "rfc3339" or (unit == "rfc3339_or_s" and type(value) is str):
            return value if value is None or type(value) is str else _as_text(value, named)
        if in_seconds and type(value) is float and 0 <= value < _YEAR_10000_MS:
            milliseconds = round(value * 1000)
        else:
            milliseconds = _milliseconds(value, unit, named)
        if not 0 <= milliseconds < _YEAR_10000_MS:
            raise EventRejected(Reason.BAD_TIME, "time", f"{named} is not a number of {unit} since 1970")
        return f"{_second_text(milliseconds // 1000)}{_FRACTIONS[milliseconds % 1000]}"

    return time


def _milliseconds(value: object, unit: str, named: str) -> int:
    number = _number(value) if type(value) is str and 0 < len(value) <= _NUMBER_CHARS_MAX and value.isascii() else value
    if type(number) is int:
        return number // 1_000_000 if unit == "ns" else number * TIME_UNITS[unit] // 1000
    if type(number) is float and abs(number) < _YEAR_10000_MS:
        return int(number / 1_000_000) if unit == "ns" else round(number * TIME_UNITS[unit] / 1000)
    raise EventRejected(Reason.BAD_TIME, "time", f"{named} is not a number of {unit} since 1970")


@lru_cache(maxsize=_SECONDS_CACHED)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def condition_rule(conditions: Sequence[RecordCondition]) -> Callable[[Any], bool]:
    """Whether a record fulfils one of the conditions, each of them whole."""
    compiled = [[(getter_of(path), values) for path, values in condition] for condition in conditions]

    def holds(record: Any) -> bool:
        for condition in compiled:
            for getter, values in condition:
                value = getter(record)
                # The type is part of it: to Python, True is 1. And what is an object cannot be looked up.
                kind = type(value)
                if kind not in _SCALARS or (kind, value) not in values:
                    break
            else:
                return True
        return False

    return holds
