"""A damaged batch of tallies or of the ledger is passed over only where nothing that was billed can be counted or sent again by it."""

from collections.abc import Sequence

import pytest
from taximeter_emitter.clock import SystemClock

from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import Appended, LogUnavailable
from metering.kafka.passing_over import DamagedBatch, NotPassedOver, PassingOver
from metering.kafka.topics import topics_named
from metering.records.fail_closed import ChainBroken, RecordUnreadable
from metering.records.ledger_records import Entry, Outcome, decode_entry, encode_entry
from metering.records.tally import decode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, START_MS, TALLIES
from tests.support.metering_ledger_entries import a_receipt, an_intent
from tests.support.metering_memory_log import MemoryAppender, MemoryLog, finished

TOPICS = topics_named("usage")
LEDGER = TOPICS.ledger.name


def passing(log: MemoryLog, *, is_ledger: bool) -> PassingOver:
    return PassingOver(log, TOPICS, 0, is_ledger=is_ledger, clock=SystemClock())


def found_at(log: MemoryLog, offset: int, *, is_ledger: bool = False) -> DamagedBatch:
    found = finished(passing(log, is_ledger=is_ledger).find(offset))
    assert isinstance(found, DamagedBatch)
    return found


def pass_over(log: MemoryLog, offset: int, *, is_ledger: bool = False, appender: MemoryAppender | None = None) -> int:
    found = found_at(log, offset, is_ledger=is_ledger)
    return finished(passing(log, is_ledger=is_ledger).apply(found, appender or MemoryAppender(log, START_MS), reason="the disk broke", by="ann"))


def counted(*events: str) -> Partition:
    """A tally for each event."""
    partition = Partition()
    counter = partition.owner()
    for event in events:
        partition.emit(event)
        partition.flush(counter)
    return partition


def with_ledger(partition: Partition, *entries: Entry) -> MemoryLog:
    for entry in entries:
        partition.log.append(LEDGER, encode_entry(entry), at_ms=START_MS)
    return partition.log


def units(partition: Partition) -> list[tuple[int, int]]:
    """The ranges of the accepted tallies that can be read."""

    async def read() -> list[tuple[int, int]]:
        start, end = await partition.log.bounds(TALLIES, 0)
        place = PartitionPlace(TALLIES, 0)
        return [(tally.link.start, tally.link.end) async for _, _, tally in chain_records(partition.log, place, start, end, decode_tally)]

    return finished(read())


def test_the_last_tallies_are_counted_again_if_nothing_of_them_was_reported() -> None:
    partition = counted("a", "b", "c")
    partition.log.damaged[TALLIES] = range(1, 3)
    with pytest.raises(RecordUnreadable, match="repair skip --topic tallies --partition 0 --offset 2"):
        partition.owner()
    found = found_at(partition.log, 2)
    assert (found.start, found.end, found.done) == (1, 3, None)
    assert pass_over(partition.log, 1) == 3
    done = found_at(partition.log, 1).done
    assert done is not None
    assert (done.reason, done.by) == ("the disk broke", "ann")

    owner = partition.owner()
    assert owner.position == 1
    partition.flush(owner)
    assert units(partition) == [(0, 1), (1, 3)]
    assert partition.owner().position == 3


def test_what_others_build_on_is_not_passed_over() -> None:
    partition = counted("a", "b", "c")
    partition.log.damaged[TALLIES] = range(1, 2)
    with pytest.raises(NotPassedOver, match=r"record 2 of .* builds on what is at 1 to 1"):
        found_at(partition.log, 1)


def test_what_was_reported_is_not_counted_again() -> None:
    partition = counted("a", "b", "c")
    log = with_ledger(partition, an_intent(0, 2, -1))  # its last tally is 1
    log.damaged[TALLIES] = range(2, 3)
    assert found_at(log, 2).end == 3
    log.damaged[TALLIES] = range(1, 3)
    with pytest.raises(NotPassedOver, match=r"reported up to tally 1.*billed twice"):
        found_at(log, 2)


