"""The events of an explanation as a table: CSV, NDJSON or Parquet."""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

import orjson

from taximeter.trace_commands.arguments import EVENT_FORMATS

EXPLAINED_COLUMNS: Final[Mapping[str, str]] = {
    "partition": "int32",
    "offset": "int64",
    "index": "int32",
    "time": "string",
    "log_time": "string",
    "outcome": "string",
    "units": "int64",
    "usage": "string",
    "dimensions": "string",
    "source": "string",
    "id": "string",
    "fingerprint": "string",
    "emitter": "string",
    "number": "int64",
}
"""The columns, and their types in Parquet. `usage` and `dimensions` are JSON there and in CSV."""
_NESTED: Final = ("usage", "dimensions")
_GROUP_ROWS: Final = 10_000

EventWriter = Callable[[dict[str, Any]], None]


def event_form(file: Path | None, form: str | None, *, json: bool) -> tuple[str | None, str | None]:
    """What is wrong, or nothing; and the form in which events are written, None for nowhere."""
    if file is not None and form is None:
        form = file.suffix.removeprefix(".").lower()
        if form not in EVENT_FORMATS:
            return f"{file} must end in {', '.join(f'.{each}' for each in EVENT_FORMATS)}, or say --format", None
    if file is None and form is not None and json:
        return "--json and --format without --events are both for stdout: say where the events go with --events FILE", None
    if form == "parquet" and file is None:
        return "Parquet is no text: say where the events go with --events FILE", None
    if form == "parquet" and find_spec("pyarrow") is None:
        return "Parquet needs an extra: pip install taximeter[parquet]", None
    return None, form


@contextmanager
def event_writer(file: Path | None, form: str | None) -> Iterator[EventWriter]:
    """Writes each event to a file, or to stdout, or nowhere where there is no form. Raises OSError. Memory: _GROUP_ROWS events of Parquet."""
    match form:
        case None:
            yield lambda _event: None
        case "csv":
            with _text(file) as out:
                rows = csv.DictWriter(out, list(EXPLAINED_COLUMNS))
                rows.writeheader()
                yield lambda event: rows.writerow(_flat(event))
        case "parquet":
            assert file is not None, "event_form saw to it"
            with _parquet(file) as write:
                yield write
        case _:
            with _text(file) as out:
                yield lambda event: print(orjson.dumps(event).decode(), file=out)


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, **{name: orjson.dumps(event[name]).decode() for name in _NESTED}}


@contextmanager
def _text(file: Path | None) -> Iterator[IO[str]]:
    if file is None:
        yield sys.stdout
        return
    with file.open("w", newline="", encoding="utf-8") as out:
        yield out


@contextmanager
def _parquet(file: Path) -> Iterator[EventWriter]:
    import pyarrow as pa  # noqa: PLC0415  # an extra
    from pyarrow import parquet  # noqa: PLC0415

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in EXPLAINED_COLUMNS.items()])
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(file, schema) as out:

        def flush() -> None:
            out.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        def write(event: dict[str, Any]) -> None:
            rows.append(_flat(event))
            if len(rows) >= _GROUP_ROWS:
                flush()

        yield write
        if rows:
            flush()
