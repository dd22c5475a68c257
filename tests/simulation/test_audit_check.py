"""The audit finds what is planted in the tallies of a world; the world itself is clean, or the seed would have said so."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from metering.records.record import Record
from metering.records.tally import NotCounted, Tally, WhyNotCounted, decode_tally, encode_tally
from tests.simulation.audit_check import audit_violations
from tests.simulation.bindings import bound
from tests.simulation.checker import Evidence, Violation
from tests.simulation.simulation import Simulation

SEEDS = range(40)
FOUND_MIN = 5


def another_quantity(tally: Tally) -> Tally | None:
    """One row says one unit more."""
    if not tally.rows:
        return None
    return replace(tally, rows=[tally.rows[0]._replace(quantity=tally.rows[0].quantity + 1), *tally.rows[1:]])


def named_a_duplicate(tally: Tally) -> Tally | None:
    """The records of a tally that counts all it holds are left out as duplicates, and rows and counts fit that."""
    events, link = tally.events, tally.link
    if not tally.rows or not tally.records.singles or tally.records.batches or events.total != events.counted:
        return None
    run = NotCounted(link.start, link.end - link.start, 0, 0, WhyNotCounted.DUPLICATE)
    return replace(tally, rows=[], not_counted=[run], events=replace(events, counted=0, duplicates=events.counted), unknown_usage=())


def planted(evidence: Evidence, forge: Callable[[Tally], Tally | None]) -> Evidence | None:
    """The first tally that can be forged so is, in each partition."""
    done = False
    tallies = {}
    for partition, log in evidence.tallies.items():
        changed = list(log)
        for place, record in enumerate(log):
            tally = None if record is None else decode_tally(record.value)
            forged = None if tally is None or tally.link.start == tally.link.end else forge(tally)
            if record is not None and forged is not None:
                changed[place] = Record(record.offset, record.timestamp, None, encode_tally(forged), record.headers)
                done = True
                break
        tallies[partition] = changed
    return replace(evidence, tallies=tallies) if done else None


@pytest.mark.parametrize("forge", [another_quantity, named_a_duplicate])
def test_what_is_planted_in_a_tally_is_found(forge: Callable[[Tally], Tally | None]) -> None:
    worlds = found = 0
    for seed in SEEDS:
        world = Simulation(seed, tracing=False, scope=None)
        with bound(seed, recent_ids_max=world.recent_ids_max, crowded=world.crowded):
            assert list(world.run().violations) == []
        evidence = planted(world._evidence(), forge)
        if evidence is not None:
            worlds += 1
            # A tally that lost the race is skipped, so what it says is nobody's.
            found += bool(_said(evidence, world))
    assert found >= FOUND_MIN, f"{found} of {worlds}"


def _said(evidence: Evidence, world: Simulation) -> list[Violation]:
    return audit_violations(evidence, world.rules.partition_of)
