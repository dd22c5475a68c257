"""What the load processes have in common: their orders, their pace, and how they say how far they are."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from metering.process.atomic_files import write_atomically
from taximeter_sandbox.demo.plan import Mix

PROGRESS_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What one load process has to do. `seconds`: over how long to spread the events. Addresses that a kind of load does not use are empty."""

    name: str
    events: int
    seconds: float
    seed: int
    customers: Sequence[str]
    mix: Mix
    journal: Path
    progress: Path
    bootstrap_servers: str = ""
    topic_prefix: str = ""
    partitions: int = 1
    gateway: str = ""
    api_key_file: Path | None = None
    spool: Path | None = None

    @property
    def source(self) -> str:
        """The `source` of its events: the identity of an event is (source, id)."""
        return f"demo/{self.name}"

    def write(self, path: Path) -> None:
        """As JSON, for the process to read."""
        path.write_bytes(orjson.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, and TypeError or ValueError for a file that `write` did not write."""
        document: dict[str, Any] = orjson.loads(path.read_bytes())
        for name in ("journal", "progress", "api_key_file", "spool"):
            document[name] = None if document[name] is None else Path(document[name])
        document["mix"] = Mix(**document["mix"])
        return cls(**document)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How far a load process is. `waiting`: events held back because the next stage takes no more; `resent`: sent again after a failure."""

    emitted: int = 0
    waiting: int = 0
    resent: int = 0
    done: bool = False
    failure: str = ""


def write_progress(path: Path, progress: LoadProgress) -> None:
    """Replace the file; a reader never sees half of it."""
    write_atomically(path, orjson.dumps(asdict(progress)))


def read_progress(path: Path) -> LoadProgress:
    """What was written last; nothing done if nothing was."""
    try:
        return LoadProgress(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return LoadProgress()


class Timetable:
    """When the n-th event is due, so that a quick machine does not make a flood of it. Never skips: a late process just does not wait."""

    def __init__(self, events: int, seconds: float) -> None:
        self._per_event = seconds / events
        self._began = time.monotonic()
        self._told = 0.0

    def delay(self, emitted: int) -> float:
        """Seconds to wait before emitting more."""
        return max(0.0, self._began + emitted * self._per_event - time.monotonic())

    async def wait(self, emitted: int) -> None:
        """Wait until more is due; lets others run in any case."""
        await asyncio.sleep(self.delay(emitted))

    def is_time_to_tell(self) -> bool:
        """Whether the progress should be written now."""
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return False
        self._told = now
        return True
