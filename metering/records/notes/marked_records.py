"""Records of usage.deadletters that carry one of Taximeter's headers, and whether Taximeter wrote them. Pure.

A header alone says nothing: a producer that is set wrongly may send it, too. What Taximeter writes beside the letters begins with its format.
"""

from collections.abc import Sequence
from typing import Any

from metering.records.record import LogRecord


def is_marked(record: LogRecord, header: str) -> bool:
    """Whether the record has this header."""
    return any(name == header for name, _ in record.headers)


def begins_with(value: bytes | None, formats: Sequence[str]) -> bool:
    """Whether a value is of one of these formats, whatever its version. Each ends with its slash: `redrive/`."""
    return value is not None and value.startswith(tuple(f'{{"format":"{name}'.encode() for name in formats))


def whole(found: Any) -> int:
    """A number from 0 on. Raises ValueError for anything else."""
    if type(found) is not int or found < 0:
        raise ValueError(f"{found!r} is no number from 0 on")
    return found


def text(found: Any) -> str:
    """A text. Raises ValueError for anything else."""
    if type(found) is not str:
        raise ValueError(f"{found!r} is no text")
    return found
