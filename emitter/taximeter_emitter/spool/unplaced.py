"""Events as they wait on disk when Kafka was never reached: nobody knows how many partitions there are, so they have neither place nor number.

Pure. A chunk of them is JSON, a list with the columns of each layout; only this module reads it.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from taximeter_emitter.buffer.batching import EventColumns
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES
from taximeter_emitter.wire.event import Dimensions


class UnplacedEvents(NamedTuple):
    """Some events, encoded."""

    events: int
    value: bytes


def encode_unplaced(parts: Iterable[EventColumns]) -> UnplacedEvents:
    """One chunk of these columns."""
    documents = [_document(columns) for columns in parts]
    return UnplacedEvents(sum(len(document["times"]) for document in documents), orjson.dumps(documents))


def decode_unplaced(value: bytes) -> list[EventColumns]:
    """What `encode_unplaced` was given. Raises ValueError if it did not write this."""
    try:
        return [_columns(document) for document in orjson.loads(value)]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a chunk of events: {error!r}") from None


def _document(columns: EventColumns) -> dict[str, Any]:
    # Once each: thousands of events have the same few.
    places: dict[Dimensions, int] = {}
    at = [places.setdefault(dimensions, len(places)) for dimensions in columns.dimensions]
    document = columns._asdict()
    if not columns.kept_ids:
        del document["kept_ids"]  # an older version reads what has none
    return document | {
        "dimensions": list(places),
        "at": at,
        "fingerprints": b64encode(b"".join(columns.fingerprints)).decode(),
    }


def _columns(document: dict[str, Any]) -> EventColumns:
    dimensions = [tuple((key, text) for key, text in pairs) for pairs in document["dimensions"]]
    raw = b64decode(document["fingerprints"], validate=True)
    return EventColumns(
        **document
        | {
            "fields": tuple(document["fields"]),
            "dimensions": [dimensions[place] for place in document.pop("at")],
            "fingerprints": [raw[start : start + FINGERPRINT_BYTES] for start in range(0, len(raw), FINGERPRINT_BYTES)],
        }
    )
