"""Archived ids in files, so that they take disk instead of memory and a restart need not read the log again.

`<state_dir>/<topic>-<partition>/` holds a file of 24-byte entries for each segment and `snapshot.json`, which says up to which tally they
are complete. Everything here may be deleted at any time while no aggregator runs: then the log is read instead. A folder that another process
holds is not used.

A snapshot is believed after a crash of the process, because the operating system has what was written. After a crash of the machine it is not,
unless it was written by an orderly end (`durable`), which waits for the disk.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from aggregator.ids.id_archive import IdArchive, IdSegment
from aggregator.ids.id_table import ENTRY, Entries
from metering.process.atomic_files import write_atomically
from metering.process.logs import Log

IDS_FORMAT: Final = "ids/2"
SNAPSHOT: Final = "snapshot.json"
CHUNK_ENTRIES: Final = 1 << 18  # 6 MiB at a time
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """One segment of a snapshot: its file, and how many of the file's entries belong to it."""

    file: str
    count: int
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """What a snapshot is worth: every id counted from log time `known_since_ms` up to the tally at `tally_offset` is in its segments.

    `tally_digest` is of that tally's record, `events_end` the offset of usage.events after it. `key`, in hexadecimal digits: that of the
    identities.
    """

    chain_id: str
    tally_offset: int
    tally_digest: str
    events_end: int
    known_since_ms: int
    key: str
    segments: Sequence[SegmentRecord]


class IdFiles:
    """The folder of one partition, held by this process until `close`. Opening raises OSError when it cannot be made or is held."""

    def __init__(self, folder: Path, log: Log) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = log
        self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise
        self._next = 1 + max((int(path.stem) for path in folder.glob("*.ids") if path.stem.isdecimal()), default=0)
        self._storages: list[FileStorage] = []

    def storage(self) -> "FileStorage":
        """A new file for a segment."""
        return self._opened(f"{self._next}.ids")

    def read(self) -> SnapshotRecord | None:
        """The snapshot that was left here, or None if there is none that can be believed."""
        try:
            document = orjson.loads((self._folder / SNAPSHOT).read_bytes())
            if document["format"] != IDS_FORMAT or not (document["durable"] or document["boot"] == _boot()):
                return None
            return _snapshot(document)
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            self._log.warning("the snapshot of the ids cannot be read; the log is read instead", reason=repr(error))
            return None

    def restore(self, snapshot: SnapshotRecord, archive: IdArchive, since_ms: int) -> bool:
        """Put a snapshot's segments into an empty archive; False when a file is invalid: the archive is then useless.

        Segments that end before `since_ms` are not needed, and may have been deleted since the snapshot was written.
        """
        for record in snapshot.segments:
            if record.until_ms < since_ms:
                continue
            path = self._folder / record.file
            if not path.is_file() or path.stat().st_size < record.count * ENTRY.itemsize:
                self._log.warning("a file of the ids is missing or short; the log is read instead", file=record.file)
                return False
            segment = IdSegment(self._opened(record.file), since_ms=record.since_ms, until_ms=record.until_ms)
            segment.adopt(record.count)
            archive.restore(segment)
        return True

    def write(self, snapshot: SnapshotRecord, *, durable: bool) -> None:
        """Put a snapshot in place of the one before, and delete what belongs to neither. `durable` waits for the disk. Raises OSError."""
        if any(storage.lost for storage in self._storages):
            return  # some of the ids are in memory only: what is on the disk is not the whole
        if durable:
            for storage in self._storages:
                storage.flush()
        body = orjson.dumps({"format": IDS_FORMAT, "boot": _boot(), "durable": durable, **asdict(snapshot)})
        write_atomically(self._folder / SNAPSHOT, body, sync=durable)

    def clear(self) -> None:
        """Delete everything: what was left here is useless."""
        (self._folder / SNAPSHOT).unlink(missing_ok=True)
        for storage in self._storages:
            storage.dispose()
        self._storages.clear()
        for path in self._folder.glob("*.ids"):
            path.unlink(missing_ok=True)

    def segments(self, archive: IdArchive) -> list[SegmentRecord]:
        """How a snapshot names the segments of an archive whose storages were made here."""
        records = []
        for segment in archive.segments:
            assert isinstance(segment.storage, FileStorage), "every segment was made here"
            records.append(SegmentRecord(file=segment.storage.path.name, count=len(segment), since_ms=segment.since_ms, until_ms=segment.until_ms))
        return records

    def close(self) -> None:
        """Let other processes have the folder."""
        os.close(self._lock)

    def _opened(self, name: str) -> "FileStorage":
        self._next = max(self._next, int(name.partition(".")[0])) + 1
        storage = FileStorage(self._folder / name, self._log)
        self._storages = [one for one in self._storages if not one.disposed]
        self._storages.append(storage)
        return storage


class FileStorage:
    """A segment's entries in a file. When the disk is full they go on in memory: `lost` is then true for the file."""

    def __init__(self, path: Path, log: Log) -> None:
        self.path = path
        self.lost = False
        self.disposed = False
        self._log = log
        self._entries: Entries = np.zeros(0, ENTRY)

    def grown(self, entries: int) -> Entries:
        """Make room for this many entries; existing ones stay. May block for the disk."""
        if entries <= len(self._entries):
            return self._entries
        if not self.lost:
            try:
                self._entries = self._mapped(-(-entries // CHUNK_ENTRIES) * CHUNK_ENTRIES)
            except OSError as error:
                self._log.error("ids can be kept in memory only", file=str(self.path), reason=str(error))
                self.lost = True
        if self.lost:
            larger = np.zeros(max(entries, len(self._entries) * 3 // 2), ENTRY)
            larger[: len(self._entries)] = self._entries
            self._entries = larger
        return self._entries

    def flush(self) -> None:
        """Wait until the disk has it."""
        if isinstance(self._entries, np.memmap):
            self._entries.flush()

    def dispose(self) -> None:
        """Delete the file; what still looks at the entries may go on."""
        self.disposed = True
        self.path.unlink(missing_ok=True)

    def _mapped(self, entries: int) -> Entries:
        with self.path.open("ab") as file:
            # Room that is reserved cannot turn out to be missing when a page is written, which would kill the process.
            os.posix_fallocate(file.fileno(), 0, entries * ENTRY.itemsize)
        return np.memmap(self.path, ENTRY, "r+", shape=(entries,))


def open_folder(state_dir: Path, topic: str, partition: int, log: Log) -> IdFiles | None:
    """The folder of a partition, or None when it cannot be used: the ids are then kept in memory."""
    try:
        return IdFiles(state_dir / f"{topic}-{partition}", log)
    except OSError as error:
        log.warning("the folder for ids cannot be used; they are kept in memory", partition=partition, reason=str(error))
        return None


def digest_of(tally: bytes) -> str:
    """What distinguishes one tally's record from another."""
    return blake2b(tally, digest_size=16).hexdigest()


def _snapshot(document: dict[str, Any]) -> SnapshotRecord:
    return SnapshotRecord(
        chain_id=document["chain_id"],
        tally_offset=document["tally_offset"],
        tally_digest=document["tally_digest"],
        events_end=document["events_end"],
        known_since_ms=document["known_since_ms"],
        key=document["key"],
        segments=[SegmentRecord(**segment) for segment in document["segments"]],
    )


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"process {os.getpid()}"  # nobody can tell: what this process left, only this process believes
