"""Times of a clock that is ahead, where the emitter set them itself."""

from array import array

import pytest
from taximeter_emitter.wire.batch import Batch

from aggregator.reading.stamped_times import Ahead, at_log_time

LOG_MS = 1_780_000_000_000


def batch(*offsets: int, stamped: "bool | array[int]") -> Batch:
    """Events at these times after the log time of their record."""
    base = LOG_MS + min(offsets)
    times = array("Q", (LOG_MS + offset - base for offset in offsets))
    return Batch(emitter="e", partition=0, first_seq=0, count=len(offsets), base_time_ms=base, time=times, stamped=stamped)


def times_of(found: Batch) -> list[int]:
    return [found.base_time_ms + time - LOG_MS for time in found.time]


@pytest.mark.parametrize(
    ("offsets", "stamped", "times", "ahead"),
    [
        ((-5, 0), True, [-5, 0], Ahead()),
        ((-5, 7, 9), True, [-5, 0, 0], Ahead(2, 9)),
        ((1_000, 3_600_000), True, [0, 0], Ahead(2, 3_600_000)),
        ((3_600_000, 3_600_001), True, [0, 3_600_001], Ahead(2, 3_600_001)),
        ((3_600_000, 7_200_000), False, [3_600_000, 7_200_000], Ahead()),
        ((3_600_000, 3_600_000, 1), [0, 1, 1], [3_600_000, 0, 0], Ahead(2, 3_600_000)),
        ((3_600_000, 7_200_000, 1), [0, 1, 1], [3_600_000, 7_200_000, 0], Ahead(2, 7_200_000)),
        ((3_600_000, -1), [0, 1], [3_600_000, -1], Ahead()),
    ],
)
def test_a_stamped_time_is_moved_to_the_log_time(offsets: tuple[int, ...], stamped: bool | list[int], times: list[int], ahead: Ahead) -> None:
    given = batch(*offsets, stamped=array("B", stamped) if isinstance(stamped, list) else stamped)
    found, how_far = at_log_time(given, LOG_MS)
    assert (times_of(found), how_far) == (times, ahead)
    assert (found is given) == (ahead == Ahead())
