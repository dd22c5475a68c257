"""The lines of a file of events: NDJSON, CSV with a header, or Parquet, also gzipped. Reads from a disk, in bounded memory.

The digest is of the content: of NDJSON and CSV after unpacking, so that a copy that is renamed, packed or unpacked has the same.
"""

import csv
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
from taximeter_emitter.wire.errors import EventRejected, Reason, TaximeterError

from aggregator.importing.columns import ColumnMapping
from aggregator.importing.source_entries import MappedLines, SourceEntry, WholeLines
from aggregator.importing.table_values import plain_value

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

EVENT_LINE_BYTES_MAX: Final = 1_000_000
FORMATS: Final = ("ndjson", "csv", "parquet")
DIGEST_BYTES: Final = 16
_SUFFIXES: Final = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".log": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 1 << 20
_PARQUET_ROWS: Final = 2_000


class FileUnusable(TaximeterError):
    """The file cannot be read as what it is said to be; the message says why and what to do."""


class EventFile:
    """One file. `format_name` is one of FORMATS, or None where the name of the file says it."""

    def __init__(self, path: Path, columns: ColumnMapping, source: str, format_name: str | None = None) -> None:
        self.path = path
        self.columns = columns
        self.source = source
        self.format_name = format_name or self._format_by_name()

    def digest(self) -> str:
        """Of the content, in hexadecimal digits. Blocks on the disk; raises FileUnusable."""
        digest = blake2b(digest_size=DIGEST_BYTES)
        with self._opened(unpack=self.format_name != "parquet") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def entries(self) -> Iterator[SourceEntry]:
        """Every line or row that is not empty, in order. Blocks on the disk; raises FileUnusable, and ColumnsWrong for the columns of the file."""
        match self.format_name:
            case "csv":
                return self._csv()
            case "parquet":
                return self._parquet()
            case _:
                return self._ndjson()

    def columns_not_read(self) -> list[str]:
        """The columns that the mapping passes over; of NDJSON nobody knows. Raises as `entries` does."""
        match self.format_name:
            case "csv":
                with self._text() as text:
                    return self.columns.not_read(_header(text, self.path))
            case "parquet":
                with _parquet_file(self.path) as file:
                    return self.columns.not_read(_leaves(file))
            case _:
                return []

    def _ndjson(self) -> Iterator[SourceEntry]:
        pairs = dict(self.columns.pairs)
        lines = MappedLines(pairs, self.source, nested=True) if pairs else WholeLines(self.source)
        with self._opened(unpack=True) as file:
            number = 0
            while raw := file.readline(EVENT_LINE_BYTES_MAX):
                number += 1
                place = f"line {number}"
                if len(raw) == EVENT_LINE_BYTES_MAX and not raw.endswith(b"\n"):
                    while (rest := file.readline(EVENT_LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                        pass
                    yield SourceEntry(place, EventRejected(Reason.TOO_LONG, "", f"a line has at most {EVENT_LINE_BYTES_MAX} bytes"))
                elif raw.strip():
                    try:
                        yield SourceEntry(place, lines.read(_json(raw)))
                    except EventRejected as rejected:
                        yield SourceEntry(place, rejected)

    def _csv(self) -> Iterator[SourceEntry]:
        with self._text() as text:
            header = _header(text, self.path)
            lines = MappedLines(self.columns.fields_of(header), self.source)
            rows = csv.reader(text, strict=True)
            while True:
                place = f"line {rows.line_num + 2}"  # after the header
                try:
                    row = next(rows, None)
                    if row is None:
                        return
                    if row:
                        yield SourceEntry(place, lines.read(_cells(header, row)))
                except EventRejected as rejected:
                    yield SourceEntry(place, rejected)
                except csv.Error as error:
                    yield SourceEntry(place, EventRejected(Reason.WRONG_TYPE, "", f"cannot be read as CSV: {error}"))

    def _parquet(self) -> Iterator[SourceEntry]:
        with _parquet_file(self.path) as file:
            lines = MappedLines(self.columns.fields_of(_leaves(file)), self.source, nested=True)
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        yield SourceEntry(f"row {number}", lines.read(plain_value(row)))
                    except EventRejected as rejected:
                        yield SourceEntry(f"row {number}", rejected)

    @contextmanager
    def _text(self) -> Iterator[TextIOWrapper]:
        with self._opened(unpack=True) as file:
            # What is no UTF-8 becomes characters that no event may have, so it is named with its line.
            yield TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")

    @contextmanager
    def _opened(self, *, unpack: bool) -> Iterator[IO[bytes]]:
        try:
            with self.path.open("rb") as raw:
                packed = unpack and raw.peek(2)[:2] == _GZIP
                if packed:
                    with gzip.GzipFile(fileobj=raw) as unpacked, BufferedReader(unpacked, _CHUNK) as file:
                        yield file
                else:
                    yield raw
        except (OSError, EOFError) as error:
            raise FileUnusable(f"{self.path} cannot be read: {error}") from error

    def _format_by_name(self) -> str:
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] == ".gz":
            suffixes.pop()
        found = _SUFFIXES.get(suffixes[-1] if suffixes else "")
        if found is None:
            raise FileUnusable(f"{self.path}: its name does not say what it is: --format {'|'.join(FORMATS)}")
        return found


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise EventRejected(Reason.MALFORMED_JSON, "", f"is not JSON: {error}") from None


def _header(text: TextIOWrapper, path: Path) -> list[str]:
    try:
        header = next(csv.reader([text.readline(EVENT_LINE_BYTES_MAX)]), [])
    except csv.Error as error:
        raise FileUnusable(f"{path}: the first line of a CSV names the columns, and cannot be read: {error}") from error
    if not header:
        raise FileUnusable(f"{path}: the first line of a CSV names the columns, and it is empty")
    return header


def _cells(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(header):
        reason = Reason.TOO_MANY if len(row) > len(header) else Reason.MISSING_FIELD
        raise EventRejected(reason, "", f"has {len(row)} cells, and the header has {len(header)}")
    return dict(zip(header, row, strict=True))


def _parquet_file(path: Path) -> "ParquetFile":
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415  # an extra; and it takes a quarter of a second
    except ImportError:
        raise FileUnusable(f"{path}: Parquet needs an extra: pip install taximeter[parquet]") from None
    try:
        return parquet.ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise FileUnusable(f"{path} cannot be read as Parquet: {error}") from error


def _leaves(file: "ParquetFile") -> list[str]:
    """The columns, those within structures with dots between the names."""
    return [file.schema.column(place).path for place in range(len(file.schema))]
