import csv
import json
from pathlib import Path
from typing import Any

import pytest

from audit.tracing.event_outcomes import EventOutcome
from audit.tracing.usage_columns import UsageColumns
from taximeter.trace_commands.explained_events import EXPLAINED_COLUMNS, event_form, event_writer, table_of

EVENT: dict[str, Any] = {
    "partition": 3,
    "offset": 17,
    "index": 4,
    "time": "2026-11-22T10:00:00.000+00:00",
    "log_time": "2026-11-22T10:00:01.007+00:00",
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
SECOND = EVENT | {"source": "eu", "number": 5}
COLUMNS = UsageColumns(
    offsets=[17, 17],
    places=[4, 4],
    log_times_ms=[1_795_341_601_007] * 2,
    times_ms=[1_795_341_600_000] * 2,
    outcomes=[EventOutcome.COUNTED] * 2,
    units=[10**12] * 2,
    usage=['{"n":1000000000000}'] * 2,
    dimensions=[r'{"model":"a,\"b"}'] * 2,
    sources=["", "eu"],
    ids=["req-1"] * 2,
    fingerprints=["00ff"] * 2,
    emitters=["e1"] * 2,
    numbers=[None, 5],
)


def written(file: Path | None, form: str | None) -> None:
    with event_writer(file, form) as write:
        assert (write is None) == (form is None)
        if write is not None:
            write(table_of(3, COLUMNS))


def test_the_columns_are_those_of_an_event() -> None:
    assert list(EVENT) == list(EXPLAINED_COLUMNS) == list(table_of(3, COLUMNS))


def test_every_form_has_the_same_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("csv", "ndjson", "parquet"):
        written(tmp_path / form, form)
    written(None, "ndjson")
    written(None, None)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [EVENT, SECOND]
    assert [json.loads(line) for line in (tmp_path / "ndjson").read_text().splitlines()] == [EVENT, SECOND]
    from pyarrow import parquet

    flat = [event | {name: json.dumps(event[name], separators=(",", ":")) for name in ("usage", "dimensions")} for event in (EVENT, SECOND)]
    assert parquet.read_table(tmp_path / "parquet").to_pylist() == flat
    with (tmp_path / "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{name: "" if value is None else str(value) for name, value in event.items()} for event in flat]


def test_the_form_is_said_or_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_form(None, None, json=False) == (None, None)
    assert event_form(Path("a.parquet"), None, json=True) == (None, "parquet")
    assert event_form(Path("a.txt"), "csv", json=False) == (None, "csv")
    assert event_form(None, "ndjson", json=False) == (None, "ndjson")
    for wrong in (event_form(Path("a.txt"), None, json=False), event_form(None, "csv", json=True), event_form(None, "parquet", json=False)):
        assert wrong[0] is not None
    monkeypatch.setattr("taximeter.trace_commands.explained_events.find_spec", lambda _name: None)
    assert "taximeter[parquet]" in str(event_form(Path("a.parquet"), None, json=False)[0])
