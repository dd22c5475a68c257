"""The directory in which the emitters of a host keep their spools, as one of them sees it. All calls block for the disk at most."""

import fcntl
import os
import uuid
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import sample
from typing import Final

from taximeter_emitter.spool.spool import LEFT_FREE_BYTES, Spool
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.spool_file import SpoolFile, spool_paths, take_over

LOOKED_AT_MAX: Final = 1_000
"""At most so many files are looked at in one go, so that a directory with very many holds nobody up."""


@dataclass(slots=True)
class Adoption:
    """Spools of dead processes that are ours now; how many more there are to send; and the files that nobody can read."""

    adopted: list[Spool] = field(default_factory=list)
    left: int = 0
    unreadable: list[SpoolFile] = field(default_factory=list)


class SpoolDirectory:
    """`bytes_max`: what all spools in it may take together. `path` need not exist."""

    def __init__(self, path: Path, *, topic: str, bytes_max: int) -> None:
        self.path = path
        self.bytes_max = bytes_max
        self._topic = topic

    def probe(self) -> None:
        """Make the directory, and write, lock and remove a file in it. Raises SpoolFailed, which says what is wrong."""
        probe = self.path / f".probe-{uuid.uuid4().hex}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(descriptor, b"x")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                probe.unlink(missing_ok=True)
            disk = os.statvfs(self.path)
        except OSError as error:
            raise SpoolFailed(f"spool_dir {self.path} cannot be used: {self._words(error)}") from None
        if disk.f_bavail * disk.f_frsize < 2 * LEFT_FREE_BYTES:
            raise SpoolFailed(f"spool_dir {self.path} cannot be used: its disk is full, {disk.f_bavail * disk.f_frsize:,} bytes are free")

    def create(self, emitter: str, secret: str = "") -> Spool:
        """A new, empty spool of the emitter with this secret. Raises SpoolFailed."""
        return Spool.create(self.path, emitter=emitter, topic=self._topic, secret=secret)

    def adopt(self, partitions: int, *, excluding: Iterable[Path], spools_max: int) -> Adoption:
        """Take over spools that dead processes left for this topic, at most `spools_max`.

        Left alone is what cannot be read, and what is for partitions that the topic does not have: for another cluster's, then.
        """
        adoption = Adoption()
        known = set(excluding)
        paths = [path for path in spool_paths(self.path) if path not in known]
        # Where there are too many for one look, each look begins elsewhere.
        for path in paths if len(paths) <= LOOKED_AT_MAX else sample(paths, LOOKED_AT_MAX):
            if len(adoption.adopted) >= spools_max:
                adoption.left += 1
                continue
            found = take_over(path, topic=self._topic, partitions=partitions)
            if isinstance(found, Spool):
                adoption.adopted.append(found)
            elif found is not None and found.state == "unreadable":
                adoption.unreadable.append(found)
        return adoption

    def others(self, *, excluding: Collection[Path]) -> bool:
        """Whether there is any spool file but these; their processes may be alive."""
        return any(path not in excluding for path in spool_paths(self.path))

    def bytes_elsewhere(self, *, excluding: Iterable[Path]) -> int:
        """Bytes of the spool files that other emitters, alive or dead, left."""
        known = set(excluding)
        total = 0
        for path in spool_paths(self.path):
            if path not in known:
                with suppress(OSError):
                    total += path.stat().st_size
        return total

    def _words(self, error: OSError) -> str:
        """What is wrong, and whose the directory is where that may be the cause."""
        if isinstance(error, FileExistsError | NotADirectoryError):
            return "it, or a folder above it, is not a directory"
        said = error.strerror or str(error)
        if not isinstance(error, PermissionError):
            return said
        with suppress(OSError):
            there = self.path.stat()
            return f"{said}; it belongs to user {there.st_uid} with mode {there.st_mode & 0o7777:o}, and this process is user {os.geteuid()}"
        return said
