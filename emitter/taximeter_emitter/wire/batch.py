"""A batch: many events of one partition in one Kafka record, as columns, numbered by the emitter that wrote it.

The value is JSON, so that anybody can read it:

    {"taximeter": 2, "emitter": "0f3c...", "partition": 3, "first_seq": 1200, "count": 3,
     "customers": ["cus_1", "cus_2"], "dimensions": [{"model": "alpaca-7b"}, {"model": "alpaca-70b"}],
     "series": 3, "series_customers": "1AAEA", "series_dimensions": "1AAAB",
     "at": "1AAEC", "base_time": 1763800000000, "time": "1AAUJ",
     "usage": {"input_tokens": "2LAMoAAcA", "output_tokens": "1pAMB"},
     "stamped": "1AAEB", "ids": "<base64 of 16 bytes an event>", "kept_ids": "<the ids as texts>"}

A *series* is a customer with a set of dimensions; there are `series` of them, and `series_customers` and `series_dimensions` say which, by
their places in `customers` and `dimensions`. `at` says which series each event belongs to. The columns of integers are packed as
`packed` says: above, `at` is 0, 1, 2 in one byte each, and `input_tokens` is 812, 40, 7 in two. `ids` holds the fingerprints of the
events (zeros: that event has none) and is absent when none has. A fingerprint with the event's customer is its identity.

`stamped` says of which events the emitter or gateway set the time itself, by its own clock: `true` for all, a column of 0 and 1 for some,
absent for none. **The time of a stamped event is the earlier of what the batch says and the log time of its record; the time of any other
event is what the batch says, and is judged.** So a host whose clock is ahead costs at most its own precision. What is stamped more than an hour
after the log time is judged, too, and is in the future.

`kept_ids` is there only where the emitter or gateway keeps ids as texts (see the module of that name). Nothing is counted by it.

Form 1, `"taximeter": 1`, has lists of integers where form 2 has text, and neither `series` nor `series_customers`: its `customers` has an
entry for each series. Batches of few events use it, because there it is smaller and quicker; readers take it in any size.

A record with `count` 0 is a *heartbeat*, of form 1 because it has no columns: it may say `"final": true` (the emitter closed; `first_seq` is
how many events it ever numbered in this partition), `abandoned` (ranges of numbers that may not have arrived, as their sender knows) and
`dropped` (events lost before they were numbered, since the emitter started).
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.packed import pack

FORMAT_KEY: Final = "taximeter"
LISTS: Final = 1
PACKED: Final = 2
FINGERPRINT_BYTES: Final = 16
NO_ID: Final = bytes(FINGERPRINT_BYTES)
EMITTER_CHARS_MAX: Final = 64
PACKED_FROM: Final = 64  # events; measured: docs/decisions/0007-batch-columns.md
ABANDONED_RANGES_MAX: Final = 1_000
TIME_MS_MAX: Final = 253_402_300_800_000  # the year 10000
SEQUENCE_MAX: Final = 2**62
PARTITION_MAX: Final = 2**31 - 1
LISTED_FIELDS: Final = (
    *(FORMAT_KEY, "emitter", "partition", "first_seq", "count", "customers"),
    *("series_dimensions", "at", "time", "usage", "dimensions", "base_time"),
)
"""The fields that each batch of form 1 has, in the order in which they are written; `stamped`, `ids` and `kept_ids` may follow."""
STAMPED_FIELD: Final = "stamped"
KEPT_IDS_FIELD: Final = "kept_ids"

_NO_USAGE: Final[Mapping[str, Sequence[int]]] = MappingProxyType({})


class Batch(NamedTuple):
    """A batch or heartbeat. Columns have `count` entries; `ids` is b"" or 16 bytes an event; times in milliseconds.

    `customers` and `series_dimensions` have an entry for each series. `stamped`: True, False, or a column of 0 and 1. Columns that were
    decoded are of type `array`.
    A named tuple and not a dataclass, because one is made of every record: 0.5 us against 2 us.
    """

    emitter: str
    partition: int
    first_seq: int
    count: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs here
    customers: Sequence[str] = ()
    dimensions: Sequence[Dimensions] = ()
    series_dimensions: Sequence[int] = ()
    at: Sequence[int] = ()
    base_time_ms: int = 0
    time: Sequence[int] = ()
    usage: Mapping[str, Sequence[int]] = _NO_USAGE
    stamped: bool | Sequence[int] = False
    ids: bytes = b""
    kept_ids: str = ""
    final: bool = False
    abandoned: Sequence[tuple[int, int]] = ()
    dropped: int = 0


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a batch or heartbeat as they are in usage.events."""
    form = PACKED if batch.count >= PACKED_FROM else LISTS
    document: dict[str, Any] = {
        FORMAT_KEY: form,
        "emitter": batch.emitter,
        "partition": batch.partition,
        "first_seq": batch.first_seq,
        "count": batch.count,
    }
    if batch.count:
        document |= _packed_columns(batch) if form == PACKED else _listed_columns(batch)
        document["dimensions"] = [dict(dimensions) for dimensions in batch.dimensions]
        document["base_time"] = batch.base_time_ms
        if batch.stamped is True:
            document[STAMPED_FIELD] = True
        elif batch.stamped is not False:
            document[STAMPED_FIELD] = pack(batch.stamped) if form == PACKED else list(batch.stamped)
        if batch.ids:
            document["ids"] = b2a_base64(batch.ids, newline=False).decode()
        if batch.kept_ids:
            document[KEPT_IDS_FIELD] = batch.kept_ids
    if batch.final:
        document["final"] = True
    if batch.abandoned:
        document["abandoned"] = batch.abandoned
    if batch.dropped:
        document["dropped"] = batch.dropped
    return orjson.dumps(document)


def _packed_columns(batch: Batch) -> dict[str, Any]:
    places: dict[str, int] = {}
    series_customers = [places.setdefault(customer, len(places)) for customer in batch.customers]
    return {
        "customers": list(places),
        "series": len(batch.customers),
        "series_customers": pack(series_customers),
        "series_dimensions": pack(batch.series_dimensions),
        "at": pack(batch.at),
        "time": pack(batch.time),
        "usage": {name: pack(column) for name, column in batch.usage.items()},
    }


def _listed_columns(batch: Batch) -> dict[str, Any]:
    return {
        "customers": batch.customers,
        "series_dimensions": list(batch.series_dimensions),
        "at": list(batch.at),
        "time": list(batch.time),
        "usage": {name: list(column) for name, column in batch.usage.items()},
    }
