"""Options that would mean nothing are refused, all of them at once."""

import argparse
from pathlib import Path

import pytest

from metering.plans.import_records import ImportedContent
from taximeter.cli import parser
from taximeter.import_commands.import_arguments import is_import, selection_problems
from taximeter.import_commands.import_directory import ImportDirectory, ImportPlanUnusable, PlannedContent, PlannedImport


def parsed(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(["replay", "plan", *arguments])


def test_a_file_is_brought_in_whole() -> None:
    given = parsed("--file", "a.csv", "b.csv", "--customer", "cus_1", "--from", "2026-11-22T10:00:00Z", "--out", "d")
    assert is_import(given)
    assert given.files == [Path("a.csv"), Path("b.csv")]
    assert selection_problems(given) == ["--customer, --from: these select what was counted; a file or a topic is brought in whole"]
    assert selection_problems(parsed("--file", "a.csv", "--column", "n=usage.n", "--out", "d")) == []


def test_what_is_for_files_is_refused_elsewhere() -> None:
    assert selection_problems(parsed("--take-out", "--column", "n=usage.n", "--format", "csv")) == ["--column, --format: these are for --file"]
    assert selection_problems(parsed("--take-out", "--customer", "cus_1")) == []


PLANNED = PlannedImport(
    [PlannedContent(ImportedContent("file", "a.csv", "00" * 16), "/logs/a.csv", "csv", 10, 2)], [("n", "usage.n")], "gpu", 4, 1_795_341_600_000
)


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    directory = ImportDirectory(tmp_path / "plan")
    directory.begin().close()
    directory.finish(PLANNED, {"units": {"tokens": "8"}})
    assert (ImportDirectory(tmp_path).holds_import, directory.holds_import) == (False, True)
    assert directory.plan() == (PLANNED, {"units": {"tokens": "8"}})
    assert PLANNED.mistakes == 2
    with pytest.raises(ImportPlanUnusable, match="not empty"):
        directory.begin()


def test_how_far_it_is_is_kept_by_import_and_what_is_damaged_is_nothing(tmp_path: Path) -> None:
    directory = ImportDirectory(tmp_path)
    assert directory.written("a", 2) == [0, 0]
    directory.note_written("a", [5, 0])
    directory.note_written("b", [1, 1])
    assert (directory.written("a", 2), directory.written("b", 2), directory.written("a", 3)) == ([5, 0], [1, 1], [0, 0, 0])
    (tmp_path / "written.json").write_text("{")
    assert directory.written("a", 2) == [0, 0]


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "import.json").write_text('{"schema": "taximeter.import/1"}')
    with pytest.raises(ImportPlanUnusable, match="damaged"):
        ImportDirectory(tmp_path).plan()
    (tmp_path / "import.json").write_text('{"schema": "taximeter.import/9"}')
    with pytest.raises(ImportPlanUnusable, match="this version reads"):
        ImportDirectory(tmp_path).plan()
