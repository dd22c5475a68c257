"""The store's readers: connections that cannot write, in threads of their own, each answer bounded in time."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from taximeter_emitter.wire.errors import TaximeterError

T = TypeVar("T")

THREADS: Final = 2
MAPPED_BYTES: Final = 1024**3
"""Of the file, as the system's cache has it; more is read by calls."""

_STEPS_BETWEEN_LOOKS: Final = 10_000  # of SQLite's machine, some tenths of a millisecond


class AnswerTooLong(TaximeterError):
    """The store took longer than it may; a narrower question is quicker."""


class StoreReading:
    """Owns the threads and their connections. `seconds`: how long one answer may take."""

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
        self._local = threading.local()

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """What the question makes of the store as it stands. Raises AnswerTooLong, sqlite3.Error, or what the question raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, question)

    def close(self) -> None:
        """Wait for the answers under way."""
        self._threads.shutdown()

    def _asked(self, question: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        ends = time.monotonic() + self._seconds
        connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
        try:
            connection.execute("BEGIN")  # all that one answer says is of one moment
            return question(connection)
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            raise AnswerTooLong(f"the answer took longer than {self._seconds:g} s: ask for less, or for one customer") from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
            found.execute("PRAGMA query_only = ON")
            found.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            self._local.connection = found
        return found
