import csv
import json
from pathlib import Path
from typing import Any

import pytest

from taximeter.trace_commands.explained_events import EXPLAINED_COLUMNS, event_form, event_writer

EVENT: dict[str, Any] = {
    "partition": 3,
    "offset": 17,
    "index": 4,
    "time": "2026-11-22T10:00:00.000+00:00",
    "log_time": "2026-11-22T10:00:01.000+00:00",
    "outcome": "counted",
    "units": 10**12,
    "usage": {"n": 10**12},
    "dimensions": {"model": 'a,"b'},
    "source": None,
    "id": "req-1",
    "fingerprint": "00ff",
    "emitter": "e1",
    "number": None,
}


def test_the_columns_are_those_of_an_event() -> None:
    assert list(EVENT) == list(EXPLAINED_COLUMNS)


def test_every_form_has_the_same_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("csv", "ndjson", "parquet"):
        with event_writer(tmp_path / form, form) as write:
            write(EVENT)
            write(EVENT | {"number": 5})
    with event_writer(None, "ndjson") as write:
        write(EVENT)
    with event_writer(None, None) as write:
        write(EVENT)
    assert json.loads(capsys.readouterr().out) == EVENT
    assert [json.loads(line) for line in (tmp_path / "ndjson").read_text().splitlines()] == [EVENT, EVENT | {"number": 5}]
    from pyarrow import parquet

    flat = EVENT | {name: json.dumps(EVENT[name], separators=(",", ":")) for name in ("usage", "dimensions")}
    assert parquet.read_table(tmp_path / "parquet").to_pylist() == [flat, flat | {"number": 5}]
    with (tmp_path / "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {name: "" if value is None else str(value) for name, value in (flat | {"number": 5}).items()}


def test_the_form_is_said_or_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_form(None, None, json=False) == (None, None)
    assert event_form(Path("a.parquet"), None, json=True) == (None, "parquet")
    assert event_form(Path("a.txt"), "csv", json=False) == (None, "csv")
    assert event_form(None, "ndjson", json=False) == (None, "ndjson")
    for wrong in (event_form(Path("a.txt"), None, json=False), event_form(None, "csv", json=True), event_form(None, "parquet", json=False)):
        assert wrong[0] is not None
    monkeypatch.setattr("taximeter.trace_commands.explained_events.find_spec", lambda _name: None)
    assert "taximeter[parquet]" in str(event_form(Path("a.parquet"), None, json=False)[0])
