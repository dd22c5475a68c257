"""The disk spool of one emitter: batches that Kafka could not take yet, in a SQLite file of their own.

One file per emitter, that is per process life, beside a lock file that its process holds while it lives (the kernel lets go of the lock
when a process dies). The process that gets the lock of a dead emitter's file may send what is in it. All calls block for a disk write at most.

A full disk must not keep a spool from being emptied. So there is no write-ahead log, which holds everything twice and without which a file
cannot even be opened; and the last of the disk is left free for the journal of a deletion, which is small.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from taximeter_emitter.spool.encoded_batch import ROW_BYTES, EncodedBatch
from taximeter_emitter.spool.spool_failed import SpoolFailed

SUFFIX: Final = ".spool"
_SCHEMA: Final = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA secure_delete = OFF;
PRAGMA journal_mode = TRUNCATE;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS about (topic TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
  row INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, value BLOB NOT NULL
);
"""
LEFT_FREE_BYTES: Final = 512 * 1024
_LOCK_WAIT_SECONDS: Final = 5.0


class Spool:
    """An open spool file, locked by this process. `bytes_held` is what waits in it, `events_held` the events in that."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self.bytes_held = 0
        self.events_held = 0
        self._lock = lock
        self._connection = connection

    @classmethod
    def create(cls, directory: Path, *, emitter: str, topic: str) -> "Spool":
        """A new, empty spool. Raises SpoolFailed."""
        path = directory / f"{emitter}{SUFFIX}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = _try_lock(path)
        except OSError as error:
            raise SpoolFailed(f"{directory}: {error.strerror}") from None
        if lock is None:
            raise SpoolFailed(f"{path} is in use by another process")
        return cls._open(path, lock, topic)

    @classmethod
    def adopt(cls, directory: Path, *, topic: str, partitions: int, excluding: Iterable[Path]) -> "list[Spool]":
        """The spools for this topic that dead processes left in the directory, now ours.

        Left alone is what cannot be read, and what is for partitions that the topic does not have: for another cluster's, then.
        """
        found: list[Spool] = []
        known = set(excluding)
        try:
            paths = sorted(path for path in directory.glob(f"*{SUFFIX}") if path not in known)
        except OSError:
            return found
        for path in paths:
            with suppress(OSError, SpoolFailed):
                lock = _try_lock(path)
                if lock is None:
                    continue
                if not _is_for(path, topic, partitions):
                    os.close(lock)
                    continue
                found.append(cls._open(path, lock, topic))
        return found

    @classmethod
    def _open(cls, path: Path, lock: int, topic: str) -> "Spool":
        try:
            connection = sqlite3.connect(path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            connection.executescript(_SCHEMA)
            spool = cls(path, lock, connection)
            if not connection.execute("SELECT topic FROM about").fetchone():
                connection.execute("INSERT INTO about VALUES (?)", (topic,))
            (size, rows, events) = connection.execute("SELECT TOTAL(LENGTH(value)), COUNT(*), TOTAL(count) FROM batches").fetchone()
        except sqlite3.Error as error:
            os.close(lock)
            raise SpoolFailed(f"{path}: {error}") from None
        spool.bytes_held, spool.events_held = int(size) + rows * ROW_BYTES, int(events)
        return spool

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Write all or none, durably, and give each its row. Raises SpoolFailed on an error, or if that would leave the disk all but full."""
        self._check_room(sum(batch.spool_bytes for batch in batches))
        cursor = self._connection.cursor()
        rows: list[int] = []
        try:
            cursor.execute("BEGIN")
            for batch in batches:
                cursor.execute(
                    "INSERT INTO batches (partition, first_seq, count, value) VALUES (?, ?, ?, ?)",
                    (batch.partition, batch.first_seq, batch.count, batch.value),
                )
                rows.append(cursor.lastrowid or 0)
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                cursor.execute("ROLLBACK")
            raise SpoolFailed(f"{self.path}: {error}") from None
        for batch, row in zip(batches, rows, strict=True):
            batch.row = row
            self.bytes_held += batch.spool_bytes
            self.events_held += batch.count

    def read(self, *, after: int, batches_max: int) -> list[EncodedBatch]:
        """The next batches behind this row, in order. Raises SpoolFailed."""
        try:
            rows = self._connection.execute(
                "SELECT partition, first_seq, count, value, row FROM batches WHERE row > ? ORDER BY row LIMIT ?", (after, batches_max)
            ).fetchall()
        except sqlite3.Error as error:
            raise SpoolFailed(f"{self.path}: {error}") from None
        return [EncodedBatch(*row) for row in rows]

    def delete(self, batches: Sequence[EncodedBatch]) -> None:
        """Forget batches that Kafka has. Raises SpoolFailed; they would then be sent again, which changes nothing."""
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM batches WHERE row = ?", [(batch.row,) for batch in batches])
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise SpoolFailed(f"{self.path}: {error}") from None
        for batch in batches:
            self.bytes_held -= batch.spool_bytes
            self.events_held -= batch.count
        if not self.events_held:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Let go of the file, and remove it when nothing is in it."""
        with suppress(sqlite3.Error):
            empty = self._connection.execute("SELECT 1 FROM batches LIMIT 1").fetchone() is None
            self._connection.close()
            if empty:
                self._unlink()
        os.close(self._lock)

    def remove(self) -> None:
        """Let go of the file and remove it: Kafka has all that is in it. Works on a full disk, where nothing can be deleted in the file."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._unlink()
        os.close(self._lock)

    def disown(self) -> None:
        """In a forked child: close the copy of the lock, and touch nothing else of what belongs to the parent."""
        os.close(self._lock)

    def _check_room(self, size: int) -> None:
        try:
            disk = os.statvfs(self.path.parent)
        except OSError as error:
            raise SpoolFailed(f"{self.path.parent}: {error.strerror}") from None
        if disk.f_bavail * disk.f_frsize < size + LEFT_FREE_BYTES:
            raise SpoolFailed(f"{self.path.parent}: the disk is full; its last {LEFT_FREE_BYTES:,} bytes stay free so that a spool can be emptied")

    def _unlink(self) -> None:
        for suffix in ("", "-journal", ".lock"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _try_lock(path: Path) -> int | None:
    """The descriptor of the held lock, or None when another process holds it. Raises OSError."""
    lock_path = path.with_name(f"{path.name}.lock")
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file it was on: then this lock guards nothing.
        if os.fstat(lock).st_ino == lock_path.stat().st_ino:
            return lock
    except OSError as error:
        if not isinstance(error, BlockingIOError | FileNotFoundError):
            os.close(lock)
            raise
    os.close(lock)
    return None


def _is_for(path: Path, topic: str, partitions: int) -> bool:
    """Whether a spool file is for this topic; False when it cannot be read or was just removed."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOCK_WAIT_SECONDS)) as connection:
            row = connection.execute("SELECT topic, (SELECT COALESCE(MAX(partition), 0) FROM batches) FROM about").fetchone()
            return row is not None and row[0] == topic and row[1] < partitions
    except sqlite3.Error:
        return False