def test_a_writer_that_had_counted_in_it_starts_over_and_its_next_tally_counts_for_nothing() -> None:
    partition = counted("a", "b")
    alive = partition.owner()
    partition.log.damaged[TALLIES] = range(1, 2)
    pass_over(partition.log, 1)
    partition.emit("c")
    with pytest.raises(LogUnavailable, match="passed over"):
        partition.flush(alive)
    owner = partition.owner()
    assert owner.position == 1
    partition.flush(owner)
    assert partition.owner().position == 3


def test_a_reader_that_can_read_what_others_passed_over_stops() -> None:
    partition = counted("a", "b")
    partition.log.damaged[TALLIES] = range(1, 2)
    pass_over(partition.log, 1)
    partition.log.damaged.clear()
    with pytest.raises(ChainBroken, match="passed over as damaged by ann, and can be read here"):
        partition.owner()


class Disturbed(MemoryAppender):
    """Another writer's record comes before each of the first appends."""

    def __init__(self, log: MemoryLog, others: Sequence[bytes]) -> None:
        super().__init__(log, START_MS)
        self._others = list(others)

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        if self._others:
            self._log.append(topic, self._others.pop(), at_ms=START_MS)
        return await super().append(topic, partition, value, key=key, headers=headers)


def test_a_decision_counts_only_behind_all_that_was_looked_at() -> None:
    partition = counted("a", "b")
    partition.log.damaged[TALLIES] = range(1, 2)
    assert pass_over(partition.log, 1, appender=Disturbed(partition.log, [b"foreign"])) == 4
    assert partition.owner().position == 1

    # What comes between builds on it: then the decision that was written counts for nothing.
    partition = counted("a", "b", "c")
    last = partition.log.topics[TALLIES].pop()
    assert last is not None
    assert last.value is not None
    partition.log.damaged[TALLIES] = range(1, 2)
    with pytest.raises(NotPassedOver, match="record 2 of"):
        pass_over(partition.log, 1, appender=Disturbed(partition.log, [last.value]))
    with pytest.raises(RecordUnreadable):
        partition.owner()


def ledger_of(*entries: Entry) -> MemoryLog:
    return with_ledger(counted("a"), *entries)


def test_of_the_ledger_it_must_be_shown_that_no_intent_is_in_it() -> None:
    # Its last batch: nothing behind it tells.
    log = ledger_of(an_intent(0, 1, -1), a_receipt((0, 0, Outcome.ACCEPTED)))
    log.damaged[LEDGER] = range(1, 2)
    with pytest.raises(NotPassedOver, match="may hold an intent that was sent to Stripe"):
        found_at(log, 1, is_ledger=True)
    # An intent that may have lost to one in the batch tells nothing.
    log.append(LEDGER, encode_entry(an_intent(1, 2, 0)), at_ms=START_MS)
    with pytest.raises(NotPassedOver, match="may hold an intent"):
        found_at(log, 1, is_ledger=True)
    # That its writer went on from it tells that there was none.
    log.append(LEDGER, encode_entry(an_intent(2, 3, 2)), at_ms=START_MS)
    assert pass_over(log, 1, is_ledger=True) == 4

    async def read() -> list[int]:
        return [offset async for offset, _, _ in chain_records(log, PartitionPlace(LEDGER, 0), 0, 5, decode_entry)]

    assert finished(read()) == [0, 2, 3]


def test_an_intent_that_has_outcomes_is_not_passed_over() -> None:
    log = ledger_of(an_intent(0, 1, -1), an_intent(1, 2, 0), a_receipt((1, 0, Outcome.ACCEPTED)), an_intent(2, 3, 1))
    log.damaged[LEDGER] = range(1, 2)
    with pytest.raises(NotPassedOver, match=r"record 2 of .* builds on"):
        found_at(log, 1, is_ledger=True)


def test_a_batch_that_is_sound_and_too_large_is_nobodys_of_taximeter() -> None:
    log = ledger_of(an_intent(0, 1, -1))
    log.append(LEDGER, b"much", at_ms=START_MS)
    log.damaged[LEDGER] = range(1, 2)
    log.too_large.add(LEDGER)
    assert pass_over(log, 1, is_ledger=True) == 2


def test_events_are_not_touched() -> None:
    partition = counted("a")
    partition.log.damaged[TALLIES] = range(1)
    pass_over(partition.log, 0)
    assert partition.owner().position == 0
    assert len(partition.log.topics[EVENTS]) == 1
