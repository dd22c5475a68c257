"""A child process that never outlives its parent, and takes its own children with it."""

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOG_TAIL_BYTES = 2000
# The shell becomes the program. What it leaves behind waits on the other end of a pipe that only the parent holds open, so however the
# parent ends, kill -9 included, the whole process group goes.
_WITH_LIFELINE = 'exec 3<&0; (cat <&3 >/dev/null; kill -KILL 0) & exec "$@" 3<&- </dev/null'


class ChildProcess:
    """One program in a process group of its own, output in a log file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start ``command``; its output is appended to ``log``. Raises OSError."""
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # the program is the caller's; the shell interprets none of it
                ["/bin/sh", "-c", _WITH_LIFELINE, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """The program's process id, and its group's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.poll()

    def log_tail(self) -> str:
        """The last lines of its output."""
        with contextlib.suppress(OSError):
            return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return ""

    def terminate(self, timeout_s: float) -> int:
        """SIGTERM, then SIGKILL after ``timeout_s``; returns the exit code. Blocks until it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when the program is gone. Does nothing the second time."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        atexit.unregister(self.kill)
