"""The times of many events at once are those of each."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_time

from aggregator.reading.event_times import NEVER, times_of

USUAL = "2026-11-22T10:00:59.250Z"
TEXTS = st.sampled_from(
    [
        *[USUAL, "2026-11-22T10:00:00.000Z", "1969-12-31T23:59:59.999Z", "2026-02-30T10:00:00.250Z", "2026-11-22T10:00:60.250Z"],
        *["2026-11-22T24:00:00.000Z", "2026-11-22t10:00:00.250z", "2026-11-22 10:00:00.250Z", "2026-11-22T10:00:00,250Z"],
        *["2026-11-22T10:00:0\u00b9.250Z", "20261122T100000.250000Z", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00+01:00"],
        *["2016-12-31T23:59:60Z", "2026-W47-7T10:00:00.25Z", "no time", "2026-11-22T10:00:00.25:Z"],
    ]
)


def one(text: str, without_ms: int) -> int:
    if not text:
        return without_ms
    try:
        return parse_time(text, "time")
    except EventRejected:
        return NEVER


@given(st.lists(TEXTS | st.just("") | st.text(max_size=24), min_size=1, max_size=6))
@example([USUAL, USUAL])
@example([USUAL, ""])
def test_many_are_read_as_each_of_them(texts: list[str]) -> None:
    without = np.arange(len(texts)) + 1_000
    assert times_of(texts, without).tolist() == [one(text, moment) for text, moment in zip(texts, without.tolist(), strict=True)]


@given(st.integers(0, 23), st.text(alphabet="0123456789:.TZ-/ ", min_size=1, max_size=2))
def test_a_text_that_is_a_little_other_than_the_usual_is_no_other_time(place: int, piece: str) -> None:
    text = USUAL[:place] + piece + USUAL[place + len(piece) :]
    assert times_of([text, USUAL], np.zeros(2, np.int64)).tolist() == [one(text, 0), one(USUAL, 0)]
