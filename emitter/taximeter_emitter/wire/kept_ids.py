"""The ids of a batch's events as the client gave them, in one text: for people who look an event up, and for nothing that is counted.

The text is base64 of a zlib stream of UTF-8: a line for each event, its source and its id with a tab between them, empty for an event without an id.
Neither text can have a tab or a line's end. What an event is known by is its fingerprint; readers that count do not unpack this text.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, EVENT_ID_CHARS_MAX, EVENT_RECORD_BYTES_MAX, SOURCE_CHARS_MAX

KEPT_CHAR_BYTES: Final = 6  # at most, in the JSON of a batch: four bytes of UTF-8, in base64, where zlib gains nothing
KEPT_EVENT_CHARS: Final = 2  # that an event adds to its source and id
KEPT_IDS_CHARS_MAX: Final = EVENT_RECORD_BYTES_MAX
_LEVEL: Final = 1  # the quickest: higher levels take three times as long for a tenth of the bytes
_RAW_MAX: Final = BATCH_EVENTS_MAX * (4 * (SOURCE_CHARS_MAX + EVENT_ID_CHARS_MAX) + KEPT_EVENT_CHARS)


def kept_id(source: str, event_id: str) -> str:
    """The line of an event with an id."""
    return f"{source}\t{event_id}"


def pack_kept_ids(lines: Iterable[str]) -> str:
    """The text of these lines; empty if all of them are."""
    joined = "\n".join(lines)
    return b64encode(zlib.compress(joined.encode(), _LEVEL)).decode() if joined.strip("\n") else ""


def unpack_kept_ids(text: str, count: int) -> list[tuple[str, str]]:
    """Source and id of each of `count` events, empty where there is none. Raises ValueError for what is no such text."""
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(b64decode(text, validate=True), _RAW_MAX)
    except zlib.error as error:
        raise ValueError(f"not a zlib stream: {error}") from None
    lines = raw.decode().split("\n")
    if len(lines) != count or unpacker.unconsumed_tail:
        raise ValueError(f"there are {len(lines)} lines, and {count} events")
    found = []
    for line in lines:
        source, _, event_id = line.partition("\t")
        found.append((source, event_id))
    return found
