"""Questions as they come in a request, what is wrong with them, and what the store answers."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from console.answering.usage_answer import EXACT_NUMBER_MAX, answer_usage, exact_number, row_json
from console.answering.usage_question import BadQuestion, usage_asked
from tests.support.console_usage import DAY, a_store

NOW_MS = DAY * 86_400_000 + 5_000_000
SMALL, LARGE = (("model", "small"),), (("model", "large"), ("region", "eu"))
ROWS = (
    ("a", "tokens", SMALL, 0, 10),
    ("a", "tokens", LARGE, 1, 100),
    ("a", "seconds", (), 1, 7),
    ("b", "tokens", SMALL, -1, 1_000),
    ("b", "tokens", SMALL, -24 * 20, 10_000),
)


def answered(tmp_path: Path, **parameters: str) -> list[dict[str, Any]]:
    path = tmp_path / "usage"
    if not path.exists():
        a_store(path, *ROWS).close()
    asked, connection = usage_asked(parameters, NOW_MS), sqlite3.connect(path)
    answer = answer_usage(connection, asked)
    connection.close()
    rows = [row_json(row, asked.groups) for row in answer.rows]
    return rows if answer.next is None else [*rows, {"next": answer.next}]


def units(rows: list[dict[str, Any]], *groups: str) -> dict[Any, int]:
    return {tuple(row[name] for name in groups): row["units"] for row in rows}


def test_without_groups_there_is_one_sum_of_thirty_days(tmp_path: Path) -> None:
    [row] = answered(tmp_path)
    assert row == {"units": 11_117, "adjusted": 0, "events": 5, "reported": 11_112, "waiting": 0, "sending": 5, "in_doubt": 0, "refused": 0}


def test_usage_is_summed_by_what_is_asked_for(tmp_path: Path) -> None:
    assert units(answered(tmp_path, group_by="meter,model"), "meter", "model") == {
        ("seconds", None): 7,
        ("tokens", "large"): 100,
        ("tokens", "small"): 11_010,
    }
    assert units(answered(tmp_path, group_by="region"), "region") == {(None,): 11_017, ("eu",): 100}
    assert units(answered(tmp_path, group_by="day", customer="b"), "day") == {("2024-09-14",): 10_000, ("2024-10-03",): 1_000}
    assert units(answered(tmp_path, group_by="hour", customer="a", meter="tokens"), "hour") == {
        ("2024-10-04T00:00:00Z",): 10,
        ("2024-10-04T01:00:00Z",): 100,
    }


def test_a_range_takes_whole_hours_and_no_others(tmp_path: Path) -> None:
    assert [row["units"] for row in answered(tmp_path, **{"from": "2024-10-03T23:00Z", "to": "2024-10-04T01:00Z"})] == [1_010]
    assert [row["units"] for row in answered(tmp_path, **{"from": "2024-09-14T00:00Z", "to": "2024-10-04T01:00Z"})] == [11_010]
    assert [row["units"] for row in answered(tmp_path, **{"from": "2024-10-04"})] == [117]
    assert answered(tmp_path, **{"from": "2024-10-04T02:00:00+00:00", "to": "2024-10-04T03:00Z"}) == []


def test_who_is_not_known_has_used_nothing(tmp_path: Path) -> None:
    assert answered(tmp_path, customer="nobody") == []


def test_pages_together_are_the_whole(tmp_path: Path) -> None:
    whole = answered(tmp_path, group_by="customer,meter,model")
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = answered(tmp_path, group_by="customer,meter,model", limit="1", **more)
        found += [row for row in page if "next" not in row]
        if "next" not in page[-1]:
            break
        more = {"after": page[-1]["next"]}
    assert found == whole
    assert len(found) == 4


@pytest.mark.parametrize(
    ("parameters", "parameter"),
    [
        ({"form": "2024-01-01"}, "form"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2024-10-04T00:30Z"}, "from"),
        ({"from": "0001-01-01T00:00+23:59"}, "from"),
        ({"to": "2024-01-01", "from": "2024-01-02"}, "from"),
        ({"group_by": "hour,day"}, "group_by"),
        ({"group_by": "model,model"}, "group_by"),
        ({"group_by": 'a"b'}, "group_by"),
        ({"group_by": "customer,hour"}, "group_by"),
        ({"group_by": ",".join("abcdefghi")}, "group_by"),
        ({"limit": "0"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"after": "zzz"}, "after"),
        ({"after": "WyJhIl0"}, "after"),
    ],
)
def test_what_is_wrong_names_the_parameter(parameters: dict[str, str], parameter: str) -> None:
    with pytest.raises(BadQuestion) as raised:
        usage_asked(parameters, NOW_MS)
    assert raised.value.parameter == parameter
    assert str(raised.value).startswith(f"{parameter}: ")


def test_numbers_that_readers_would_round_are_texts() -> None:
    assert exact_number(EXACT_NUMBER_MAX) == EXACT_NUMBER_MAX
    assert exact_number(-EXACT_NUMBER_MAX - 1) == "-9007199254740993"
