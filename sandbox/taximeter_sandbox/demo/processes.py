"""The processes of a run: each in a group of its own, output in a file, none left behind."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taximeter_sandbox.brokers.child_process import ChildProcess

STOP_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
# What belongs to the user's own installation must not leak into the demo's.
FOREIGN: Final = ("TAXIMETER_", "KAFKA_", "STRIPE_")


class ProcessFailed(Exception):
    """A process ended that should run, or did not get ready in time."""


def own_environment() -> dict[str, str]:
    """This process's environment without what would configure another installation of Taximeter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


@dataclass(frozen=True, slots=True)
class Command:
    """How to start one process; `environment` is all it gets."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Fleet:
    """Starts, kills and stops processes by name. A name that was stopped may be started again; its log goes on in the same file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, ChildProcess] = {}

    def start(self, command: Command) -> None:
        """Run a Python module with its arguments. Raises OSError."""
        assert command.name not in self._running, f"{command.name} runs already"
        line = [sys.executable, "-m", *command.arguments]
        self._running[command.name] = ChildProcess(line, self.log(command.name), command.environment)

    def log(self, name: str) -> Path:
        """The file that has a process's output."""
        return self._folder / f"{name}.log"

    def pid(self, name: str) -> int:
        """The process id, for those who want to look."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL. Blocks until it is gone."""
        self._running.pop(name).kill()

    async def stop(self, names: Sequence[str], seconds: float = STOP_SECONDS) -> dict[str, int]:
        """SIGTERM to all, at once; returns the exit codes. What does not end in time is killed."""
        processes = {name: self._running.pop(name) for name in names if name in self._running}
        codes = await asyncio.gather(*(asyncio.to_thread(process.terminate, seconds) for process in processes.values()))
        return dict(zip(processes, codes, strict=True))

    async def join(self, names: Sequence[str], seconds: float = STOP_SECONDS) -> dict[str, int]:
        """Wait for processes that end by themselves; returns the exit codes. What does not end in time is asked to, and then killed."""
        deadline = time.monotonic() + seconds
        await asyncio.gather(*(self._until_ended(name, deadline) for name in names))
        return await self.stop(names)

    async def _until_ended(self, name: str, deadline: float) -> None:
        while True:
            if self.exit_code(name) is not None or time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)

    def kill_all(self) -> None:
        """SIGKILL to everything that still runs. Blocks until all are gone."""
        while self._running:
            self._running.popitem()[1].kill()

    def log_tail(self, name: str) -> str:
        """The last lines of a process's output."""
        return self._running[name].log_tail()

    def exit_code(self, name: str) -> int | None:
        """None while it runs."""
        return self._running[name].exit_code()

    def is_known(self, name: str) -> bool:
        """Whether it was started and neither stopped nor killed since; it may have ended by itself."""
        return name in self._running

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return name in self._running and self._running[name].exit_code() is None

    def check(self) -> None:
        """Raise ProcessFailed if a process has ended with a failure by itself."""
        for name, process in self._running.items():
            code = process.exit_code()
            if code:
                raise ProcessFailed(f"{name} ended with exit code {code}; its log is {self.log(name)}:\n{process.log_tail()}")

    async def wait_for_file(self, name: str, path: Path, seconds: float) -> str:
        """The content of a file that a process writes when it is up. Raises ProcessFailed when it ends before, or takes too long."""
        deadline = time.monotonic() + seconds
        while (content := _content(path)) is None:
            code = self.exit_code(name)
            if code is not None:
                raise ProcessFailed(f"{name} ended with exit code {code} while starting; its log is {self.log(name)}:\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{name} did not start within {seconds:.0f} s; its log is {self.log(name)}")
            await asyncio.sleep(POLL_SECONDS)
        return content


def _content(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None
