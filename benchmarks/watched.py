"""A process under measurement: what it has used at the moment when it says something, and in the end."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil
from taximeter_sandbox.brokers.child_process import ChildProcess

from benchmarks.measurement import Measurement

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.005


class ProcessFailed(Exception):
    """A process under measurement ended, or did not say what it should."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process had used at one moment: CPU in seconds (user and system, with the children it has waited for), and the moment itself."""

    cpu_seconds: float
    moment: float


class WatchedProcess(AbstractContextManager["WatchedProcess"]):
    """A process from its start to the end of the block; output in a file. Its own children are not counted."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self._process = ChildProcess(command, log, environment)
        self._figures = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()

    def read(self) -> Reading:
        """What it has used by now."""
        times = self._figures.cpu_times()
        return Reading(times.user + times.system, time.monotonic())

    async def until_said(self, text: str, seconds: float = START_SECONDS) -> Reading:
        """What it had used when this text appeared in its output, to a few milliseconds. Raises ProcessFailed."""
        deadline = time.monotonic() + seconds
        wanted = text.encode()
        while wanted not in self._log.read_bytes():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{text!r} was not said within {seconds:.0f} s; {self._log} ends with:\n{self._process.log_tail()}")
            await asyncio.sleep(POLL_SECONDS)
        return self.read()

    def check(self) -> None:
        """Raise ProcessFailed if it has ended."""
        code = self._process.exit_code()
        if code is not None:
            raise ProcessFailed(f"it ended with exit code {code}:\n{self._process.log_tail()}")

    def used_since(self, start: Reading, events: int, more: Mapping[str, float] | None = None) -> Measurement:
        """What this many events cost, from `start` to now."""
        end = self.read()
        return Measurement(events, end.cpu_seconds - start.cpu_seconds, end.moment - start.moment, self.peak_rss_bytes, more or {})

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory it ever had resident."""
        status = Path(f"/proc/{self._process.pid}/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024
        return int(self._figures.memory_info().rss)

    @property
    def rss_bytes(self) -> int:
        """The memory that it has resident now, pages of mapped files included."""
        return int(self._figures.memory_info().rss)

    async def stop(self) -> None:
        """SIGTERM, and wait. Raises ProcessFailed if it did not end in order."""
        code = await asyncio.to_thread(self._process.terminate, STOP_SECONDS)
        if code:
            raise ProcessFailed(f"it ended with exit code {code} when it was asked to stop:\n{self._process.log_tail()}")
