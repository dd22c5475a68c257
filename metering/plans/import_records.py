"""An import: which events of a file, or of another topic, were brought in, and by whom. Records of usage.deadletters, beside the redrives.

An import names the emitter that writes its events, which follows from the content alone, and everything else on which the numbers of the events
depend. Its writer has read the whole partition and names the offset where the import must land. It is accepted if it landed there and is
the first of its emitter, so everybody who brings the same content again gives each event the same number. An *import end* says
that all of it is in usage.events.
"""

import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import begins_with, is_marked, text, whole
from metering.records.record import LogRecord

IMPORT_HEADER: Final = "taximeter-import"
IMPORT_FORMAT: Final = "import/1"
IMPORT_END_FORMAT: Final = "import-end/1"
IMPORT_BYTES_MAX: Final = 1_000_000
COLUMNS_MAX: Final = 64


class EntryBits:
    """A set of entries, as a bit for each, the lowest first: of millions it takes little."""

    def __init__(self, bits: bytes = b"") -> None:
        self._bits = bytearray(bits)

    def __contains__(self, entry: int) -> bool:
        byte = entry >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (entry & 7) & 1)

    def __bytes__(self) -> bytes:
        return bytes(self._bits)

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def add(self, *entries: int) -> None:
        """Put entries into the set."""
        for entry in entries:
            byte = entry >> 3
            if byte >= len(self._bits):
                self._bits.extend(bytes(byte + 1 - len(self._bits)))
            self._bits[byte] |= 1 << (entry & 7)


@dataclass(frozen=True, slots=True)
class ImportedContent:
    """What was read: `name` is that of the file, for people, or of the topic.

    `start` and `end` are offsets of `partition` of the topic; of a file they are 0. `digest` is of the content, in hexadecimal digits.
    """

    kind: str
    name: str
    digest: str
    partition: int = 0
    start: int = 0
    end: int = 0

    @property
    def emitter(self) -> str:
        """The emitter of its events. A file's name does not matter; a topic's does, since the same bytes may be in two places."""
        if self.kind == "file":
            return f"file-{self.digest}"
        return f"topic-{self.digest}"


@dataclass(frozen=True, slots=True)
class Import:
    """Brings in what is in `content`, read by `columns` (name of a column, field of an event) with `source` for events that name none.

    `offset` is where it must land. `entries`: lines, rows or events that were read; `left_out`: a bit for each of them that is not brought in
    because its identity was counted, the lowest first. `numbers`: how many events were numbered, by partition. Events that happened before
    `ids_from_ms` are written without their ids, which were looked for in the log.
    """

    content: ImportedContent
    columns: Sequence[tuple[str, str]]
    source: str
    offset: int
    entries: int
    left_out: bytes
    numbers: Sequence[int]
    ids_from_ms: int
    reason: str
    by: str
    at_ms: int

    @property
    def emitter(self) -> str:
        """The emitter that writes the events."""
        return self.content.emitter

    @property
    def known(self) -> EntryBits:
        """The entries that are left out."""
        return EntryBits(self.left_out)


@dataclass(frozen=True, slots=True)
class ImportEnd:
    """All events of an import are in usage.events."""

    emitter: str


def encode_import(record: Import | ImportEnd) -> bytes:
    """The value of its record."""
    if isinstance(record, ImportEnd):
        return orjson.dumps({"format": IMPORT_END_FORMAT, "emitter": record.emitter})
    content = record.content
    return orjson.dumps(
        {
            "format": IMPORT_FORMAT,
            "emitter": record.emitter,
            "kind": content.kind,
            "name": content.name,
            "digest": content.digest,
            "partition": content.partition,
            "start": content.start,
            "end": content.end,
            "columns": record.columns,
            "source": record.source,
            "offset": record.offset,
            "entries": record.entries,
            "left_out": b64encode(zlib.compress(record.left_out, 9)).decode() if record.left_out else "",
            "numbers": record.numbers,
            "ids_from": record.ids_from_ms,
            "reason": record.reason,
            "by": record.by,
            "at": record.at_ms,
        }
    )


def import_in(record: LogRecord) -> Import | ImportEnd | None:
    """What a record of usage.deadletters brings in, or ends; None if it has no such header, or another than Taximeter wrote it: it brings nothing
    in, for every reader. Raises RecordCorrupt.
    """
    if not is_marked(record, IMPORT_HEADER) or not begins_with(record.value, ("import/", "import-end/")):
        return None
    try:
        return decode_import(record.value)
    except RecordCorrupt as error:
        raise RecordCorrupt(f"offset {record.offset} of the dead letters: {error}", offset=record.offset) from error


def decode_import(value: bytes | None) -> Import | ImportEnd:
    """Read the value of a record with the header IMPORT_HEADER. Raises RecordCorrupt."""
    try:
        document = orjson.loads(value or b"")
        if document["format"] == IMPORT_END_FORMAT:
            return ImportEnd(text(document["emitter"]))
        if document["format"] != IMPORT_FORMAT:
            raise RecordCorrupt(f"unknown format {document['format']!r}; this version reads {IMPORT_FORMAT}")
        places = (whole(document[name]) for name in ("partition", "start", "end"))
        entries = whole(document["entries"])
        return Import(
            content=ImportedContent(text(document["kind"]), text(document["name"]), text(document["digest"]), *places),
            columns=[(text(column), text(field)) for column, field in document["columns"]],
            source=text(document["source"]),
            offset=whole(document["offset"]),
            entries=entries,
            left_out=_bits(document["left_out"], entries),
            numbers=[whole(number) for number in document["numbers"]],
            ids_from_ms=whole(document["ids_from"]),
            reason=text(document["reason"]),
            by=text(document["by"]),
            at_ms=whole(document["at"]),
        )
    except (KeyError, TypeError, ValueError, Base64Error, zlib.error) as error:
        raise RecordCorrupt(f"not an import: {error!r}") from error


def _bits(text: Any, entries: int) -> bytes:
    if not text:
        return b""
    unpacker = zlib.decompressobj()
    bits = unpacker.decompress(b64decode(text, validate=True), entries // 8 + 2)
    if len(bits) > entries // 8 + 1 or not unpacker.eof:
        raise ValueError("left_out is cut off, or has more bits than there are entries")
    return bits
