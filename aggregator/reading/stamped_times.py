"""Times that an emitter or gateway set by its own clock, and how far that clock was ahead of Kafka's."""

from array import array
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from metering.records.integer_columns import fits, integers


class Ahead(NamedTuple):
    """Stamped events whose time was later than the log time of their record: how many, and by how many ms at most."""

    events: int = 0
    most_ms: int = 0


NOT_AHEAD = Ahead()


def at_log_time(batch: Batch, log_time_ms: int, *, ahead_max_ms: int = CLOCK_AHEAD_MAX_MS) -> tuple[Batch, Ahead]:
    """The batch with stamped times that are later than the log time moved to it; the same object if there are none.

    A time that is further ahead than `ahead_max_ms` stays, and is in the future: its event would be forgotten before a copy of it is too old.
    """
    limit = log_time_ms - batch.base_time_ms
    if batch.stamped is False or fits(batch.time, limit):
        return batch, NOT_AHEAD
    times = integers(batch.time)
    late = times > limit if batch.stamped is True else (times > limit) & (integers(batch.stamped) > 0)
    if not late.any():
        return batch, NOT_AHEAD
    ahead = ahead_of(times[late], np.full(1, limit))
    late &= times <= limit + ahead_max_ms
    times[late] = limit
    base = min(0, limit)  # the whole batch may be ahead
    return batch._replace(base_time_ms=batch.base_time_ms + base, time=array("Q", (times - base).tobytes())), ahead


def ahead_of(times: "npt.NDArray[np.int64]", limits: "npt.NDArray[np.int64]") -> Ahead:
    """How far times are later than their limits."""
    later = times - limits
    return Ahead(int(np.count_nonzero(later > 0)), max(0, int(later.max())))
