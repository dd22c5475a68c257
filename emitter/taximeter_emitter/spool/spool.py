"""The disk spool of one emitter: what Kafka could not take yet, in a SQLite file of its own.

One file per emitter, that is per process life, beside a lock file that its process holds while it lives. The process that gets the lock of
a dead emitter's file may send what is in it. All calls block for a disk write at most.

A full disk must not keep a spool from being emptied. So there is no write-ahead log, which holds everything twice and without which a file
cannot even be opened; and the last of the disk is left free for the journal of a deletion, which is small.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from taximeter_emitter.buffer.batching import EventColumns
from taximeter_emitter.spool.encoded_batch import ROW_BYTES, EncodedBatch
from taximeter_emitter.spool.placing import place
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.spool_lock import try_lock
from taximeter_emitter.spool.unplaced import UnplacedEvents, decode_unplaced

SUFFIX: Final = ".spool"
LEFT_FREE_BYTES: Final = 512 * 1024
FORMAT: Final = 3
"""Form 1 had no unplaced events, form 2 no secret and no refused batches. A file of a later form is left alone."""

_SCHEMA: Final = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA secure_delete = OFF;
PRAGMA journal_mode = TRUNCATE;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS about (topic TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
  row INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS unplaced (row INTEGER PRIMARY KEY AUTOINCREMENT, count INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
  row INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, value BLOB NOT NULL,
  why TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS secrets (secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS numbers (partition INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
"""
_HELD: Final = """
SELECT TOTAL(LENGTH(value)) + ? * COUNT(*), TOTAL(count)
FROM (SELECT value, count FROM batches UNION ALL SELECT value, count FROM unplaced UNION ALL SELECT value, 0 FROM refused)
"""
_TAKE_BACK: Final = """
INSERT INTO batches (partition, first_seq, count, value) SELECT partition, first_seq, count, value FROM refused ORDER BY row
"""
_LOCK_WAIT_SECONDS: Final = 5.0
_PLACED_ROWS_MAX: Final = 64
_PLACED_EVENTS: Final = 4_000  # at a time: a few milliseconds
_UNPLACED_NAME: Final = "{}-unplaced"


