"""A directory of Parquet files, `DIR/DATASET/day=2026-11-27/p00003-000000000123.parquet`, and the places up to which the logs are in it.

A file is written beside its place and renamed. Then the place of its partition is written, in one file that is renamed as well. A file behind that
place is of an export that was interrupted in between: the next one removes it first, and writes its records again.
"""

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from taximeter_emitter.wire.errors import TaximeterError

from console.store.fold_places import FoldPlace
from metering.process.atomic_files import write_atomically
from taximeter.exporting.export_columns import DATASETS, TIME, WHAT
from taximeter.exporting.export_rows import ExportedRow

_FORMAT: Final = "taximeter.export/1"


class ExportRefused(TaximeterError):
    """The directory cannot be used; the message says why."""


class DayFiles:
    """Of one kind of records in one directory. `identity`: of which topics; a directory of others is refused. Blocks on the disk; raises OSError."""

    def __init__(self, folder: Path, what: str, identity: str) -> None:
        self._folder = folder
        self._what = what
        self._identity = identity
        self.files = 0
        self.rows = 0

    def place(self, partition: int) -> FoldPlace | None:
        """Up to where a partition is exported; None if it is not yet. Raises ExportRefused."""
        path = self._place_file(partition)
        if not path.exists():
            return None
        document = orjson.loads(path.read_bytes())
        if document.get("format") != _FORMAT or document.get("topics") != self._identity:
            raise ExportRefused(f"{self._folder} has an export of {document.get('topics')}: choose another directory")
        return FoldPlace(*document["place"])

    def begin(self, partition: int, place: FoldPlace | None) -> None:
        """Remove the files behind this place: their records are written again."""
        first = 0 if place is None else place.next_offset
        for dataset in WHAT[self._what]:
            for path in (self._folder / dataset).glob(f"day=*/p{partition:05}-*"):
                if path.suffix != ".parquet" or int(path.stem.partition("-")[2]) >= first:
                    path.unlink()

    def write(self, start: int, place: FoldPlace, rows: Iterable[ExportedRow]) -> None:
        """Write the rows of the records from offset `start` to before `place`, and then the place. Of no records nothing is written."""
        if start == place.next_offset:
            return
        by_file: defaultdict[tuple[str, str], list[ExportedRow]] = defaultdict(list)
        for row in rows:
            by_file[row.dataset, datetime.fromtimestamp(row.log_time_ms // 1000, UTC).strftime("%Y-%m-%d")].append(row)
        for (dataset, day), found in by_file.items():
            path = self._folder / dataset / f"day={day}" / f"p{place.partition:05}-{start:012}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_parquet(path, dataset, found)
            self.files += 1
            self.rows += len(found)
        document = {"format": _FORMAT, "topics": self._identity, "place": list(place)}
        self._place_file(place.partition).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._place_file(place.partition), orjson.dumps(document), sync=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else exports into the same place. Raises ExportRefused at once if somebody does."""
        (self._folder / "_places").mkdir(parents=True, exist_ok=True)
        with (self._folder / "_places" / f"{self._what}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ExportRefused(f"another export of {self._what} into {self._folder} is under way") from None
            yield

    def _place_file(self, partition: int) -> Path:
        return self._folder / "_places" / f"{self._what}-{partition:05}.json"


def _write_parquet(path: Path, dataset: str, rows: Sequence[ExportedRow]) -> None:
    import pyarrow as pa  # noqa: PLC0415  # an extra
    from pyarrow import parquet  # noqa: PLC0415

    columns = DATASETS[dataset]
    schema = pa.schema([(name, pa.timestamp("ms", "UTC") if kind == TIME else pa.type_for_alias(kind)) for name, kind in columns.items()])
    values: Iterable[tuple[Any, ...]] = zip(*(row.values for row in rows), strict=True)
    table = pa.table(dict(zip(columns, map(list, values), strict=True)), schema)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
