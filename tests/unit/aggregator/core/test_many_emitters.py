"""Emitters come and go by the ten thousand: nothing stops, nothing counts twice, and a new owner knows the same."""

from collections.abc import Sequence

import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.core import counting, sequences
from aggregator.core.counting import PartitionCounter
from metering.folds.tallies import Tallies
from metering.records.record import Record
from metering.records.tally import Tally, decode_tally
from tests.support.aggregator_records import START_MS, rules

LIVES = 60_000


def life(name: str, time_ms: int, *, closes: bool = True) -> list[bytes]:
    """One batch of two events, and the end."""
    batch = Batch(name, 0, 0, 2, ["home"], [()], [0], [0, 0], time_ms, [0, 1], {"input": [1, 1]})
    beats = [encode_batch(Batch(name, 0, 2, 0, final=True))] if closes else []
    return [encode_batch(batch), *beats]


class Partition:
    """A counter, and the tallies that it wrote."""

    def __init__(self) -> None:
        self.counter = PartitionCounter(0, rules(), Tallies())
        self.counter.found(0, "chain")
        self.written: list[tuple[int, bytes]] = []

    def count(self, values: Sequence[bytes], log_time_ms: int) -> Tally:
        counter = self.counter
        offset = counter.position
        counter.count_many([Record(offset + place, log_time_ms, b"home", value) for place, value in enumerate(values)], 10**9)
        cut, at = counter.cut(), counter.tallies.chain.next_offset
        assert counter.observe(at, cut.tally)
        self.written.append((at, cut.value))
        return cut.tally

    def taken_over(self) -> None:
        """Another process folds what was written."""
        self.counter = PartitionCounter(0, rules(), Tallies())
        for at, value in self.written:
            assert self.counter.observe(at, decode_tally(value))
        self.counter.remembered()


def test_sixty_thousand_emitters_that_closed_are_known_by_the_next_owner_too() -> None:
    partition = Partition()
    for start in range(0, LIVES, 500):
        values = [value for number in range(start, start + 500) for value in life(f"e{number}", START_MS)]
        assert partition.count(values, START_MS + start * 1_000).events.counted == 1_000
    partition.taken_over()
    again = partition.count([value for number in range(0, LIVES, 100) for value in life(f"e{number}", START_MS)], START_MS + LIVES * 1_000)
    assert (again.events.counted, again.events.duplicates) == (0, LIVES // 100 * 2)
    assert max(len(value) for _, value in partition.written) < 4_000_000


@pytest.mark.parametrize("closes", [True, False])
def test_an_emitter_that_was_forgotten_is_not_counted_again_and_new_ones_are_counted(monkeypatch: pytest.MonkeyPatch, closes: bool) -> None:
    monkeypatch.setattr(sequences, "EMITTERS_MAX", 40)
    monkeypatch.setattr(sequences, "NAMED_EMITTERS_MAX", 10)
    monkeypatch.setattr(counting, "TALLIES_PER_CHECKPOINT", 3)
    partition = Partition()
    for number in range(100):
        now_ms = START_MS + number * HOUR_MS
        if number % 7 == 5:
            partition.taken_over()
        assert partition.count(life(f"e{number}", now_ms, closes=closes), now_ms).events.counted == 2
    assert len(partition.counter.sequences) <= 50
    later_ms = START_MS + 101 * HOUR_MS
    for number in range(100):
        events = partition.count(life(f"e{number}", START_MS + number * HOUR_MS, closes=closes), later_ms).events
        assert events.counted == 0
        assert events.duplicates + events.dead_lettered.get("past_horizon", 0) == 2
    assert partition.count(life("new", later_ms), later_ms).events.counted == 2


def test_a_checkpoint_that_does_not_fit_waits_for_a_smaller_tally(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition()
    monkeypatch.setattr(counting, "CHAIN_RECORD_BYTES_MAX", 5_000)
    large = partition.count([value for number in range(200) for value in life(f"e{number}", START_MS)], START_MS)
    assert large.emitter_states is None
    monkeypatch.setattr(counting, "CHAIN_RECORD_BYTES_MAX", 50_000)
    small = partition.count([], START_MS)
    assert small.emitter_states is not None
    assert len(small.digested_emitters.following) == 200
