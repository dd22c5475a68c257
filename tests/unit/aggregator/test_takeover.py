"""Taking over: from the log alone, reading no more than is needed, and stopping where the log cannot tell."""

from dataclasses import replace

import orjson
import pytest
from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.core import counting
from aggregator.takeover import CountingTakeover
from metering.kafka.partition_log import LogUnavailable
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordCorrupt
from metering.records.notes.foreign_records import PassedOver, digest_of_value, encode_decision
from metering.records.tally import decode_tally, encode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, HORIZON_MS, START_MS, TALLIES, Event, Numbered, Single, encode, rules
from tests.support.ids_in_memory import in_memory
from tests.support.metering_memory_log import finished


def test_the_first_owner_founds_the_chain_at_the_start_of_the_events() -> None:
    counter = Partition().owner()
    assert (counter.position, counter.tallies.chain.head) == (0, NO_OFFSET)
    partition = Partition()
    partition.flush(owner := partition.owner())
    with pytest.raises(ChainBroken, match="has tallies already"):
        owner.found(0, "x")


def test_two_founders_draw_different_chains_and_one_wins() -> None:
    partition = Partition()
    first, second = partition.owner(), partition.owner()
    partition.flush(first)
    partition.emit("a")
    partition.flush(second)  # it knew of no tally when it cut this one
    assert (second.position, second.tallies.chain.head, second.tallies.chain.skipped) == (0, 0, 1)
    partition.flush(second)
    assert partition.owner().position == 1


def test_a_new_owner_stands_where_the_chain_ends_and_knows_the_ids() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "abc":
        partition.emit(event_id)
        partition.flush(counter)
    owner = partition.owner()
    assert (owner.position, len(owner.ids)) == (3, 3)


def test_a_new_owner_reads_only_the_events_inside_the_horizon() -> None:
    partition = Partition()
    counter = partition.owner()
    for number in range(10):
        partition.emit(str(number), wait_ms=HORIZON_MS // 2)
        partition.flush(counter)
    partition.log.reads.clear()
    owner = partition.owner()
    assert 2 <= len(owner.ids) <= 4
    assert min(start for topic, start, _ in partition.log.reads if topic == EVENTS) >= 6


def test_a_new_owner_reads_only_the_tallies_since_the_last_checkpoint_and_the_horizon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "TALLIES_PER_CHECKPOINT", 5)
    partition = Partition()
    counter = partition.owner()
    value = encode(Numbered("e", 0, (Event(None, "c", (("input", 1),), "m", START_MS),)))[0]
    partition.log.append(EVENTS, value, at_ms=START_MS)
    for number in range(20):
        partition.emit(str(number), wait_ms=HOUR_MS)
        partition.flush(counter)
    partition.log.reads.clear()
    owner = partition.owner()
    last = decode_tally(partition.log.topics[TALLIES][-1].value)  # type: ignore[union-attr]  # no holes here
    assert last.checkpoint >= 10
    assert min(start for topic, start, _ in partition.log.reads if topic == TALLIES) >= 8
    assert owner.sequences.states()[0].seen == ((0, 0),)


def test_a_dead_lettered_id_may_come_again_corrected_also_after_a_takeover() -> None:
    partition = Partition()
    partition.emit("a", mystery=1)
    partition.flush(partition.owner())
    partition.emit("a")
    partition.emit("a")
    partition.flush(partition.owner())
    events = decode_tally(partition.log.topics[TALLIES][-1].value).events  # type: ignore[union-attr]  # no holes here
    assert (events.counted, events.duplicates, events.dead_lettered) == (1, 1, {})


def test_a_counter_that_was_let_go_is_brought_up_to_date() -> None:
    partition = Partition()
    kept = partition.owner()
    partition.emit("a")
    partition.flush(kept)
    partition.emit("b")
    partition.flush(partition.owner())
    finished(partition.takeover().refresh(kept))
    assert (kept.position, len(kept.ids)) == (2, 2)
    partition.log.reads.clear()
    finished(partition.takeover().refresh(kept))
    assert not partition.log.reads


def test_a_topic_that_was_cut_or_made_anew_stops_the_owner() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "ab":
        partition.emit(event_id)
        partition.flush(counter)
    partition.log.topics[TALLIES].pop()
    with pytest.raises(ChainBroken, match="before what was read"):
        finished(partition.takeover().refresh(counter))
    partition.log.topics[EVENTS].clear()
    with pytest.raises(ChainBroken, match="was cut or created again"):
        partition.owner()


