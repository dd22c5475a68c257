"""The header `traceparent` of W3C Trace Context: which trace a request belongs to, and whether somebody looks at it. Pure.

It is read once, where a request comes in. One that is malformed is treated as if there were none, as the recommendation says.
"""

import re
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"

_SAMPLED: Final = 1
# Version 00 has exactly these four parts. A later one may have more behind them, and is read as if it were 00; ff is never valid.
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_CHARS_MAX: Final = 512


class TraceContext(NamedTuple):
    """A span in a trace: 32 and 16 lower-case hexadecimal digits. `sampled`: somebody records the spans of this trace."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(text: str | None) -> TraceContext | None:
    """What the header says; None if there is none, or if it is malformed."""
    if text is None or len(text) > _CHARS_MAX:
        return None
    found = _FORM.fullmatch(text.strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def traceparent_of(context: TraceContext) -> str:
    """The header that says this."""
    return f"00-{context.trace_id}-{context.span_id}-{_SAMPLED if context.sampled else 0:02x}"
