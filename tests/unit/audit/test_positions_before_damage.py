"""What cannot be read hides nothing of what is before it: how far a partition is counted and reported."""

import pytest
from taximeter_emitter.clock import SystemClock

from audit.positions import PartitionPosition, _PositionReader
from metering.folds.customer_links import CustomerLinks
from metering.kafka.topics import topics_named
from metering.records.ledger_records import encode_entry
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import START_MS, TALLIES
from tests.support.metering_ledger_entries import an_intent
from tests.support.metering_memory_log import finished

TOPICS = topics_named("usage")
LEDGER = TOPICS.ledger.name


def counted_and_reported() -> Partition:
    """Three tallies, of which the first is reported."""
    partition = Partition()
    counter = partition.owner()
    for event in "abc":
        partition.emit(event)
        partition.flush(counter)
    chain_id = counter.tallies.chain_id
    assert chain_id is not None
    partition.log.append(LEDGER, encode_entry(an_intent(0, 1, -1, chain_id=chain_id, events_end=1)), at_ms=START_MS)
    return partition


def position(partition: Partition) -> PartitionPosition:
    return finished(_PositionReader(TOPICS, partition.log, CustomerLinks(), SystemClock())._partition(0, 0.0))


def newer(value: bytes) -> bytes:
    return value.replace(b"tally/2", b"tally/99").replace(b"intent/1", b"intent/99")


def figures(found: PartitionPosition) -> tuple[int, int, int, int]:
    return found.counted_to, found.uncounted, found.reported_to, found.open_meter_events


def test_without_damage() -> None:
    assert figures(position(counted_and_reported())) == (3, 0, 1, 1)


@pytest.mark.parametrize(("at", "counted_to"), [(2, 2), (1, 1), (0, 1)])
def test_a_tally_that_cannot_be_decoded(at: int, counted_to: int) -> None:
    partition = counted_and_reported()
    record = partition.log.topics[TALLIES][at]
    assert record is not None
    assert record.value is not None
    partition.log.topics[TALLIES][at] = type(record)(at, record.timestamp, None, newer(record.value))
    found = position(partition)
    assert figures(found) == (counted_to, 3 - counted_to, 1, 1)
    assert found.problem.startswith(f"RecordCorrupt: offset {at} of usage.tallies/0")


@pytest.mark.parametrize(("damaged", "counted_to"), [(range(1, 3), 1), (range(2, 3), 2), (range(1), 1)])
def test_tallies_that_are_damaged(damaged: range, counted_to: int) -> None:
    partition = counted_and_reported()
    partition.log.damaged[TALLIES] = damaged
    found = position(partition)
    assert figures(found) == (counted_to, 3 - counted_to, 1, 1)
    assert found.problem.startswith("RecordUnreadable")


def test_entries_that_cannot_be_read_hide_neither_those_before_nor_the_tallies() -> None:
    partition = counted_and_reported()
    for value in (newer(encode_entry(an_intent(1, 2, 0))), b"torn", newer(encode_entry(an_intent(2, 3, 1)))):
        partition.log.append(LEDGER, value, at_ms=START_MS)
    partition.log.damaged[LEDGER] = range(2, 3)
    found = position(partition)
    assert figures(found) == (3, 0, 1, 1)
    assert "offset 1 of usage.ledger/0" in found.problem
