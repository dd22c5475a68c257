"""Identities that were looked for in the log before their events were written again: a header of batches in usage.events.

An old event is brought in, or taken back, without its id, because the aggregator forgets ids. The writer has searched the log and found no copy.
The header names these identities, and the time when the search began. The aggregator that counts the event remembers its identity. An event
whose identity was counted since the search is a copy.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, TIME_MS_MAX

from metering.records.record import LogRecord

LOOKED_UP_HEADER: Final = "looked-up-ids"
_TIME_BYTES: Final = 8


class LookedUpIds(NamedTuple):
    """`searched_ms`: what was counted before (log time, Unix ms) was found. `fingerprints`: 16 bytes an event of the batch, zeros where none was
    looked for.
    """

    searched_ms: int
    fingerprints: bytes


def looked_up_headers(searched_ms: int, fingerprints: bytes) -> Sequence[tuple[str, bytes | None]]:
    """The headers of a batch; none if none of its events was looked for."""
    return [(LOOKED_UP_HEADER, searched_ms.to_bytes(_TIME_BYTES, "big") + fingerprints)] if any(fingerprints) else []


def looked_up_in(record: LogRecord, events: int) -> LookedUpIds | None:
    """What the first such header says of a batch with this number of events. None if there is none, or if it does not fit the batch."""
    for name, value in record.headers:
        if name == LOOKED_UP_HEADER:
            if value is None or len(value) != _TIME_BYTES + events * FINGERPRINT_BYTES:
                return None
            searched_ms = int.from_bytes(value[:_TIME_BYTES], "big")
            return LookedUpIds(searched_ms, value[_TIME_BYTES:]) if searched_ms <= TIME_MS_MAX else None
    return None
