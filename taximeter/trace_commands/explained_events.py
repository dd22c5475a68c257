"""The events of an explanation as a table: CSV, NDJSON or Parquet."""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson

from audit.tracing.usage_columns import UsageColumns
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

EventTable = Mapping[str, Sequence[Any]]
"""The columns, by EXPLAINED_COLUMNS, all of one length."""

EventWriter = Callable[[EventTable], None]


def table_of(partition: int, events: UsageColumns) -> EventTable:
    """Events of this partition."""
    count = len(events.offsets)
    columns: Sequence[Sequence[Any]] = (
        [partition] * count,
        events.offsets,
        events.places,
        _moments(events.times_ms),
        _moments(events.log_times_ms),
        [outcome.value for outcome in events.outcomes],
        events.units,
        events.usage,
        events.dimensions,
        [source or None for source in events.sources],
        [event_id or None for event_id in events.ids],
        events.fingerprints,
        events.emitters,
        events.numbers,
    )
    return dict(zip(EXPLAINED_COLUMNS, columns, strict=True))


def _moments(times_ms: Sequence[int]) -> Sequence[str]:
    distinct = list(set(times_ms))
    texts = np.datetime_as_string(np.array(distinct, "datetime64[ms]")).tolist()
    by_time = {time_ms: f"{text}+00:00" for time_ms, text in zip(distinct, texts, strict=True)}
    return list(map(by_time.__getitem__, times_ms))


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
def event_writer(file: Path | None, form: str | None) -> Iterator[EventWriter | None]:
    """Writes events to a file, or to stdout; None where there is no form. Raises OSError. Memory: _GROUP_ROWS events of Parquet."""
    match form:
        case None:
            yield None
        case "csv":
            with _text(file) as out:
                rows = csv.writer(out)
                rows.writerow(EXPLAINED_COLUMNS)
                yield lambda events: rows.writerows(_rows(events))
        case "parquet":
            assert file is not None, "event_form saw to it"
            with _parquet(file) as write:
                yield write
        case _:
            with _text(file) as out:
                yield lambda events: out.writelines(map(_line, _rows(events)))


def _rows(events: EventTable) -> Iterator[tuple[Any, ...]]:
    return zip(*(events[name] for name in EXPLAINED_COLUMNS), strict=True)


def _line(row: tuple[Any, ...]) -> str:
    event = dict(zip(EXPLAINED_COLUMNS, row, strict=True))
    for name in _NESTED:
        event[name] = orjson.Fragment(event[name])
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE).decode()


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
    waiting: dict[str, list[Any]] = {name: [] for name in EXPLAINED_COLUMNS}
    with parquet.ParquetWriter(file, schema) as out:

        def flush() -> None:
            out.write_table(pa.table(waiting, schema))
            for column in waiting.values():
                column.clear()

        def write(events: EventTable) -> None:
            for name, column in waiting.items():
                column.extend(events[name])
            if len(waiting["offset"]) >= _GROUP_ROWS:
                flush()

        yield write
        if waiting["offset"]:
            flush()
