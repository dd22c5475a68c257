"""The directory in which the emitters of a host keep their spools, as one of them sees it. All calls block for the disk at most."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from taximeter_emitter.spool.spool import SUFFIX, Spool
from taximeter_emitter.spool.spool_failed import SpoolFailed


class SpoolDirectory:
    """`bytes_max`: what all spools in it may take together. `path` need not exist."""

    def __init__(self, path: Path, *, topic: str, bytes_max: int) -> None:
        self.path = path
        self.bytes_max = bytes_max
        self._topic = topic

    def create(self, emitter: str) -> Spool:
        """A new, empty spool. Raises SpoolFailed."""
        return Spool.create(self.path, emitter=emitter, topic=self._topic)

    def adopt(self, partitions: int, *, excluding: Iterable[Path]) -> list[Spool]:
        """The spools that dead processes left for this topic, now ours."""
        return Spool.adopt(self.path, topic=self._topic, partitions=partitions, excluding=excluding)

    def bytes_elsewhere(self, *, excluding: Iterable[Path]) -> int:
        """Bytes of the spool files that other emitters, alive or dead, left."""
        known = set(excluding)
        total = 0
        for path in self.path.glob(f"*{SUFFIX}"):
            if path not in known:
                with suppress(OSError):
                    total += path.stat().st_size
        return total

    def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the topic has, for a process that starts while Kafka is away. Raises SpoolFailed."""
        path = self._memo()
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            draft.write_text(str(partitions))
            draft.replace(path)
        except OSError as error:
            raise SpoolFailed(f"{path}: {error.strerror}") from None

    def recall_partitions(self) -> int | None:
        """What `note_partitions` noted, in whichever process, if anything."""
        try:
            text = self._memo().read_text()
        except OSError:
            return None
        return int(text) if text.isdecimal() and len(text) < 6 and int(text) else None

    def _memo(self) -> Path:
        # A topic's name may be longer than a file's.
        return self.path / f"partitions-{hashlib.blake2b(self._topic.encode(), digest_size=8).hexdigest()}"
