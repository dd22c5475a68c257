"""Stepping over a record: exactly the one at which the partition stands, once, on the record, and nothing else is lost by it."""

import pytest
from taximeter_emitter.clock import SystemClock

from aggregator.stepping_over import NothingSteppedOver, Step, SteppingOver
from metering.kafka.topics import topics_named
from metering.records.fail_closed import RecordUnreadable
from metering.records.tally import SteppedOver, Tally, decode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, TALLIES
from tests.support.metering_memory_log import MemoryAppender, finished

DEADLETTERS = "usage.deadletters"


def find(partition: Partition, offset: int) -> Step:
    return finished(SteppingOver(partition.log, topics_named("usage"), 0, clock=SystemClock()).find(offset))


def step_over(partition: Partition, offset: int) -> int:
    stepping = SteppingOver(partition.log, topics_named("usage"), 0, clock=SystemClock())
    step = finished(stepping.find(offset))
    return finished(stepping.apply(step, MemoryAppender(partition.log, partition.now_ms), reason="code fails over it", by="ann"))


def tally_at(partition: Partition, offset: int) -> Tally:
    record = partition.log.topics[TALLIES][offset]
    assert record is not None
    return decode_tally(record.value)


def standing_at_two() -> Partition:
    """a and b are counted, c and d are not."""
    partition = Partition()
    counter = partition.owner()
    for event_id in "ab":
        partition.emit(event_id)
    partition.flush(counter)
    for event_id in "cd":
        partition.emit(event_id)
    return partition


def test_what_is_stepped_over_is_in_the_chain_and_a_dead_letter_and_the_next_owner_goes_on() -> None:
    partition = standing_at_two()
    step = find(partition, 2)
    assert (step.start, step.end, step.events, step.unreadable) == (2, 3, 1, "")

    tally = tally_at(partition, step_over(partition, 2))

    assert (tally.link.start, tally.link.end, tally.records.stepped_over, tally.events.total) == (2, 3, 1, 0)
    assert isinstance(tally.stepped_over, SteppedOver)
    assert (tally.stepped_over.reason, tally.stepped_over.by, tally.stepped_over.events) == ("code fails over it", "ann", 1)
    (letter,) = partition.log.topics[DEADLETTERS]
    event = partition.log.topics[EVENTS][2]
    assert letter is not None
    assert event is not None
    assert letter.value == event.value
    owner = partition.owner()
    assert owner.position == 3
    partition.flush(owner)
    assert tally_at(partition, -1).events.counted == 1
    # It was not counted, so that it counts when it is sent again.
    partition.emit("c")
    partition.flush(partition.owner())
    assert tally_at(partition, -1).events.counted == 1


def test_a_running_owner_takes_it_for_another_writer_s_tally() -> None:
    partition = standing_at_two()
    counter = partition.owner()
    step_over(partition, 2)
    finished(partition.takeover().refresh(counter))
    assert counter.position == 3


def test_a_stopped_partition_sees_it() -> None:
    partition = standing_at_two()
    takeover = partition.takeover()
    end = finished(takeover.tallies_end(0))
    step_over(partition, 2)
    assert finished(takeover.mended(0, end)) == (True, end + 1)


def test_it_is_done_once_and_said_again() -> None:
    partition = standing_at_two()
    step_over(partition, 2)
    partition.flush(partition.owner())
    again = find(partition, 2)
    assert again.done is not None
    assert again.done.by == "ann"


def test_only_the_record_at_which_the_partition_stands_is_stepped_over() -> None:
    partition = standing_at_two()
    for offset, reason in ((1, "is counted; the partition stands at 2"), (3, "what is before 3 is not counted")):
        with pytest.raises(NothingSteppedOver, match=reason):
            find(partition, offset)
    partition.flush(partition.owner())
    with pytest.raises(NothingSteppedOver, match="everything is counted"):
        find(partition, 4)
    partition.log.skip(EVENTS)
    with pytest.raises(NothingSteppedOver, match="holds no record"):
        find(partition, 4)


def test_an_aggregator_that_counts_it_after_all_wins_if_it_is_first() -> None:
    partition = standing_at_two()
    stepping = SteppingOver(partition.log, topics_named("usage"), 0, clock=SystemClock())
    step = finished(stepping.find(2))
    partition.flush(partition.owner())
    with pytest.raises(NothingSteppedOver, match="another writer"):
        finished(stepping.apply(step, MemoryAppender(partition.log, partition.now_ms), reason="r", by="b"))
    assert partition.owner().position == 4


def test_the_very_first_record_can_be_stepped_over() -> None:
    partition = Partition()
    for event_id in "ab":
        partition.emit(event_id)
    tally = tally_at(partition, step_over(partition, 0))
    assert tally.emitter_states == []
    owner = partition.owner()
    partition.flush(owner)
    assert tally_at(partition, -1).events.counted == 1


@pytest.mark.parametrize("length", [1, 2, 3, 7, 40])
def test_a_damaged_batch_is_stepped_over_whole_and_never_read_again(length: int) -> None:
    partition = standing_at_two()
    for number in range(length):
        partition.emit(f"x{number}")
    partition.emit("kept")
    partition.log.damaged[EVENTS] = range(2, 2 + length)
    step = find(partition, 2)
    assert (step.start, step.end, step.record) == (2, 2 + length, None)
    step_over(partition, 2)
    assert DEADLETTERS not in partition.log.topics
    owner = partition.owner()
    partition.flush(owner)
    assert tally_at(partition, -1).events.counted == 3
    # The ids of what is around it are read again.
    partition.emit("a")
    partition.emit("kept")
    partition.flush(partition.owner())
    assert tally_at(partition, -1).events.duplicates == 2


def test_a_takeover_meets_damage_only_where_nobody_stepped_over_it() -> None:
    partition = standing_at_two()
    partition.flush(partition.owner())
    partition.log.damaged[EVENTS] = range(1, 2)
    with pytest.raises(RecordUnreadable):
        partition.owner()


def test_where_records_are_missing_all_that_is_missing_is_stepped_over() -> None:
    partition = standing_at_two()
    for event_id in "ef":
        partition.emit(event_id)
    for offset in (2, 3, 4):
        partition.log.lose(EVENTS, offset)
    step = find(partition, 2)
    assert (step.start, step.end, step.record) == (2, 5, None)
    assert "neither a record nor a marker" in step.unreadable
    step_over(partition, 2)
    owner = partition.owner()
    partition.flush(owner)
    assert tally_at(partition, -1).events.counted == 1
    assert partition.owner().position == 6
