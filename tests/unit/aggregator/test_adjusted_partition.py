"""An aggregator counts on while somebody adjusts what it counted: it loses nothing, reads nothing twice, and every owner stands alike."""

from dataclasses import replace

import pytest

from aggregator.core import counting
from aggregator.core.counting import PartitionCounter
from metering.records.chain import ChainLink
from metering.records.tally import TallyRow, encode_tally
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, TALLIES
from tests.support.metering_memory_log import finished
from tests.support.metering_tallies import an_adjustment

LESS = TallyRow("c", "input", (("model", "m"),), 0, -1, -1)


def adjust(partition: Partition, owner: PartitionCounter, *, copies: int = 1) -> None:
    """Append an adjustment as its writer does, who has read what this owner has."""
    fold, offset = owner.tallies, len(partition.log.topics[TALLIES])
    tally = an_adjustment(
        [LESS],
        offset=offset,
        end=fold.chain.end,
        chain_id=fold.chain_id,
        link=ChainLink(fold.chain.end, fold.chain.end, fold.chain.head),
        checkpoint=fold.checkpoint,
        catalogue=fold.catalogue,
        log_time_ms=fold.log_time_ms,
    )
    for _ in range(copies):
        partition.log.append(TALLIES, encode_tally(tally), at_ms=partition.now_ms)


def counted(partition: Partition, event_ids: str) -> PartitionCounter:
    owner = partition.owner()
    for event_id in event_ids:
        partition.emit(event_id)
        partition.flush(owner)
    return owner


def test_what_is_pending_goes_on_behind_an_adjustment() -> None:
    partition = Partition()
    owner = counted(partition, "a")
    partition.emit("b")
    finished(partition.takeover().refresh(owner))
    for record in partition.log.topics[EVENTS][owner.position :]:
        assert record is not None
        owner.count(record)
    adjust(partition, owner)
    partition.log.reads.clear()
    finished(partition.takeover().refresh(owner))
    assert (owner.position, owner.pending_records, owner.tallies.chain.skipped) == (2, 1, 0)
    assert [topic for topic, _, _ in partition.log.reads] == [TALLIES], "no event was read again for its id"
    cut = owner.cut()
    assert owner.observe(partition.log.append(TALLIES, cut.value, at_ms=partition.now_ms).offset, cut.tally)
    assert (cut.tally.events.counted, cut.tally.link) == (1, ChainLink(1, 2, 1))


def test_a_tally_that_was_cut_before_an_adjustment_and_lands_behind_it_is_accepted() -> None:
    partition = Partition()
    owner = counted(partition, "a")
    partition.emit("b")
    record = partition.log.topics[EVENTS][1]
    assert record is not None
    owner.count(record)
    cut = owner.cut()
    adjust(partition, owner, copies=2)
    offset = partition.log.append(TALLIES, cut.value, at_ms=partition.now_ms).offset
    assert finished(partition.takeover().catch_up(owner, cut.tally, offset))
    assert (owner.position, owner.tallies.chain.skipped, len(owner.ids)) == (2, 1, 2)
    new = partition.owner()
    assert (new.position, new.tallies, len(new.ids)) == (2, replace(owner.tallies, chain=new.tallies.chain), 2)


@pytest.mark.parametrize("between", [1, 2, 5])
def test_a_new_owner_begins_at_any_checkpoint_and_stands_where_the_old_one_does(between: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "TALLIES_PER_CHECKPOINT", 2)
    partition = Partition()
    owner = counted(partition, "abc")
    for event_id in "defgh"[:between]:
        adjust(partition, owner, copies=2)
        finished(partition.takeover().refresh(owner))
        partition.emit(event_id)
        partition.flush(owner)
    adjust(partition, owner)
    new = partition.owner()
    assert (new.position, new.tallies.chain.end, len(new.ids)) == (3 + between, 3 + between, 3 + between)
    assert new.tallies.catalogue == owner.tallies.catalogue
    assert new.tallies.log_time_ms == owner.tallies.log_time_ms
    partition.emit("z")
    partition.flush(new)
    assert partition.owner().position == 4 + between
