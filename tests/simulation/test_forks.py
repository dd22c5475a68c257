"""What unclean leader election takes back: nothing is wrong if nobody had read it, and otherwise partitions stop that can know."""

from collections import Counter

import pytest

from aggregator.core.counting import PartitionCounter
from metering.folds.tallies import Tallies
from metering.records.fail_closed import ChainBroken
from tests.simulation.forks import Cut, Fate, fate_of
from tests.simulation.world import SimulatedRecord
from tests.support.aggregator_records import rules


def test_a_fork_of_events_that_nobody_has_read_loses_those_events_and_nothing_else() -> None:
    fates = Counter(fate_of(seed, Cut.UNREAD_EVENTS) for seed in range(300))
    assert fates[Fate.RIGHT] > 250
    assert fates[Fate.RIGHT] + fates[Fate.NO_FORK] == 300


@pytest.mark.parametrize("cut", [Cut.EVENTS, Cut.TALLIES, Cut.LEDGER])
def test_partitions_stop_after_a_fork_that_can_be_seen(cut: Cut) -> None:
    assert Counter(fate_of(seed, cut) for seed in range(150))[Fate.STOPPED] >= 20


def test_a_record_that_is_younger_than_the_tally_which_counted_its_offset_stops_a_takeover() -> None:
    counter = PartitionCounter(0, rules(), Tallies())
    counter.found(0, "0123456789abcdef")
    counter.count(SimulatedRecord(0, 1_000, None, b"{"))
    tally = counter.cut().tally
    again = PartitionCounter(0, rules(), Tallies())
    assert again.observe(0, tally)
    again.remember([SimulatedRecord(0, 1_000, None, b"{")])
    with pytest.raises(ChainBroken, match="appended after it was counted"):
        again.remember([SimulatedRecord(0, 1_001, None, b"{")])
