"""A look at one spool file that is not ours: whose it is, and what is in it. It changes nothing that is in the file."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from taximeter_emitter.spool.spool import FORMAT, SUFFIX, Spool, remove_files
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.spool_lock import is_locked, try_lock

SpoolState = Literal["alive", "dead", "refused", "empty", "unreadable"]

_BUSY_SECONDS: Final = 1.0
_WITHOUT_REFUSED: Final = 2  # the form
_WHYS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """`state`: "alive" while the process that writes it lives, "dead" when anybody may send it, "refused" when all that is left in it was refused for
    the reasons in `why`, so that nobody sends it by itself, "empty" where its process was killed while it made
    the file, so that nothing is in it, "unreadable" for the reason in `why`.

    `refused`: events in it that were refused, which are not among `events`.
    `partition_max`: the highest partition that a batch in it is for, -1 if there is none. `changed_at`: seconds since the epoch.
    """

    path: Path
    state: SpoolState
    topic: str = ""
    events: int = 0
    refused: int = 0
    bytes: int = 0
    partition_max: int = -1
    changed_at: float = 0.0
    why: str = ""

    @property
    def emitter(self) -> str:
        """The id of the emitter that wrote it."""
        return self.path.name.removesuffix(SUFFIX)


def spool_paths(directory: Path) -> list[Path]:
    """All spool files in a directory; none if it cannot be read."""
    try:
        return sorted(directory.glob(f"*{SUFFIX}"))
    except OSError:
        return []


def look_at(path: Path) -> SpoolFile | None:
    """What there is to know; None if the file is gone. Blocks for a second at most when another process writes to it."""
    try:
        status = path.stat()
        return _read(path, "alive" if is_locked(path) else "dead", status)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SpoolFile(path, "unreadable", why=error.strerror or str(error))


def take_over(path: Path, *, topic: str, partitions: int) -> "Spool | SpoolFile | None":
    """The spool of a dead process, open and locked; or what it is, if it is not to be sent to this topic; None if it is gone.

    An empty one is removed.
    """
    try:
        status = path.stat()
        lock = try_lock(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SpoolFile(path, "unreadable", why=error.strerror or str(error))
    if lock is None:
        return SpoolFile(path, "alive")
    found = _read(path, "dead", status)
    if found.state == "empty":
        remove_files(path)
        os.close(lock)
        return None
    if found.state in {"unreadable", "refused"} or found.topic != topic or found.partition_max >= partitions:
        os.close(lock)
        return found
    try:
        return Spool.open(path, lock, topic)
    except SpoolFailed as failure:
        return SpoolFile(path, "unreadable", why=str(failure))


def take_back(path: Path) -> None:
    """Put what was refused back among what is to be sent; does nothing if the process of the spool lives. Raises SpoolFailed or OSError."""
    lock = try_lock(path)
    if lock is not None:
        spool = Spool.open(path, lock, "")
        try:
            spool.take_back()
        finally:
            spool.close()


def _read(path: Path, state: SpoolState, status: os.stat_result) -> SpoolFile:
    try:
        with _connection(path, state) as connection:
            (form,) = connection.execute("PRAGMA user_version").fetchone()
            if form > FORMAT:
                return SpoolFile(path, "unreadable", bytes=status.st_size, why=f"it has form {form}, and this version reads forms up to {FORMAT}")
            if not _was_made(connection):
                why = "" if state == "alive" else "its process was killed while it made the file; nothing is in it"
                return SpoolFile(path, "empty" if state == "dead" else state, bytes=status.st_size, changed_at=status.st_mtime, why=why)
            row = connection.execute("SELECT topic FROM about").fetchone()
            events, partition_max = connection.execute("SELECT TOTAL(count), COALESCE(MAX(partition), -1) FROM batches").fetchone()
            if form > 1:
                events += connection.execute("SELECT TOTAL(count) FROM unplaced").fetchone()[0]
            refused, why = _refused(connection) if form > _WITHOUT_REFUSED else (0, "")
            if state == "dead" and why and not _holds_more(connection):
                state = "refused"
    except sqlite3.Error as error:
        return SpoolFile(path, "unreadable", bytes=status.st_size, changed_at=status.st_mtime, why=str(error))
    topic = "" if row is None else str(row[0])
    return SpoolFile(path, state, topic, int(events), refused, status.st_size, partition_max, status.st_mtime, why)


def _refused(connection: sqlite3.Connection) -> tuple[int, str]:
    """How many events were refused, and why."""
    (events,) = connection.execute("SELECT TOTAL(count) FROM refused").fetchone()
    whys = [why for (why,) in connection.execute("SELECT DISTINCT why FROM refused LIMIT ?", (_WHYS_MAX,))]
    return int(events), "; ".join(whys)


def _holds_more(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM batches UNION ALL SELECT 1 FROM unplaced LIMIT 1").fetchone() is not None


def _was_made(connection: sqlite3.Connection) -> bool:
    """Whether the file was made whole. Its topic is written last, and before anything is put into it."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "about" in tables and connection.execute("SELECT 1 FROM about").fetchone():
        return True
    held = {
        "batches": "SELECT 1 FROM batches LIMIT 1",
        "unplaced": "SELECT 1 FROM unplaced LIMIT 1",
        "refused": "SELECT 1 FROM refused LIMIT 1",
    }
    return any(connection.execute(query).fetchone() for name, query in held.items() if name in tables)


@contextmanager
def _connection(path: Path, state: SpoolState) -> Iterator[sqlite3.Connection]:
    # What a process that was killed had begun is rolled back by the first who opens the file, and that is a change.
    mode = "rw" if state == "dead" and os.access(path, os.W_OK) else "ro"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_SECONDS)) as connection:
        yield connection
