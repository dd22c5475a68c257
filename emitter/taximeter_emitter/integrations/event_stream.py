"""Server-sent events out of bytes that are cut anywhere. Pure."""

import re
from collections.abc import Iterator
from typing import Final

EVENT_BYTES_MAX: Final = 1024 * 1024

_LINE_END: Final = rb"(?:\r\n|\n|\r(?!\n))"
# A carriage return at the very end may be half of a line's end.
_EVENT_END: Final = re.compile(_LINE_END + rb"(?:\r\n|\n|\r(?!\n|\Z))")
_LINES: Final = re.compile(rb"\r\n|\n|\r")
_LONGEST_END: Final = 4


class EventCutter:
    """Cuts a stream into events: each with its bytes, blank line included, so that all of them together are the stream.

    Holds one event that is not complete, of EVENT_BYTES_MAX at most. A longer one is given out in pieces, and `too_long` is True from then on.
    """

    def __init__(self) -> None:
        self.too_long = False
        self._held = bytearray()
        self._looked_at = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that these bytes complete."""
        held = self._held
        held += data
        start = 0
        for end in _EVENT_END.finditer(held, max(0, self._looked_at - _LONGEST_END)):
            yield bytes(held[start : end.end()])
            start = end.end()
        del held[:start]
        self._looked_at = len(held)
        if len(held) > EVENT_BYTES_MAX:
            self.too_long = True
            yield self.rest()

    def rest(self) -> bytes:
        """What is held, at the end of the stream."""
        rest = bytes(self._held)
        self._held.clear()
        self._looked_at = 0
        return rest


def data_of(event: bytes) -> bytes:
    """The data of one event, its lines joined; empty for a comment."""
    found = []
    for line in _LINES.split(event):
        if line.startswith(b"data:"):
            found.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(found)
