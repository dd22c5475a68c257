"""The console's sums on logs of simulated worlds: forks, zombies, corrections, adjustments, resends, reports. The audit's folds say what is right."""

from collections import Counter
from pathlib import Path

import pytest

from console.following import ledger_follower, tally_follower
from console.store.usage_store import UsageStore
from metering.folds.corrections import named_places
from metering.folds.ledger import Ledger
from metering.folds.tallies import Tallies
from metering.reconciliation.cells import CellScope, LedgerCells
from metering.records.ledger_records import decode_entry
from metering.records.record import Record
from metering.records.tally import decode_tally
from tests.simulation.bindings import bound
from tests.simulation.checker import Evidence
from tests.simulation.link_actor import own_name
from tests.simulation.raw_records import RawRecord
from tests.simulation.simulation import Simulation
from tests.support.console_folding import MemoryConsole, PartitionLogs, contents

HOUR = 3_600_000
SEEDS = (368, 45, 360, 459, 158, 342, 84, 232, 435, 107, 491, *range(10))  # in the first there is much to correct and to adjust


def world(seed: int) -> Evidence:
    simulation = Simulation(seed, tracing=False, scope=None)
    with bound(seed, recent_ids_max=simulation.recent_ids_max, crowded=simulation.crowded):
        assert list(simulation.run().violations) == []
    return simulation._evidence()


def logs_of(evidence: Evidence) -> list[PartitionLogs]:
    topics = {"tallies": evidence.tallies, "ledger": evidence.ledger, "deadletters": evidence.deadletters}
    return [{topic: [_record(each) for each in logs[partition]] for topic, logs in topics.items()} for partition in range(evidence.partitions)]


def _record(record: RawRecord | None) -> Record | None:
    return None if record is None else Record(record.offset, record.timestamp, None, record.value, record.headers)


def counted(evidence: Evidence) -> Counter[tuple[str, str, int]]:
    found: Counter[tuple[str, str, int]] = Counter()
    for log in evidence.tallies.values():
        fold = Tallies()
        for record in log:
            tally = None if record is None else decode_tally(record.value)
            if record is not None and tally is not None and fold.fold(record.offset, tally):
                for row in tally.rows:
                    found[row.customer, row.meter, row.window_start_ms // HOUR] += row.quantity
    return found


def told(evidence: Evidence) -> tuple[Counter[tuple[str, str, int]], Counter[tuple[str, str, int]]]:
    """By the comparison with Stripe, which reads twice and remembers what is spoken of: what is sure, and what is open or in doubt."""
    sure: Counter[tuple[str, str, int]] = Counter()
    doubt: Counter[tuple[str, str, int]] = Counter()
    for log in evidence.ledger.values():
        entries = [(record.offset, record.timestamp, decode_entry(record.value)) for record in log if record is not None]
        cells = LedgerCells(CellScope(0, 1 << 60, HOUR), Ledger())
        for _, _, entry in entries:
            cells.foresee(entry)
        for offset, log_time_ms, entry in entries:
            cells.fold(offset, log_time_ms, entry)
        for key, cell in cells.finish().items():
            assert not cell.doubts_left_out
            # Stripe knows a linked customer by another name; the store has that of the events.
            customer = own_name(key.customer)
            sure[customer, key.meter, key.start_ms // HOUR] += cell.sure
            doubt[customer, key.meter, key.start_ms // HOUR] += sum(each.value for each in cell.doubts)
    return sure, doubt


def sums(path: Path, *columns: int) -> Counter[tuple[str, str, int]]:
    found: Counter[tuple[str, str, int]] = Counter()
    for row in contents(path)["hours"]:
        found[row[0], row[1], row[3]] += sum(row[4 + column] for column in columns)
    return found


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_store_says_what_the_audit_says(seed: int, tmp_path: Path) -> None:
    evidence = world(seed)
    console = MemoryConsole(tmp_path / "usage", logs_of(evidence))
    for part in (0.2, 0.45, 0.5, 0.8, 1.0):
        console.show(part)
        await console.read_on()
    await console.close()
    sure, doubt = told(evidence)
    assert same(sums(tmp_path / "usage", 0), counted(evidence))
    assert same(sums(tmp_path / "usage", 5), sure)
    assert same(sums(tmp_path / "usage", 4, 6), doubt)


def same(found: Counter[tuple[str, str, int]], right: Counter[tuple[str, str, int]]) -> bool:
    return {key: count for key, count in found.items() if count} == {key: count for key, count in right.items() if count}


class Killed(Exception):
    """The process ended here."""


@pytest.mark.parametrize("seed", SEEDS[:8])
async def test_a_kill_at_any_write_changes_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = logs_of(world(seed))
    whole = MemoryConsole(tmp_path / "whole", logs)
    whole.show(1.0)
    await whole.read_on()
    await whole.close()

    monkeypatch.setattr(tally_follower, "ROWS_A_WRITE", 1)
    monkeypatch.setattr(ledger_follower, "ROWS_A_WRITE", 1)
    writes, write = 0, UsageStore.write

    def dying(store: UsageStore, *arguments: object) -> None:
        nonlocal writes
        writes += 1
        if writes % 5 == 2:
            raise Killed  # before the transaction
        write(store, *arguments)  # type: ignore[arg-type]
        if writes % 5 == 4:
            raise Killed  # behind it

    monkeypatch.setattr(UsageStore, "write", dying)
    for part in (0.3, 0.6, 1.0, 1.0):
        for _ in range(10_000):
            console = MemoryConsole(tmp_path / "killed", logs)
            console.show(part)
            try:
                await console.read_on()
                break
            except Killed:
                continue
            finally:
                await console.close()
    found, right = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    assert writes > 10
    for table, rows in right.items():
        assert found[table] == rows, table


def test_worlds_have_what_is_asked_about() -> None:
    spoken = plans = 0
    for seed in SEEDS:
        evidence = world(seed)
        for log in evidence.ledger.values():
            spoken += sum(len(named_places(decode_entry(record.value))) for record in log if record is not None)
        for log in evidence.tallies.values():
            plans += sum(decode_tally(record.value).adjustment is not None for record in log if record is not None)
    assert spoken >= 10
    assert plans > 20
