"""Notices that a file changed, or that somebody asked to read files again."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_LOOK_SECONDS: Final = 5.0


class FileWatch:
    """`reload`: set by SIGHUP, and cleared here. One watch of a process waits for it."""

    def __init__(self, path: Path, reload: asyncio.Event) -> None:
        self._path = path
        self._reload = reload
        self._seen = _stamp(path)

    async def changed(self) -> None:
        """Wait until the file is another, or SIGHUP came. A replaced file is noticed within seconds, too."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FILE_LOOK_SECONDS):
                    await self._reload.wait()
            asked, stamp = self._reload.is_set(), _stamp(self._path)
            self._reload.clear()
            if asked or stamp != self._seen:
                self._seen = stamp
                return


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes when the file does; None while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
