"""A peer's process: started, halted, killed, started again; and what it used."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
from taximeter_sandbox.brokers.child_process import ChildProcess

FOREIGN: Final = ("TAXIMETER_", "KAFKA_", "STRIPE_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


class PeerFailed(Exception):
    """A peer ended by itself, or did not finish in time; the message has the end of its output."""


class RunningPeer:
    """One process and its children. CPU is in seconds, user and system."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Start it. Raises OSError."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self._process = ChildProcess(command, log, {**own, **environment})
        self._figures = psutil.Process(self._process.pid)
        self.peak_rss_bytes = 0

    def cpu_seconds(self) -> float:
        """What it and its children have used by now; notes the memory too."""
        total, resident = 0.0, 0
        for process in (self._figures, *self._figures.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
            resident += _peak_rss(process)
        self.peak_rss_bytes = max(self.peak_rss_bytes, resident)
        return total

    def halt(self) -> None:
        """SIGSTOP: it does nothing until `go_on`."""
        self._process_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._process_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise PeerFailed if it has ended."""
        code = self._process.exit_code()
        if code is not None:
            raise PeerFailed(f"it ended with exit code {code}: {self.said()}")

    def said(self) -> str:
        """The end of its output."""
        return self._process.log_tail()[-400:]

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self._process.kill()

    def _process_signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)


def _peak_rss(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)
