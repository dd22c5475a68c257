"""Which column of a file is which field of an event. Pure.

    customer            a column that is called like a field is that field, without being mapped
    account=customer    the column `account` is the field `customer`
    tokens=usage.tokens

Fields are `id`, `source`, `customer`, one of the times, `usage.NAME` and `dimensions.NAME`. With a mapping, exactly the mapped columns are read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.wire.errors import EventRejected, Reason

from metering.plans.import_records import COLUMNS_MAX

TIME_FIELDS: Final[Mapping[str, str]] = {
    "time": "RFC 3339 with a zone",
    "time_utc": "a date and a time without a zone, in UTC",
    "time_s": "whole seconds since 1970",
    "time_ms": "milliseconds since 1970",
}
_TEXTS: Final = ("id", "source", "customer")
_GROUPS: Final = ("usage.", "dimensions.")
FIELDS_TEXT: Final = ", ".join((*_TEXTS, *TIME_FIELDS, "usage.NAME", "dimensions.NAME"))
_INT_CHARS_MAX: Final = 20


class ColumnsWrong(Exception):
    """The mapping, or the columns of a file, cannot be used; `problems` are all that was found."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Pairs of a column's name and a field. Without pairs, columns are called like fields."""

    pairs: tuple[tuple[str, str], ...] = ()

    def fields_of(self, columns: Sequence[str]) -> dict[str, str]:
        """The field of each column that is read, given the columns that a file has. Raises ColumnsWrong."""
        problems = [f"the column {name!r} is there {count} times" for name, count in Counter(columns).items() if count > 1]
        if self.pairs:
            known = set(columns)
            problems += [f"there is no column {column!r}; there are {', '.join(columns)}" for column, _ in self.pairs if column not in known]
            found = dict(self.pairs)
        else:
            problems += [
                f"the column {name!r} is no field of an event: say --column {name}=FIELD, for every column that is read"
                for name in columns
                if not is_field(name)
            ]
            found = {name: name for name in columns}
            problems += _missing(found.values())
        if problems:
            raise ColumnsWrong(problems)
        return found

    def not_read(self, columns: Iterable[str]) -> list[str]:
        """The columns that a mapping passes over."""
        mapped = {column for column, _ in self.pairs}
        return [name for name in columns if name not in mapped] if self.pairs else []


def parse_mapping(texts: Sequence[str]) -> ColumnMapping:
    """The mapping of `COLUMN=FIELD` texts. Raises ColumnsWrong with everything that is wrong with them."""
    problems: list[str] = []
    pairs: list[tuple[str, str]] = []
    for text in texts:
        column, equals, field = text.rpartition("=")
        if not equals or not column or not field:
            problems.append(f"--column {text}: must be COLUMN=FIELD, such as tokens=usage.tokens")
        elif not is_field(field):
            problems.append(f"--column {text}: {field!r} is no field of an event; fields are {FIELDS_TEXT}")
        else:
            pairs.append((column, field))
    problems += [f"--column: the column {name!r} is mapped twice" for name, count in Counter(column for column, _ in pairs).items() if count > 1]
    problems += [f"--column: the field {name!r} has two columns" for name, count in Counter(field for _, field in pairs).items() if count > 1]
    if len(texts) > COLUMNS_MAX:
        problems.append(f"--column may be given at most {COLUMNS_MAX} times")
    if pairs and not problems:
        problems += _missing(field for _, field in pairs)
    if problems:
        raise ColumnsWrong(problems)
    return ColumnMapping(tuple(pairs))


def is_field(name: str) -> bool:
    """Whether this is the name of a field."""
    return name in _TEXTS or name in TIME_FIELDS or any(name.startswith(group) and len(name) > len(group) for group in _GROUPS)


def document_of(values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The event in our own form, of one line's values by column. Empty cells are absent. Raises EventRejected for what is no integer or no time."""
    document: dict[str, Any] = {"usage": {}}
    for column, field in fields.items():
        value = values.get(column)
        if value is None or value == "":
            continue
        group, _, name = field.partition(".")
        if name and group == "usage":
            document["usage"][name] = _quantity(value, field)
        elif name:
            document.setdefault("dimensions", {})[name] = value
        elif field in TIME_FIELDS:
            document["time"] = _time(value, field)
        else:
            document[field] = value
    return document


def at_path(document: Any, path: str) -> Any:
    """The value of a JSON object at a name, or at names with dots between them; None where there is none."""
    if not isinstance(document, dict):
        return None
    if path in document:
        return document[path]
    first, dot, rest = path.partition(".")
    return at_path(document.get(first), rest) if dot else None


def _missing(fields: Iterable[str]) -> list[str]:
    found = set(fields)
    problems = []
    if "customer" not in found:
        problems.append("no column is the customer: --column NAME=customer")
    if len(found & TIME_FIELDS.keys()) != 1:
        said = ", ".join(f"{name} ({what})" for name, what in TIME_FIELDS.items())
        problems.append(f"exactly one column must be the time of the event, as one of {said}")
    if not any(field.startswith("usage.") for field in found):
        problems.append("no column is a quantity: --column NAME=usage.NAME")
    return problems


def _quantity(value: Any, field: str) -> Any:
    """A cell of text as an integer; anything else as it is, to be judged like any other quantity."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.isascii() and text.removeprefix("-").isdigit() and len(text) <= _INT_CHARS_MAX:
        return int(text)
    raise EventRejected(Reason.NOT_AN_INTEGER, field, f"quantities are integers, in digits alone; this is {value[:40]!r}")


def _time(value: Any, field: str) -> Any:
    """What the time of an event in our own form is: a text of RFC 3339."""
    if field == "time":
        return value
    if field == "time_utc":
        return f"{value.strip()}Z" if isinstance(value, str) else value
    number = _quantity(value, field)
    if type(number) is not int:
        raise EventRejected(Reason.BAD_TIME, field, f"must be an integer of {TIME_FIELDS[field]}: {str(value)[:40]!r}")
    return number * 1000 if field == "time_s" else number
