"""Events read at once and one by one, and times as senders write them."""

from typing import Any

from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import check_not_in_future, parse_event

from ingest.requests.request_columns import RequestPart, parts_of
from tests.support.ingest_rows import rows_of

NOW_MS = 1_763_805_600_000
FIELDS = ("input_tokens", "output_tokens")
EVENT: dict[str, Any] = {
    "id": "r-1",
    "source": "s",
    "time": "2025-11-22T09:59:59.250Z",
    "customer": "cus_1",
    "usage": {"input_tokens": 5, "output_tokens": 7},
    "dimensions": {"model": "alpaca", "region": "eu"},
}
times = st.sampled_from(
    [
        *("2025-11-22T10:00:00Z", "2025-11-22t09:00:00z", "2025-11-22 09:00:00.123456Z", "2025-11-22T11:00:00+01:00", "2025-11-22T10:05:00Z"),
        *(
            "2025-11-22T09:00:00.0009999+00:00:00.000001",
            "20251122T090000.123Z",
            "2025-W47-6T09:00:00Z",
            "2025W476T090000.1234+01:00",
            "2025-11-22T10:05:01Z",
        ),
        *("1969-12-31T23:00:00-02:00", "1970-01-01T00:00:00+02:00", "2025-11-22T10:00:00", "2025-11-22T25:00:00Z", "2025-11-22T10:00:00,5Z", "Z"),
        *("9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+10:00", "2025-11-22T10:00:00.1234567890123456789012Z", "\u0662025-11-22T10:00:00Z"),
    ]
)


def one_by_one(documents: list[Any]) -> list[RequestPart] | None:
    """What the reader of single events makes of them; None when it refuses one."""
    events = []
    for index, document in enumerate(documents):
        try:
            event = parse_event(document, arrival_ms=NOW_MS)
            check_not_in_future(event.time_ms, NOW_MS)
        except EventRejected:
            return None
        if not {name for name, _ in event.usage} <= set(FIELDS):
            return None
        events.append((index, event))
    return parts_of(events)


def plain(parts: list[RequestPart]) -> list[tuple[Any, ...]]:
    """Rows with their fields named, in the order of the request."""
    found = []
    for part in parts:
        for row, index, event_id in zip(rows_of(part.events), part.indexes, part.ids, strict=True):
            customer, dimensions, time_ms, stamped, print_, quantities = row
            found.append((index, event_id, customer, dimensions, time_ms, stamped, print_, sorted(zip(part.events.fields, quantities, strict=True))))
    return sorted(found, key=lambda row: row[0])
