"""Exports of the logs of simulated worlds: each record once, whatever interrupts them, and the questions of docs/exports.md on the files."""

import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from metering.folds.tallies import Tallies
from metering.kafka.topics import topics_named
from metering.records.record import Record
from metering.records.tally import decode_tally
from taximeter.exporting import exporter as exporter_module
from taximeter.exporting.day_files import DayFiles, ExportRefused
from taximeter.exporting.export_columns import WHAT
from taximeter.exporting.exporter import Exporter
from tests.simulation.bindings import bound
from tests.simulation.checker import Evidence
from tests.simulation.simulation import Simulation
from tests.support.metering_memory_log import MemoryLog
from tests.support.repository import ROOT

pyarrow = pytest.importorskip("pyarrow", reason="Parquet is an extra")

SEEDS = (368, 45, 360, 459)  # with corrections, adjustments and reports
QUESTIONS = re.findall(r"^### (\d.*?)\n.*?```sql\n(.*?)```", (ROOT / "docs/exports.md").read_text(), re.MULTILINE | re.DOTALL)
TOPICS = topics_named("usage")


def world(seed: int) -> Evidence:
    simulation = Simulation(seed, tracing=False, scope=None)
    with bound(seed, recent_ids_max=simulation.recent_ids_max, crowded=simulation.crowded):
        assert list(simulation.run().violations) == []
    return simulation._evidence()


def log_of(evidence: Evidence, partition: int, part: float) -> MemoryLog:
    memory = MemoryLog()
    for topic, logs in ((TOPICS.events, evidence.events), (TOPICS.tallies, evidence.tallies), (TOPICS.ledger, evidence.ledger)):
        whole = [None if each is None else Record(each.offset, each.timestamp, None, each.value, each.headers) for each in logs[partition]]
        memory.topics[topic.name] = list(whole if topic is TOPICS.events else whole[: round(part * len(whole))])
    return memory


async def export(folder: Path, evidence: Evidence, *, part: float = 1.0, what: tuple[str, ...] = tuple(WHAT)) -> None:
    for each in what:
        files = DayFiles(folder, each, "usage/1")
        with files.alone():
            for partition in range(evidence.partitions):
                memory = log_of(evidence, partition, part)
                exporter = Exporter(memory, memory, TOPICS, files, 0)
                await (exporter.ledger(partition) if each == "ledger" else exporter.tallies(partition, events=each == "events"))


def rows(folder: Path, dataset: str) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found = [row for path in (folder / dataset).glob("*/*.parquet") for row in parquet.ParquetFile(path).read().to_pylist()]
    return sorted(found, key=lambda row: (row["partition"], row["offset"], row["row"]))


class Killed(Exception):
    """The process ended here."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_kill_and_another_run_give_each_record_once(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = world(seed)
    await export(tmp_path / "whole", evidence)
    monkeypatch.setattr(exporter_module, "ROWS_A_FILE", 10)
    count, place = 0, "taximeter.exporting.day_files.write_atomically"
    from metering.process.atomic_files import write_atomically

    def dying(*arguments: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count % 3 == 2:
            raise Killed  # the files are there, and their place is not
        write_atomically(*arguments, **named)

    monkeypatch.setattr(place, dying)
    for part in (0.3, 0.7, 1.0):
        for _ in range(100):
            try:
                await export(tmp_path / "killed", evidence, part=part)
                break
            except Killed:
                continue
        else:
            raise AssertionError("it came to no end")
    assert count > 8
    for dataset in ("tallies", "ledger", "outcomes", "events"):
        found, right = rows(tmp_path / "killed", dataset), rows(tmp_path / "whole", dataset)
        assert right or dataset == "outcomes"
        assert found == right, dataset
        assert len({(row["partition"], row["offset"], row["row"]) for row in right}) == len(right)


def counted(evidence: Evidence) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for log in evidence.tallies.values():
        fold = Tallies()
        for record in log:
            tally = None if record is None else decode_tally(record.value)
            if record is not None and tally is not None and fold.fold(record.offset, tally):
                for row in tally.rows:
                    found[row.customer, row.meter] += row.quantity
    return found


async def test_a_directory_belongs_to_one_installation_and_one_export_at_a_time(tmp_path: Path) -> None:
    await export(tmp_path, world(SEEDS[0]), what=("tallies",))
    with pytest.raises(ExportRefused, match="choose another directory"):
        DayFiles(tmp_path, "tallies", "others/1").place(0)
    with (
        DayFiles(tmp_path, "tallies", "usage/1").alone(),
        pytest.raises(ExportRefused, match="under way"),
        DayFiles(tmp_path, "tallies", "usage/1").alone(),
    ):
        pass


@pytest.mark.skipif(find_spec("duckdb") is None, reason="DuckDB is not installed: the questions of docs/exports.md are not asked")
async def test_finance_can_ask_its_five_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    assert len(QUESTIONS) == 5
    evidence = world(SEEDS[0])
    await export(tmp_path, evidence)
    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    used, stripe, changed, _, events = (connection.execute(sql).fetchall() for _, sql in QUESTIONS)
    found: Counter[tuple[str, str]] = Counter()
    for customer, meter, _, units, _ in used:
        found[customer, meter] += int(units)
    assert {key: units for key, units in found.items() if units} == {key: units for key, units in counted(evidence).items() if units}
    assert {"accepted"} <= {row[1] for row in stripe}
    assert any(row[4] is not None for row in changed)  # plans
    assert isinstance(events, list)
