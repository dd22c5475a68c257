"""Tumbling windows: fixed size, aligned to the epoch in UTC, `[start, end)`, by event time."""

from metering.records.service_limits import WINDOW_MS


def window_start(time_ms: int, size_ms: int = WINDOW_MS) -> int:
    """The start, in milliseconds, of the window that an instant falls into."""
    return time_ms - time_ms % size_ms
