"""Batches in the form that their emitter would not choose for their size: both are read, whatever the size."""

from base64 import b64decode, b64encode
from typing import Any

import orjson
from taximeter_emitter.wire.batch import Batch


def in_lists(value: bytes) -> bytes:
    """The same batch in form 1."""
    document: dict[str, Any] = orjson.loads(value)
    if document["taximeter"] == 1:
        return value
    count, series = document["count"], document.pop("series")
    customers = _numbers(document.pop("series_customers"), series)
    stamped = {"stamped": _numbers(document["stamped"], count)} if isinstance(document.get("stamped"), str) else {}
    return orjson.dumps(
        document
        | {
            "taximeter": 1,
            **stamped,
            "customers": [document["customers"][place] for place in customers],
            "series_dimensions": _numbers(document["series_dimensions"], series),
            "at": _numbers(document["at"], count),
            "time": _numbers(document["time"], count),
            "usage": {name: _numbers(column, count) for name, column in document["usage"].items()},
        }
    )


def in_columns(value: bytes) -> bytes:
    """The same batch in form 2."""
    document: dict[str, Any] = orjson.loads(value)
    if document["taximeter"] == 2:
        return value
    customers = list(dict.fromkeys(document["customers"]))
    stamped = {"stamped": _text(document["stamped"])} if isinstance(document.get("stamped"), list) else {}
    return orjson.dumps(
        document
        | {
            "taximeter": 2,
            **stamped,
            "customers": customers,
            "series": len(document["customers"]),
            "series_customers": _text([customers.index(customer) for customer in document["customers"]]),
            "series_dimensions": _text(document["series_dimensions"]),
            "at": _text(document["at"]),
            "time": _text(document["time"]),
            "usage": {name: _text(column) for name, column in document["usage"].items()},
        }
    )


def _numbers(text: str, count: int) -> list[int]:
    width, raw = int(text[0]), b64decode(text[1:], validate=True)
    assert len(raw) == width * count
    return [int.from_bytes(raw[start : start + width], "little") for start in range(0, len(raw), width)]


def _text(column: list[int]) -> str:
    width = next(width for width in (1, 2, 4, 8) if max(column) < 256**width)
    return f"{width}{b64encode(b''.join(number.to_bytes(width, 'little') for number in column)).decode()}"


def plain(batch: Batch) -> Batch:
    """The same with lists for columns, so that it can be compared."""
    return batch._replace(
        series_dimensions=list(batch.series_dimensions),
        at=list(batch.at),
        time=list(batch.time),
        usage={name: list(column) for name, column in batch.usage.items()},
        stamped=batch.stamped if isinstance(batch.stamped, bool) else list(batch.stamped),
    )
