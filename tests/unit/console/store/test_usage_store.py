"""The store: one console writes it, old days leave it, and what is of another log is not taken for its own."""

import sqlite3
from pathlib import Path

import pytest

from console.folding.usage_changes import FoldChanges, LetterLine, UsageAmounts, UsagePlace
from console.store.fold_places import LETTERS, TALLIES, FoldPlace
from console.store.usage_store import StoreUnusable, UsageStore
from tests.support.console_folding import contents
from tests.support.console_usage import DAY, a_store


def test_a_second_console_on_the_same_store_adds_nothing(tmp_path: Path) -> None:
    store = a_store(tmp_path / "usage", ("a", "tokens", (), 0, 10))
    changes = FoldChanges()
    changes.add(UsagePlace("a", "tokens", (), 24 * DAY), UsageAmounts(counted=10))
    with pytest.raises(StoreUnusable, match="another console"):
        store.write(FoldPlace(TALLIES, 0, 1), None, changes)  # it was at the same place, and came second
    store.close()
    assert [row[4] for row in contents(tmp_path / "usage")["hours"]] == [10]


def test_what_is_too_old_leaves_and_does_not_come_back(tmp_path: Path) -> None:
    store = a_store(tmp_path / "usage", ("a", "tokens", (), 0, 10), ("a", "tokens", (), 23, 1), ("a", "tokens", (), 24, 100))
    store.keep_from(DAY + 1)
    changes = FoldChanges()
    changes.add(UsagePlace("a", "tokens", (), 24 * DAY + 5), UsageAmounts(counted=7))
    store.write(FoldPlace(TALLIES, 0, 2), FoldPlace(TALLIES, 0, 1), changes)
    store.close()
    found = contents(tmp_path / "usage")
    assert [row[3:5] for row in found["hours"]] == [(24 * DAY + 24, 100)]
    assert [row[3:5] for row in found["days"]] == [(DAY + 1, 100)]
    again = UsageStore(tmp_path / "usage", identity="test", kept_from_day=0)
    assert again.kept_from_day == DAY + 1
    again.close()


def test_a_sum_that_an_integer_cannot_hold_is_not_rounded(tmp_path: Path) -> None:
    store = a_store(tmp_path / "usage", ("a", "tokens", (), 0, 2**62))
    changes = FoldChanges()
    changes.add(UsagePlace("a", "tokens", (), 24 * DAY), UsageAmounts(counted=2**62))
    with pytest.raises(StoreUnusable):
        store.write(FoldPlace(TALLIES, 0, 2), FoldPlace(TALLIES, 0, 1), changes)
    assert store.place(TALLIES, 0) == FoldPlace(TALLIES, 0, 1)
    store.close()


def test_a_store_of_other_topics_is_emptied(tmp_path: Path) -> None:
    a_store(tmp_path / "usage", ("a", "tokens", (), 0, 10)).close()
    store = UsageStore(tmp_path / "usage", identity="others/12", kept_from_day=0)
    assert store.place(TALLIES, 0) is None
    store.close()
    assert contents(tmp_path / "usage")["hours"] == []


def test_a_file_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "usage")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreUnusable, match="something else"):
        UsageStore(tmp_path / "usage", identity="test", kept_from_day=0)
    (tmp_path / "text").write_text("this is no database, and long enough to be looked at" * 100)
    with pytest.raises(StoreUnusable, match="not a database"):
        UsageStore(tmp_path / "text", identity="test", kept_from_day=0)


def test_a_letter_that_was_written_twice_is_one(tmp_path: Path) -> None:
    store = UsageStore(tmp_path / "usage", identity="test", kept_from_day=0)
    line = LetterLine(0, 7, 0, 5, "wrong_type", "usage", "", 1, "", "a")
    store.write(FoldPlace(LETTERS, 0, 1), None, FoldChanges(letters=[line, line._replace(offset=1), line._replace(offset=2, origin=8)]))
    store.close()
    assert [row[:3] for row in contents(tmp_path / "usage")["letters"]] == [(0, 0, 7), (0, 2, 8)]
