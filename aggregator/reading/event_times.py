"""The times of many events at once, from their texts."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_time, parse_times

Times: TypeAlias = npt.NDArray[np.int64]

NEVER: Final = -(2**62)
"""A time that no event has."""

_USUAL: Final = "2026-11-23T10:15:00.250Z"
_MINUTE: Final = len("2026-11-23T10:15:")
_POINT, _ZONE = _USUAL.index("."), len(_USUAL) - 1
_DIGITS: Final = [17, 18, 20, 21, 22]
_WORTH: Final = np.array([10_000, 1_000, 100, 10, 1])


def times_of(texts: Sequence[str], without_ms: Times) -> Times:
    """Milliseconds since the epoch, NEVER for what is no time. The event of an empty text has no time, and gets that of `without_ms`."""
    if "" in texts:
        stamped = np.array([not text for text in texts], np.bool_)
        times = without_ms.copy()
        given = [text for text in texts if text]
        times[~stamped] = _given(given) if given else ()
        return times
    return _given(texts)


def _given(texts: Sequence[str]) -> Times:
    if set(map(len, texts)) == {len(_USUAL)}:
        times = _usual("".join(texts).encode(), len(texts))
        if times is not None:
            return times
    parsed = parse_times(texts)
    return np.array([_time_or_never(text) for text in texts] if parsed is None else parsed, np.int64)


def _usual(joined: bytes, count: int) -> Times | None:
    """Of texts written as in _USUAL, by columns of characters; None if one is not."""
    if len(joined) != count * len(_USUAL):
        return None
    characters = np.frombuffer(joined, np.uint8).reshape(count, len(_USUAL))
    digits = characters[:, _DIGITS] - ord("0")  # what is below it wraps round
    if (characters[:, _POINT] != ord(".")).any() or (characters[:, _ZONE] != ord("Z")).any() or (digits > 9).any() or (digits[:, 0] > 5).any():
        return None
    minutes, which = np.unique(np.ascontiguousarray(characters[:, :_MINUTE]).view(f"S{_MINUTE}").ravel(), return_inverse=True)
    starts = np.array([_time_or_never(minute.decode() + "00Z") for minute in minutes.tolist()], np.int64)
    found: Times = starts[which] + digits @ _WORTH
    found[found < 0] = NEVER
    return found


def _time_or_never(text: str) -> int:
    try:
        return parse_time(text, "time")
    except EventRejected:
        return NEVER
