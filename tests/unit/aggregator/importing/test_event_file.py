import gzip
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import fingerprint

from aggregator.importing.columns import ColumnMapping, ColumnsWrong, parse_mapping
from aggregator.importing.event_file import EVENT_LINE_BYTES_MAX, EventFile, FileUnusable
from aggregator.importing.source_entries import SourceEvent

EVENT: dict[str, Any] = {"id": "e1", "customer": "cus_1", "time": "2026-11-22T10:00:00Z", "usage": {"tokens": 5}}
TIME_MS = 1_795_341_600_000
MAPPED = parse_mapping(["account=customer", "ts=time_ms", "usage.total=usage.tokens", "request=id"])


def contents(path: Path, columns: ColumnMapping | None = None, **options: Any) -> list[tuple[str, SourceEvent | tuple[Reason, str]]]:
    file = EventFile(path, columns or ColumnMapping(), options.pop("source", ""), **options)
    return [
        (entry.place, (entry.content.reason, entry.content.field) if isinstance(entry.content, EventRejected) else entry.content)
        for entry in file.entries()
    ]


def written(path: Path, *lines: object) -> Path:
    path.write_bytes(b"".join(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n" for line in lines))
    return path


def test_ndjson_has_events_in_our_own_form_and_cloudevents(tmp_path: Path) -> None:
    cloud = {
        "specversion": "1.0",
        "type": "t",
        "id": "e2",
        "source": "gpu",
        "time": EVENT["time"],
        "data": {"customer": "cus_1", "usage": {"tokens": 7}},
    }
    path = written(tmp_path / "a.ndjson", EVENT, b"\n", cloud, {**EVENT, "id": None} | {"id": None})
    found = contents(path)
    assert found[0] == ("line 1", SourceEvent("cus_1", (), TIME_MS, (("tokens", 5),), fingerprint("", "e1")))
    assert found[1] == ("line 3", SourceEvent("cus_1", (), TIME_MS, (("tokens", 7),), fingerprint("gpu", "e2")))
    assert found[2] == ("line 4", SourceEvent("cus_1", (), TIME_MS, (("tokens", 5),), NO_ID))


def test_a_mistake_costs_its_line_alone(tmp_path: Path) -> None:
    no_time = {name: value for name, value in EVENT.items() if name != "time"}
    path = written(tmp_path / "a.ndjson", b"{oops\n", no_time, {**EVENT, "usage": {"tokens": -1}}, b"7\n", b"\xff\n", EVENT)
    assert ["ok" if isinstance(found, SourceEvent) else found for _, found in contents(path)] == [
        (Reason.MALFORMED_JSON, ""),
        (Reason.MISSING_FIELD, "time"),
        (Reason.NEGATIVE, "usage.tokens"),
        (Reason.NOT_AN_OBJECT, ""),
        (Reason.MALFORMED_JSON, ""),
        "ok",
    ]


def test_a_line_without_end_is_one_mistake(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", b"x" * (2 * EVENT_LINE_BYTES_MAX + 5) + b"\n", EVENT)
    assert [place for place, _ in contents(path)] == ["line 1", "line 2"]
    assert contents(path)[0][1] == (Reason.TOO_LONG, "")


def test_lines_of_a_log_are_read_by_their_columns_also_nested(tmp_path: Path) -> None:
    path = written(tmp_path / "a.log", {"account": "cus_1", "ts": TIME_MS, "usage": {"total": 5}, "request": "e1", "level": "info"})
    assert contents(path, MAPPED, source="gpu") == [("line 1", SourceEvent("cus_1", (), TIME_MS, (("tokens", 5),), fingerprint("gpu", "e1")))]


def test_csv_counts_lines_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.csv",
        b"\xef\xbb\xbfcustomer,time,usage.tokens,dimensions.model\r\n",
        b'cus_1,2026-11-22T10:00:00Z,5,"alpaca\n7b"\r\n',
        b"cus_1,2026-11-22T10:00:00Z\r\n",
        b"\r\n",
        b"cus_1,2026-11-22T10:00:00Z,5,alpaca\r\n",
    )
    assert contents(path) == [
        ("line 2", (Reason.WRONG_TYPE, "dimensions.model")),
        ("line 4", (Reason.MISSING_FIELD, "")),
        ("line 6", SourceEvent("cus_1", (("model", "alpaca"),), TIME_MS, (("tokens", 5),), NO_ID)),
    ]


def test_csv_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(ColumnsWrong, match="'amount' is no field"):
        contents(written(tmp_path / "a.csv", b"customer,time,amount\n"))
    with pytest.raises(FileUnusable, match="names the columns"):
        contents(written(tmp_path / "b.csv", b"\n"))
    path = written(tmp_path / "c.csv", b"account,ts,usage.total,request,level\n")
    assert EventFile(path, MAPPED, "").columns_not_read() == ["level"]


def test_a_copy_has_the_same_digest_whatever_it_is_called_and_packed(tmp_path: Path) -> None:
    first = written(tmp_path / "a.ndjson", EVENT)
    packed = tmp_path / "b.json.gz"
    packed.write_bytes(gzip.compress(first.read_bytes()))
    other = written(tmp_path / "c.ndjson", {**EVENT, "id": "e2"})
    digests = [EventFile(path, ColumnMapping(), "").digest() for path in (first, packed, other)]
    assert digests[0] == digests[1] != digests[2]
    assert contents(packed) == contents(first)


def test_a_broken_archive_and_a_missing_file_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "a.ndjson.gz"
    broken.write_bytes(gzip.compress(orjson.dumps(EVENT) * 50)[:-12])
    with pytest.raises(FileUnusable, match="cannot be read"):
        contents(broken)
    with pytest.raises(FileUnusable, match="cannot be read"):
        contents(tmp_path / "no.ndjson")
    with pytest.raises(FileUnusable, match="--format"):
        contents(tmp_path / "events.bin")


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FileUnusable, match=r"pip install taximeter\[parquet\]"):
        contents(written(tmp_path / "a.parquet", b"PAR1"))


def test_parquet_is_read_by_columns_flat_or_in_structures(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    import pyarrow as pa
    from pyarrow import parquet

    moment = datetime(2026, 11, 22, 10, tzinfo=UTC)
    flat = pa.table({"customer": ["cus_1", "cus_2"], "time": [moment, moment], "usage.tokens": [5, None], "id": ["e1", None]})
    parquet.write_table(flat, tmp_path / "flat.parquet")
    assert contents(tmp_path / "flat.parquet") == [
        ("row 1", SourceEvent("cus_1", (), TIME_MS, (("tokens", 5),), fingerprint("", "e1"))),
        ("row 2", (Reason.MISSING_FIELD, "usage")),
    ]
    nested = pa.table({"customer": ["cus_1"], "time": [moment], "usage": [{"tokens": 5}], "dimensions": [{"model": "alpaca"}]})
    parquet.write_table(nested, tmp_path / "nested.parquet")
    assert contents(tmp_path / "nested.parquet") == [("row 1", SourceEvent("cus_1", (("model", "alpaca"),), TIME_MS, (("tokens", 5),), NO_ID))]
    with pytest.raises(FileUnusable, match="as Parquet"):
        contents(written(tmp_path / "no.parquet", b"PAR1 and nothing more"))
