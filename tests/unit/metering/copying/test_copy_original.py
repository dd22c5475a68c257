"""A copy goes on behind what a person stepped over or passed over, and the copy says the same of it."""

import pytest
from taximeter_emitter.clock import SystemClock

from aggregator.stepping_over import SteppingOver
from metering.copying.copy_original import CopyOriginal
from metering.copying.copy_rounds import CopyRounds
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.passing_over import PassingOver
from metering.kafka.topics import topics_named
from metering.records.fail_closed import RecordUnreadable
from metering.records.tally import decode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, START_MS, TALLIES
from tests.support.metering_memory_copy import MemoryTarget
from tests.support.metering_memory_log import MemoryAppender, MemoryLog, finished

TOPICS = topics_named("usage")


def copy(log: MemoryLog, target: MemoryTarget) -> None:
    finished(CopyRounds(CopyOriginal(log, TOPICS), target, original=TOPICS, copied=TOPICS, partitions=1).copy())


def counted(*events: str) -> Partition:
    partition = Partition()
    counter = partition.owner()
    for event in events:
        partition.emit(event)
        partition.flush(counter)
    return partition


def ranges(log: MemoryLog) -> list[tuple[int, int]]:
    """Of the tallies that a reader takes in."""

    async def read() -> list[tuple[int, int]]:
        bounds = await log.bounds(TALLIES, 0)
        return [(found.link.start, found.link.end) async for _, _, found in chain_records(log, PartitionPlace(TALLIES, 0), *bounds, decode_tally)]

    return finished(read())


def test_damaged_events_are_a_hole_once_they_are_stepped_over() -> None:
    partition, target = counted("a", "b"), MemoryTarget()
    for event in "cde":
        partition.emit(event)
    log = partition.log
    log.damaged[EVENTS] = range(2, 4)
    with pytest.raises(RecordUnreadable, match=r"all but 1 of 1 partitions.* taximeter repair skip --partition 0 --offset 2"):
        copy(log, target)
    # What speaks of what is missing is not copied.
    assert (len(target.log.topics[EVENTS]), target.log.topics.get(TALLIES, [])) == (2, [])

    stepping = SteppingOver(log, TOPICS, 0, clock=SystemClock())
    finished(stepping.apply(finished(stepping.find(2)), MemoryAppender(log, partition.now_ms), reason="torn", by="ann"))
    copy(log, target)
    copied = target.log.topics[EVENTS]
    assert [record is not None for record in copied] == [True, True, False, False, True]
    assert ranges(target.log) == ranges(log) == [(0, 1), (1, 2), (2, 4)]
    finished(CopyRounds(CopyOriginal(log, TOPICS), target, original=TOPICS, copied=TOPICS, partitions=1).check())

    there = Partition()
    there.log = target.log
    assert there.owner().position == 4


def test_damaged_events_that_were_counted_are_no_hole() -> None:
    partition, target = counted("a", "b"), MemoryTarget()
    partition.log.damaged[EVENTS] = range(1)
    with pytest.raises(RecordUnreadable):
        copy(partition.log, target)
    assert target.log.topics.get(EVENTS, []) == []


def test_damaged_tallies_are_a_hole_once_they_are_passed_over() -> None:
    partition, target = counted("a", "b", "c"), MemoryTarget()
    log = partition.log
    log.damaged[TALLIES] = range(1, 3)
    with pytest.raises(RecordUnreadable, match="repair skip --topic tallies --partition 0 --offset 1"):
        copy(log, target)
    passing = PassingOver(log, TOPICS, 0, is_ledger=False, clock=SystemClock())
    finished(passing.apply(finished(passing.find(1)), MemoryAppender(log, START_MS), reason="torn", by="ann"))
    copy(log, target)
    assert [record is not None for record in target.log.topics[TALLIES]] == [True, False, False, True]
    assert ranges(target.log) == ranges(log) == [(0, 1)]
    there = Partition()
    there.log = target.log
    assert there.owner().position == 1


def test_damaged_dead_letters_stop_the_copy() -> None:
    partition, target = counted("a"), MemoryTarget()
    partition.log.append(TOPICS.deadletters.name, b"{", at_ms=START_MS)
    partition.log.damaged[TOPICS.deadletters.name] = range(1)
    with pytest.raises(RecordUnreadable, match="all but 1 of 1"):
        copy(partition.log, target)
