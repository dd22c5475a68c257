"""Records that are counted many at a time, case by case."""

from metering.records.record import Record
from tests.support.aggregator_counters import counter
from tests.support.aggregator_records import START_MS, Event, Single, encode


def test_what_is_rolled_back_leaves_nothing_of_its_runs() -> None:
    subject = counter()
    event = Event("a", "c1", (("input", 3),), "m1", START_MS)
    value, headers = encode(Single(event, "own"))
    other, winner = counter(), Record(0, START_MS, None, b"{", ())
    other.count(winner)
    first = other.cut()
    assert subject.count_many([Record(0, START_MS, None, value, headers)], 10**9) == 1
    subject.cut()
    assert subject.observe(0, first.tally)
    assert subject.pending_bytes == 0
    subject.count_many([Record(1, START_MS, None, value, headers)], 10**9)
    assert [row.quantity for row in subject.cut().tally.rows] == [3]
