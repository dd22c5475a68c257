"""Refuses bodies with far more values than events may have, before they are decoded. Pure.

Decoding 8 MB of `[],` takes seconds, in which the gateway does nothing else. Counting a byte in 8 MB takes milliseconds.
"""

import re
from typing import Final

from ingest.refusals import Refusal, RequestRefused

# An event has up to four objects and 6 + 16 + 16 values; CloudEvents may have extensions.
_COMMAS_PER_EVENT: Final = 64
_OPENED_PER_EVENT: Final = 8
# Texts, whose commas and brackets do not count, and the marks that do. A text that does not end is a mark, too.
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[,\[{]', re.DOTALL)
_TEXTS_PER_EVENT: Final = 128
_LARGE_BYTES: Final = 64 * 1024  # any of them is decoded in milliseconds


def check_size(body: bytes, events_max: int) -> None:
    """Raise RequestRefused if the marks of a JSON body are more than `events_max` events can have. Takes a few milliseconds a megabyte."""
    if is_large(body) and has_too_many_values(body, events_max):
        raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"more values than {events_max} events have")


def check_lines(body: bytes, events_max: int) -> None:
    """Raise RequestRefused if the body has more lines than `events_max` events, each with an empty line, may have."""
    if body.count(b"\n") > 2 * events_max:
        raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"more than {2 * events_max} lines; a request takes {events_max} events")


def is_large(body: bytes) -> bool:
    """Whether decoding may take long enough to look at the body before."""
    return len(body) > _LARGE_BYTES


def has_too_many_values(body: bytes, events_max: int) -> bool:
    """Whether JSON has more values than `events_max` events can have."""
    commas, opened = _COMMAS_PER_EVENT * events_max, _OPENED_PER_EVENT * events_max
    if body.count(b",") <= commas and body.count(b"[") + body.count(b"{") <= opened:
        return False
    # The marks may be inside of texts. Looking for texts takes longer, and stops early.
    texts = _TEXTS_PER_EVENT * events_max
    for token in _TOKENS.finditer(body):
        mark = token[0][:1]
        if mark == b'"':
            texts -= 1
        elif mark == b",":
            commas -= 1
        else:
            opened -= 1
        if commas < 0 or opened < 0 or texts < 0:
            return True
    return False
