"""An append-only file of everything that changed, written before the answer goes out.

One JSON array a line. A write reaches the operating system before `flush` returns, so it survives a kill -9 of this
process; it is not forced to the disk, so a power cut may lose the end.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import orjson

Entry: TypeAlias = list[Any]  # a name, then JSON values; Account writes and reads them
READ_BYTES = 1 << 20
LINE_BYTES_MAX = 1 << 20


class Journal(Protocol):
    """Where the account notes its changes."""

    def append(self, entry: Entry) -> None:
        """Buffer an entry."""

    def flush(self) -> None:
        """Hand all buffered entries to the operating system."""


class NoJournal:
    """Keeps nothing: the state lives and dies with the process."""

    def append(self, entry: Entry) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


class FileJournal:
    """A journal in one file that this process alone may have open.

    Opening blocks for the time of reading; raises OSError (BlockingIOError when another process has the file) and
    ValueError when a line other than a torn last one is not an entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._buffer: list[bytes] = []

    def entries(self) -> Iterator[Entry]:
        """Every entry in order. A last line without its newline was torn by a kill and never answered for: it is cut off."""
        position = 0
        with self._path.open("rb", buffering=READ_BYTES) as file:
            for line in iter(lambda: file.readline(LINE_BYTES_MAX), b""):
                if not line.endswith(b"\n"):
                    if len(line) == LINE_BYTES_MAX:
                        raise ValueError(f"journal: the line at byte {position} of {self._path} is longer than {LINE_BYTES_MAX} bytes")
                    break
                entry = orjson.loads(line)
                if not isinstance(entry, list) or not entry:
                    raise ValueError(f"journal: the line at byte {position} of {self._path} is not an entry")
                position += len(line)
                yield entry
        os.ftruncate(self._descriptor, position)

    def append(self, entry: Entry) -> None:
        """Buffer an entry."""
        self._buffer.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what is buffered. When the disk refuses, the process ends at once (exit code 1): what it has in memory is
        no longer what it would come back with."""
        if not self._buffer:
            return
        data = memoryview(b"".join(self._buffer))
        self._buffer.clear()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            os.write(2, f"stripe simulator: journal {self._path}: {error}\n".encode())
            os._exit(1)

    def close(self) -> None:
        """Write the rest and release the file."""
        self.flush()
        os.close(self._descriptor)