class Spool:
    """An open spool file, locked by this process.

    `bytes_held` is what waits in it, `events_held` the events in that, `unplaced_events` those of them that have no partition yet.
    `refused_batches`: what is set aside in it, which nobody sends by itself; its bytes are among those held. `secret`: of its emitter; empty if
    that had none.
    """

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self.secret = ""
        self.refused_batches = 0
        self.bytes_held = 0
        self.events_held = 0
        self.unplaced_events = 0
        self._lock = lock
        self._connection = connection

    @classmethod
    def create(cls, directory: Path, *, emitter: str, topic: str, secret: str = "") -> "Spool":
        """A new, empty spool. Raises SpoolFailed."""
        path = directory / f"{emitter}{SUFFIX}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = try_lock(path)
        except OSError as error:
            raise SpoolFailed(f"{directory}: {error.strerror}") from None
        if lock is None:
            raise SpoolFailed(f"{path} is in use by another process")
        try:
            # With it goes the secret, so it is for this user alone.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            os.close(lock)
            raise SpoolFailed(f"{path}: {error.strerror}") from None
        return cls.open(path, lock, topic, secret=secret)

    @classmethod
    def open(cls, path: Path, lock: int, topic: str, *, secret: str = "") -> "Spool":
        """A spool whose lock is held; it is let go of if the file cannot be used. `topic` and `secret` are for a new one. Raises SpoolFailed."""
        try:
            connection = sqlite3.connect(path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            connection.executescript(_SCHEMA)
            spool = cls(path, lock, connection)
            if not connection.execute("SELECT topic FROM about").fetchone():
                connection.executemany("INSERT INTO secrets VALUES (?)", [(secret,)] if secret else [])
                connection.execute("INSERT INTO about VALUES (?)", (topic,))
            (spool.secret,) = connection.execute("SELECT secret FROM secrets").fetchone() or ("",)
            (spool.refused_batches,) = connection.execute("SELECT COUNT(*) FROM refused").fetchone()
            size, events = connection.execute(_HELD, (ROW_BYTES,)).fetchone()
            (unplaced,) = connection.execute("SELECT TOTAL(count) FROM unplaced").fetchone()
        except sqlite3.Error as error:
            os.close(lock)
            raise SpoolFailed(f"{path}: {error}") from None
        spool.bytes_held, spool.events_held, spool.unplaced_events = int(size), int(events), int(unplaced)
        return spool

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Write all or none, durably, and give each its row. Raises SpoolFailed on an error, or if that would leave the disk all but full."""
        self._check_room(sum(batch.spool_bytes for batch in batches))
        with self._transaction() as cursor:
            rows = [_insert(cursor, batch) for batch in batches]
        self._note_written(batches, rows)

    def append_unplaced(self, chunk: UnplacedEvents) -> None:
        """Write events that have no partition yet, durably. Raises SpoolFailed as `append` does."""
        size = len(chunk.value) + ROW_BYTES
        self._check_room(size)
        with self._transaction() as cursor:
            cursor.execute("INSERT INTO unplaced (count, value) VALUES (?, ?)", chunk)
        self.bytes_held += size
        self.events_held += chunk.events
        self.unplaced_events += chunk.events

    def place(self, partitions: int) -> int:
        """Replace the oldest unplaced events, some thousands, by batches; returns how many events. Raises SpoolFailed.

        Once it returned, the numbers of these events never change, whichever process continues.
        """
        with self._transaction() as cursor:
            cursor.execute("SELECT row, count, value FROM unplaced ORDER BY row LIMIT ?", (_PLACED_ROWS_MAX,))
            chosen, events = [], 0
            for row, count, value in cursor.fetchall():
                chosen.append((row, value))
                events += count
                if events >= _PLACED_EVENTS:
                    break
            if not chosen:
                return 0
            (last,) = cursor.execute("SELECT MAX(row) FROM unplaced").fetchone()
            placement = place(
                (columns for row, value in chosen for columns in self._decoded(row, value)),
                emitter=_UNPLACED_NAME.format(self.path.name.removesuffix(SUFFIX)),
                partitions=partitions,
                next_seq=dict(cursor.execute("SELECT partition, next_seq FROM numbers").fetchall()),
                is_last=chosen[-1][0] == last,
            )
            cursor.execute("DELETE FROM unplaced WHERE row <= ?", (chosen[-1][0],))
            cursor.executemany("INSERT OR REPLACE INTO numbers VALUES (?, ?)", placement.next_seq.items())
            rows = [_insert(cursor, batch) for batch in placement.batches]
        self._note_written(placement.batches, rows)
        self.bytes_held -= sum(len(value) + ROW_BYTES for _, value in chosen)
        self.events_held -= events
        self.unplaced_events -= events
        return events

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
        with self._transaction() as cursor:
            cursor.executemany("DELETE FROM batches WHERE row = ?", [(batch.row,) for batch in batches])
        for batch in batches:
            self.bytes_held -= batch.spool_bytes
            self.events_held -= batch.count
        if not self.events_held:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA incremental_vacuum")

    def set_aside(self, batch: EncodedBatch, why: str) -> None:
        """Keep a batch that nobody will take apart from those that are sent. Raises SpoolFailed, and changes nothing then."""
        if not batch.row:
            self._check_room(batch.spool_bytes)
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM batches WHERE row = ?", (batch.row,))
            _insert_refused(cursor, batch, why)
        if batch.row:
            self.events_held -= batch.count
        else:
            self.bytes_held += batch.spool_bytes
        self.refused_batches += 1

    def take_back(self) -> None:
        """Have the refused batches sent again. Raises SpoolFailed."""
        with self._transaction() as cursor:
            cursor.execute(_TAKE_BACK)
            cursor.execute("DELETE FROM refused")
        self.refused_batches = 0

    def close(self) -> None:
        """Let go of the file, and remove it when nothing is in it."""
        with suppress(sqlite3.Error):
            held = "SELECT 1 FROM batches UNION ALL SELECT 1 FROM unplaced UNION ALL SELECT 1 FROM refused LIMIT 1"
            empty = self._connection.execute(held).fetchone() is None
            self._connection.close()
            if empty:
                remove_files(self.path)
        os.close(self._lock)

    def remove(self) -> None:
        """Let go of the file and remove it: Kafka has all that is in it. Works on a full disk, where nothing can be deleted in the file."""
        with suppress(sqlite3.Error):
            self._connection.close()
        remove_files(self.path)
        os.close(self._lock)

    def disown(self) -> None:
        """In a forked child: close the copy of the lock, and touch nothing else of what belongs to the parent."""
        os.close(self._lock)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """All of it is done, durably, or nothing. Raises SpoolFailed."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN")
            yield cursor
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(cursor)
            raise SpoolFailed(f"{self.path}: {error}") from None
        except BaseException:
            self._roll_back(cursor)
            raise

    @staticmethod
    def _roll_back(cursor: sqlite3.Cursor) -> None:
        with suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")

    def _decoded(self, row: int, value: bytes) -> list[EventColumns]:
        try:
            return decode_unplaced(value)
        except ValueError as error:
            raise SpoolFailed(f"{self.path}: row {row} of unplaced: {error}") from None

    def _note_written(self, batches: Sequence[EncodedBatch], rows: Sequence[int]) -> None:
        for batch, row in zip(batches, rows, strict=True):
            batch.row = row
            self.bytes_held += batch.spool_bytes
            self.events_held += batch.count

    def _check_room(self, size: int) -> None:
        try:
            disk = os.statvfs(self.path.parent)
        except OSError as error:
            raise SpoolFailed(f"{self.path.parent}: {error.strerror}") from None
        if disk.f_bavail * disk.f_frsize < size + LEFT_FREE_BYTES:
            raise SpoolFailed(f"{self.path.parent}: the disk is full; its last {LEFT_FREE_BYTES:,} bytes stay free so that a spool can be emptied")


def _insert_refused(cursor: sqlite3.Cursor, batch: EncodedBatch, why: str) -> None:
    cursor.execute(
        "INSERT INTO refused (partition, first_seq, count, value, why) VALUES (?, ?, ?, ?, ?)",
        (batch.partition, batch.first_seq, batch.count, batch.value, why),
    )


def remove_files(path: Path) -> None:
    """Remove a spool and what is beside it. Its lock must be held."""
    for suffix in ("", "-journal", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _insert(cursor: sqlite3.Cursor, batch: EncodedBatch) -> int:
    cursor.execute(
        "INSERT INTO batches (partition, first_seq, count, value) VALUES (?, ?, ?, ?)", (batch.partition, batch.first_seq, batch.count, batch.value)
    )
    return cursor.lastrowid or 0