def test_events_that_retention_deleted_uncounted_stop_the_owner() -> None:
    partition = Partition()
    partition.emit("a")
    partition.flush(partition.owner())
    partition.emit("b")
    partition.emit("c")
    partition.log.delete_before(EVENTS, 2)
    with pytest.raises(HistoryLost, match="never counted: 1 to 1"):
        partition.owner()


def test_ids_that_retention_deleted_inside_the_horizon_stop_the_owner() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "abc":
        partition.emit(event_id)
    partition.flush(counter)
    partition.log.delete_before(EVENTS, 1)
    with pytest.raises(HistoryLost, match="inside the deduplication horizon"):
        partition.owner()


def test_events_that_are_deleted_during_a_takeover_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "abc":
        partition.emit(event_id)
    partition.flush(counter)
    search = partition.log.offset_for_time

    async def slow_search(topic: str, number: int, time_ms: int) -> int | None:
        partition.log.delete_before(EVENTS, 1)
        return await search(topic, number, time_ms)

    monkeypatch.setattr(partition.log, "offset_for_time", slow_search)
    with pytest.raises(LogUnavailable, match="deleted while they were read"):
        partition.owner()
    with pytest.raises(HistoryLost, match="inside the deduplication horizon"):
        partition.owner()


def test_events_deleted_long_after_they_mattered_stop_nobody() -> None:
    partition = Partition()
    counter = partition.owner()
    partition.emit("a")
    partition.emit("b", wait_ms=2 * HORIZON_MS)
    partition.emit("c", wait_ms=HORIZON_MS + 2 * HOUR_MS)
    partition.flush(counter)
    partition.log.delete_before(EVENTS, 1)
    assert len(partition.owner().ids) == 1


@pytest.mark.parametrize("topic", [EVENTS, TALLIES])
def test_a_first_owner_of_a_log_without_its_beginning_stops(topic: str) -> None:
    partition = Partition()
    partition.emit("a")
    partition.flush(partition.owner())
    partition.log.topics[TALLIES].clear()
    partition.log.delete_before(topic, 1)
    if topic == TALLIES:
        partition.log.topics[TALLIES].append(None)
        partition.log.delete_before(TALLIES, len(partition.log.topics[TALLIES]))
    with pytest.raises(HistoryLost):
        partition.owner()


def test_a_first_owner_may_be_told_to_begin_where_the_events_begin() -> None:
    partition = Partition()
    for event_id in "abc":
        partition.emit(event_id)
    partition.log.delete_before(EVENTS, 2)
    counter, loser = partition.owner(found_at_log_start=True), partition.owner(found_at_log_start=True)
    assert counter.position == 2
    partition.flush(counter)
    partition.flush(loser)
    assert (loser.position, len(loser.ids)) == (3, 1)


def test_tallies_without_the_one_that_knows_the_emitters_stop_the_owner() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "ab":
        partition.emit(event_id)
        partition.flush(counter)
    partition.log.delete_before(TALLIES, 1)
    with pytest.raises(HistoryLost):
        partition.owner()


@pytest.mark.parametrize("value", [b"{", b"", None, orjson.dumps({"format": "tally/9"}), orjson.dumps({"customer": "c", "usage": {"n": 1}})])
def test_a_foreign_record_is_passed_over_wherever_it_is(value: bytes | None) -> None:
    partition = Partition()
    partition.log.append(TALLIES, value, at_ms=partition.now_ms)  # before the chain is founded
    counter = partition.owner()
    partition.emit("a")
    partition.log.append(TALLIES, value, at_ms=partition.now_ms)  # between what the owner knows and its own tally
    partition.flush(counter)
    assert counter.tallies.chain.end == 1
    for _ in range(3):
        partition.log.append(TALLIES, value, at_ms=partition.now_ms)
    partition.log.skip(TALLIES)
    owner = partition.owner()
    assert (owner.position, owner.tallies.chain.head, len(owner.ids)) == (1, 2, 1)
    partition.emit("b")
    partition.flush(owner)
    assert partition.owner().tallies.chain == owner.tallies.chain


