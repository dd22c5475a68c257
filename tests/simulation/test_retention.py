"""Worlds in which retention deletes events: a partition stops until that is accepted, and then nothing is counted twice."""

import orjson
import pytest

from tests.simulation import simulation
from tests.simulation.bindings import bound
from tests.simulation.simulation import Simulation
from tests.simulation.world import TALLIES

SEEDS = 60


def test_what_was_deleted_is_accepted_by_name_and_nothing_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "DELETING_WORLDS", 1.0)
    lost, only_ids = 0, 0
    for seed in range(SEEDS):
        world = Simulation(seed, tracing=False, scope=None)
        with bound(seed, recent_ids_max=world.recent_ids_max, crowded=world.crowded):
            assert not world.run().violations, seed
        for (topic, _), log in world.world.logs.items():
            for record in log if topic == TALLIES else ():
                assert record is not None
                tally = orjson.loads(record.value or b"")
                if "acceptance" in tally:
                    lost += tally["end"] > tally["start"]
                    only_ids += tally["end"] == tally["start"]
    assert lost > 5
    assert only_ids > 5
