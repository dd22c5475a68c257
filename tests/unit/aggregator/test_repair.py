"""Accepting that events are gone: exactly those, once, by a link of the chain, and no id counts twice afterwards."""

import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS, DAY_MS, HOUR_MS

from aggregator.core.counting import PartitionCounter
from aggregator.repair import AcceptingLoss, EmitterGap, Lost, NothingAccepted
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.topics import topics_named
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.tally import Acceptance, Losses, Tally, decode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, HORIZON_MS, TALLIES, Beat, Event, Numbered, encode
from tests.support.metering_memory_log import MemoryAppender, finished


class Later(SystemClock):
    """A clock with a scripted time."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


def repair(partition: Partition) -> AcceptingLoss:
    return AcceptingLoss(partition.log, topics_named("usage"), 0, horizon_ms=HORIZON_MS, clock=Later(partition.now_ms))


def find(partition: Partition) -> Lost:
    return finished(repair(partition).find())


def accept(partition: Partition, lost: Lost | None = None) -> int:
    found = lost or find(partition)
    return finished(repair(partition).accept(found, MemoryAppender(partition.log, partition.now_ms), reason="the disk broke", by="ann"))


def last_tally(partition: Partition) -> Tally:
    record = partition.log.topics[TALLIES][-1]
    assert record is not None
    return decode_tally(record.value)


def counted_until(partition: Partition, ids: str) -> PartitionCounter:
    counter = partition.owner()
    for event_id in ids:
        partition.emit(event_id)
    partition.flush(counter)
    return counter


def lose_uncounted(partition: Partition) -> None:
    """a and b are counted; two days later c and d are logged and deleted; a day later e is logged and kept."""
    counted_until(partition, "ab")
    partition.emit("c", wait_ms=2 * DAY_MS)
    partition.emit("d")
    partition.emit("e", wait_ms=DAY_MS)
    partition.log.delete_before(EVENTS, 4)


def test_what_is_lost_is_what_lies_between_the_chain_and_the_first_event_that_is_kept() -> None:
    partition = Partition()
    lose_uncounted(partition)

    lost = find(partition)

    assert (lost.start, lost.end, lost.records) == (2, 4, 2)
    assert lost.last_counted_ms is not None
    assert lost.first_kept_ms == partition.now_ms
    assert not lost.ids_matter  # whatever was counted before is older than the horizon of what is kept


def test_an_accepted_loss_is_in_the_chain_with_who_why_and_when_and_the_aggregator_goes_on() -> None:
    partition = Partition()
    lose_uncounted(partition)
    with pytest.raises(HistoryLost, match="accept-loss 0"):
        partition.owner()

    offset = accept(partition)

    tally = last_tally(partition)
    assert (tally.link.start, tally.link.end, tally.records.lost) == (2, 4, 2)
    assert tally.acceptance == Acceptance("the disk broke", "ann", partition.now_ms)
    owner = partition.owner()
    assert (owner.position, owner.tallies.losses.records, owner.tallies.losses.last) == (4, 2, offset)
    partition.flush(owner)
    assert last_tally(partition).events.counted == 1
    assert last_tally(partition).losses == Losses(2, tally.losses.ids_from_ms, offset)
    assert partition.owner().position == 5


def test_nothing_is_accepted_where_nothing_is_lost() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    with pytest.raises(NothingAccepted, match="nothing of partition 0 is lost"):
        find(partition)


def test_a_loss_is_accepted_once() -> None:
    partition = Partition()
    lose_uncounted(partition)
    lost = find(partition)
    accept(partition, lost)
    with pytest.raises(NothingAccepted, match="another writer"):
        accept(partition, lost)
    assert partition.owner().tallies.losses.records == 2
    with pytest.raises(NothingAccepted, match="nothing"):
        find(partition)


def test_an_aggregator_that_had_the_events_after_all_wins_if_it_is_first() -> None:
    partition = Partition()
    counter = counted_until(partition, "ab")
    partition.emit("c")
    record = partition.log.topics[EVENTS][2]
    assert record is not None
    counter.count(record)
    partition.log.delete_before(EVENTS, 3)
    lost = find(partition)
    cut = counter.cut()
    offset = partition.log.append(TALLIES, cut.value, at_ms=partition.now_ms).offset

    with pytest.raises(NothingAccepted, match="another writer"):
        accept(partition, lost)
    assert counter.observe(offset, cut.tally)


def test_a_counter_that_learns_of_an_acceptance_reads_everything_anew() -> None:
    partition = Partition()
    counter = counted_until(partition, "ab")
    partition.emit("c")
    partition.log.delete_before(EVENTS, 3)
    accept(partition)
    with pytest.raises(LogUnavailable, match="was accepted"):
        finished(partition.takeover().refresh(counter))


def test_a_stopped_partition_sees_the_acceptance() -> None:
    partition = Partition()
    lose_uncounted(partition)
    takeover = partition.takeover()
    end = finished(takeover.tallies_end(0))
    assert finished(takeover.mended(0, end)) == (False, end)
    accept(partition)
    assert finished(takeover.mended(0, end)) == (True, end + 1)


def test_ids_that_were_counted_and_are_gone_set_events_aside_and_count_none_twice() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    gone_ms = partition.now_ms
    partition.emit("c", wait_ms=HOUR_MS)
    kept_ms = partition.now_ms
    partition.flush(partition.owner())
    partition.log.delete_before(EVENTS, 2)
    with pytest.raises(HistoryLost, match="accept-loss 0 --ids"):
        partition.owner()

    lost = find(partition)
    assert (lost.records, lost.ids_matter) == (0, True)
    assert lost.ids_from_ms == gone_ms + CLOCK_AHEAD_MAX_MS + 1  # c is kept; b, the last that is gone, was not logged longer before its time
    accept(partition, lost)

    owner = partition.owner()
    for event_id, time_ms, wait_ms in (
        ("a", gone_ms - 1_000, HOUR_MS),
        ("c", kept_ms, 0),
        ("n", lost.ids_from_ms - 1, 0),
        ("m", lost.ids_from_ms, 0),
    ):
        partition.now_ms += wait_ms
        value = encode(Numbered(f"e{event_id}", 0, (Event(event_id, "c", (("input", 1),), "m", time_ms),)))[0]
        partition.log.append(EVENTS, value, at_ms=partition.now_ms)
    partition.flush(owner)
    events = last_tally(partition).events
    # a was counted and its id is gone; n may have been; c is known; m is certainly new.
    assert (events.dead_lettered, events.duplicates, events.counted) == ({"past_horizon": 2}, 1, 1)


def test_a_single_event_that_may_repeat_a_forgotten_id_is_set_aside() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.log.delete_before(EVENTS, 2)
    accept(partition)
    partition.emit("a")
    partition.flush(partition.owner())
    assert last_tally(partition).events.dead_lettered == {"past_horizon": 1}
    partition.emit("a", wait_ms=HOUR_MS)
    partition.flush(partition.owner())
    assert last_tally(partition).events.counted == 1


def test_a_loss_with_recent_ids_before_it_says_that_they_matter() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.emit("c")
    partition.emit("d")
    partition.log.delete_before(EVENTS, 3)
    lost = find(partition)
    assert (lost.records, lost.ids_matter) == (1, True)
    accept(partition, lost)
    assert partition.owner().position == 3


def test_ids_older_than_what_was_counted_last_stop_nobody_when_the_partition_was_idle() -> None:
    """Retention took all that was counted long ago, and one young event is all that is kept."""
    partition = Partition()
    counted_until(partition, "ab")
    partition.emit("c", wait_ms=41 * DAY_MS)
    partition.flush(partition.owner())
    partition.log.delete_before(EVENTS, 2)
    assert partition.owner().position == 3


def test_a_partition_whose_events_are_all_gone_inside_the_horizon_stops() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.log.delete_before(EVENTS, 2)
    with pytest.raises(HistoryLost, match="ids of partition 0"):
        partition.owner()


def test_an_acceptance_before_the_first_tally_founds_the_chain() -> None:
    partition = Partition()
    for event_id in "abc":
        partition.emit(event_id)
    partition.log.delete_before(EVENTS, 2)
    with pytest.raises(HistoryLost, match="accept-loss 0"):
        partition.owner()
    accept(partition)
    tally = last_tally(partition)
    assert (tally.link.start, tally.link.end, tally.link.previous, tally.records.lost) == (0, 2, NO_OFFSET, 2)
    owner = partition.owner()
    partition.flush(owner)
    assert (partition.owner().position, last_tally(partition).events.counted) == (3, 1)


def test_a_topic_that_was_made_anew_is_no_loss_that_can_be_accepted() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.log.topics[EVENTS].clear()
    with pytest.raises(ChainBroken, match="TOPIC_PREFIX"):
        find(partition)


def test_deleted_tallies_are_no_loss_that_can_be_accepted() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.log.topics[TALLIES].clear()
    partition.log.topics[TALLIES].append(None)
    partition.log.delete_before(TALLIES, 1)
    with pytest.raises(HistoryLost, match="what was billed is not known"):
        find(partition)


def test_the_numbers_of_emitters_that_may_be_lost_are_told() -> None:
    partition = Partition()
    event = Event(None, "c", (("input", 1),), "m", partition.now_ms)

    def emit(item: Numbered | Beat) -> None:
        partition.log.append(EVENTS, encode(item)[0], at_ms=partition.now_ms)

    emit(Numbered("goes-on", 0, (event, event)))
    emit(Numbered("falls-silent", 0, (event,)))
    emit(Numbered("ended", 0, (event,)))
    emit(Beat("ended", 1, final=True))
    emit(Numbered("whole", 0, (event,)))
    partition.flush(partition.owner())
    emit(Numbered("goes-on", 2, (event, event, event)))
    partition.log.delete_before(EVENTS, 6)
    emit(Numbered("goes-on", 5, (event,)))
    emit(Beat("whole", 1, final=False))
    emit(Numbered("is-new", 7, (event,)))

    assert find(partition).emitters == [EmitterGap("falls-silent", 1, None), EmitterGap("goes-on", 2, 4), EmitterGap("is-new", 0, 6)]


def test_counted_events_that_were_taken_out_of_the_log_are_accepted_and_their_ids_count_never_again() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "abc":
        partition.emit(event_id, wait_ms=60_000)
        partition.flush(counter)
    gone_ms = partition.now_ms - 60_000
    partition.log.lose(EVENTS, 1)
    takeover = partition.takeover()
    with pytest.raises(HistoryLost, match=r"counted events .* offsets 1 to 1.*accept-loss 0 --ids"):
        finished(takeover.take_over(0))
    lost = find(partition)
    assert (lost.records, lost.ids_matter, lost.ids_from_ms) == (0, True, gone_ms + CLOCK_AHEAD_MAX_MS + 1)
    seen = finished(takeover.tallies_end(0))
    accept(partition, lost)
    assert finished(takeover.mended(0, seen))[0]
    with pytest.raises(LogUnavailable, match="read again"):
        finished(takeover.take_over(0))
    owner = finished(takeover.take_over(0))
    assert (owner.position, len(owner.ids)) == (3, 2)
    partition.now_ms = gone_ms
    partition.emit("b", wait_ms=0)  # the same event as the one that is gone
    partition.now_ms = gone_ms + 2 * CLOCK_AHEAD_MAX_MS
    partition.emit("d", wait_ms=0)
    for record in partition.log.topics[EVENTS][3:]:
        assert record is not None
        owner.count(record)
    events = owner.cut().tally.events
    assert (events.counted, events.dead_lettered) == (1, {"past_horizon": 1})
    with pytest.raises(NothingAccepted):
        find(partition)


def test_that_all_counted_events_are_gone_is_noticed() -> None:
    partition = Partition()
    counted_until(partition, "ab")
    partition.log.lose(EVENTS, 0)
    partition.log.lose(EVENTS, 1)
    with pytest.raises(HistoryLost, match="cannot be rebuilt"):
        partition.owner()
    assert find(partition).ids_matter