def test_a_record_of_ours_that_cannot_be_decoded_stops_the_owner_until_a_person_passes_over_it() -> None:
    partition = Partition()
    partition.emit("a")
    counter = partition.owner()
    newer = counter.cut().value.replace(b"tally/2", b"tally/9")
    partition.flush(counter)
    value = partition.log.append(TALLIES, newer, at_ms=partition.now_ms).value
    takeover = partition.takeover()
    with pytest.raises(RecordCorrupt, match=r"offset 1 of .*unknown format 'tally/9'.*repair skip"):
        partition.owner()
    for offset, digest in ((0, digest_of_value(value)), (1, digest_of_value(b"another"))):
        partition.log.append(TALLIES, encode_decision(PassedOver(0, offset, digest, "why", "ann", START_MS)), at_ms=partition.now_ms)
        with pytest.raises(RecordCorrupt, match="offset 1 of"):
            partition.owner()
    seen = finished(takeover.tallies_end(0))
    partition.log.append(TALLIES, encode_decision(PassedOver(0, 1, digest_of_value(value), "why", "ann", START_MS)), at_ms=partition.now_ms)
    assert finished(takeover.mended(0, seen)) == (True, seen + 1)
    assert finished(takeover.mended(0, seen + 1)) == (False, seen + 1)
    owner = partition.owner()
    partition.emit("b")
    partition.flush(owner)
    assert partition.owner().position == 2


def test_tallies_of_which_none_founds_a_chain_stop_the_owner() -> None:
    partition = Partition()
    tally = partition.owner().cut().tally
    partition.log.append(TALLIES, encode_tally(replace(tally, link=ChainLink(0, 0, 5))), at_ms=START_MS)
    with pytest.raises(ChainBroken, match="none of them founds"):
        partition.owner()


def test_an_offset_without_a_record_is_told_from_one_that_was_skipped() -> None:
    partition = Partition()
    partition.emit("a")
    partition.log.skip(EVENTS)
    partition.log.skip(EVENTS)
    partition.emit("b")
    takeover = partition.takeover()
    assert finished(takeover.holds_no_record(0, 1, 3))
    assert not finished(takeover.holds_no_record(0, 0, 3))


def test_what_compaction_took_is_no_marker() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in "abcd":
        partition.emit(event_id)
    partition.flush(counter)
    partition.emit("e")
    partition.emit("f")
    partition.log.lose(EVENTS, 4)
    with pytest.raises(HistoryLost, match=r"neither a record nor a (transaction )?marker"):
        finished(partition.takeover().holds_no_record(0, 4, 5))
    # Its ids would not be known to a new owner.
    partition.log.lose(EVENTS, 2)
    with pytest.raises(HistoryLost, match=r"neither a record nor a (transaction )?marker"):
        partition.owner()


def test_a_tally_that_was_written_late_still_tells_what_was_set_aside() -> None:
    """The aggregator was away for longer than the horizon; what it then sets aside was logged long before."""
    partition = Partition()
    counter = partition.owner()
    partition.emit("a", mystery=1)
    partition.flush(counter, wait_ms=HORIZON_MS + HOUR_MS)
    partition.now_ms = START_MS + 5 * MINUTE_MS
    partition.emit("a")
    partition.flush(partition.owner())
    assert decode_tally(partition.log.topics[TALLIES][-1].value).events.counted == 1  # type: ignore[union-attr]  # no holes here


def test_where_counted_events_were_taken_out_a_horizon_that_ends_behind_them_lets_a_new_owner_go_on() -> None:
    partition = Partition()
    counter = partition.owner()
    for event_id in ("a", "b"):
        partition.emit(event_id)
        partition.flush(counter)
    partition.emit("c", wait_ms=3 * HOUR_MS)
    partition.flush(counter)
    partition.log.lose(EVENTS, 1)
    with pytest.raises(HistoryLost, match=r"neither a record nor a (transaction )?marker"):
        partition.owner()
    short = rules(deduplication_horizon_ms=HOUR_MS)
    takeover = CountingTakeover(partition.log, short, tallies_topic=TALLIES, found_at_log_start=False, snapshots=in_memory())
    owner = finished(takeover.take_over(0))
    assert (owner.position, len(owner.ids)) == (3, 1)
    # What may repeat them is not counted.
    value, headers = encode(Single(Event("b", "c", (("input", 1),), "m", partition.now_ms - 2 * HOUR_MS), "own"))
    owner.count(partition.log.append(EVENTS, value, at_ms=partition.now_ms, headers=headers))
    assert owner.cut().tally.events.dead_lettered == {"past_horizon": 1}


def test_an_event_without_a_time_is_forwarded_with_the_same_one_however_often() -> None:
    partition = Partition()
    value = orjson.dumps({"id": "a", "customer": "away1", "usage": {"input": 1}})
    record = partition.log.append(EVENTS, value, at_ms=partition.now_ms)
    copies: list[UsageEvent] = []
    for _ in range(2):  # the first owner dies between forwarding and its tally
        owner = partition.owner()
        owner.count(record)
        copies += owner.cut().forwards
    assert copies[0] == copies[1]
    assert copies[0].time_ms == record.timestamp
