"""The shape of a single event's text: what is between its values, which is the same bytes in many events of one producer.

A text is of a shape if it is these bytes with other values between them: strings of printable ASCII without a quotation mark or a
backslash, and integers without a sign. JSON says the same of each such text but for the values, so what was seen of one event by the long
way (which fields there are, and none twice) is so for all. A regular expression finds the values of many texts in one call, in less than
decoding them takes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, DIMENSION_VALUE_CHARS_MAX, EVENT_ID_CHARS_MAX, QUANTITY_MAX, SOURCE_CHARS_MAX

Path = tuple[str, ...]
"""Where a value is in the document: the name of a field, and the name inside it if the field is an object."""

ID: Final = ("id",)
SOURCE: Final = ("source",)
TIME_MINUTE: Final = ("time", "minute")  # up to the second colon, which it includes
TIME_SECONDS: Final = ("time", "seconds")  # with three decimals
TIME: Final = ("time",)  # if it is written otherwise than as 2026-11-23T10:15:00.250Z
CUSTOMER: Final = ("customer",)
USAGE_FIELD: Final = "usage"
DIMENSIONS_FIELD: Final = "dimensions"

_TEXT: Final = rb"([ !#-\[\]-~]{1,%d}+)"  # never gives back what it took: one look at each character
_QUANTITY: Final = rb"(0|[1-9][0-9]{0,%d}+)" % (len(str(QUANTITY_MAX)) - 1)
_TIME: Final = rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:)([0-5][0-9]\.[0-9]{3})Z"
SHAPE_TEXT_BYTES_MAX: Final = 2_000
_CHARS_MAX: Final[Mapping[Path, int]] = {ID: EVENT_ID_CHARS_MAX, SOURCE: SOURCE_CHARS_MAX, CUSTOMER: CUSTOMER_CHARS_MAX, TIME: 40}

_clean = re.compile(rb"[ -\[\]-~]*").fullmatch
_time = re.compile(_TIME).fullmatch
_quantity = re.compile(rb"( *: *)[0-9]+( *[,}][^0-9]*)").fullmatch


class EventShape:
    """`paths`: of the values, in the order of the text. A time in the usual form is two of them."""

    def __init__(self, pattern: bytes, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.pattern = pattern
        compiled = re.compile(rb"^%b$" % pattern, re.MULTILINE)
        self._all, self._one = compiled.findall, compiled.fullmatch

    def values_of_all(self, texts: Sequence[bytes]) -> list[tuple[bytes, ...]] | None:
        """The values in each text, if all are of this shape."""
        joined = b"\n".join(texts)
        # Only then is each line a text: a line break within one of them would make two lines of it.
        if joined.count(b"\n") != len(texts) - 1:
            return None
        found: list[tuple[bytes, ...]] = self._all(joined)
        return found if len(found) == len(texts) else None

    def values_of(self, text: bytes) -> tuple[bytes, ...] | None:
        """The values in a text, if it is of this shape."""
        found = self._one(text)
        return None if found is None else found.groups()


def shape_of(text: bytes, document: Mapping[str, Any]) -> EventShape | None:
    """The shape of an event's text that was decoded as this document, which has strings, and objects of strings or of integers from zero on.

    None if it has none: it is long or not clean, or an object has a name twice (then there are more strings in the text than in the document).
    """
    if len(text) > SHAPE_TEXT_BYTES_MAX or not _clean(text):
        return None
    start, *pieces = text.split(b'"')
    strings = list(_strings(document))
    if [string.encode() for string, _, _ in strings] != pieces[::2]:
        return None
    pattern, paths = re.escape(start), list[Path]()
    for (string, path, is_value), after in zip(strings, pieces[1::2], strict=True):
        quantity = _quantity(after) if path and not is_value else None
        if not is_value:
            pattern += b'"' + re.escape(string.encode()) + b'"'
            if path and quantity is None:
                return None
        elif path == TIME and _time(string.encode()):
            pattern += b'"' + _TIME + b'"'
            paths += [TIME_MINUTE, TIME_SECONDS]
        else:
            pattern += b'"' + _TEXT % _CHARS_MAX.get(path, DIMENSION_VALUE_CHARS_MAX) + b'"'
            paths.append(path)
        if quantity is None:
            pattern += re.escape(after)
        else:
            pattern += re.escape(quantity[1]) + _QUANTITY + re.escape(quantity[2])
            paths.append(path)
    return EventShape(pattern, paths)


def _strings(document: Mapping[str, Any]) -> Iterator[tuple[str, Path, bool]]:
    """Each string of the document in the order of its text, and the path of the value that it is (True) or that it names, if that is an integer."""
    for field, value in document.items():
        yield field, (), False
        if type(value) is str:
            yield value, (field,), True
            continue
        for name, inner in value.items():
            if type(inner) is str:
                yield name, (), False
                yield inner, (field, name), True
            else:
                yield name, (field, name), False
