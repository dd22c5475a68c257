"""File descriptors: enough of them before the start, and a service that says so when it has none left.

Each connection takes one. A process without any cannot accept connections, probes included, and says nothing about it by itself.
"""

import errno
import os
import resource
from collections.abc import Callable
from typing import Final

from metering.process.logs import Log, RateLimited

RESERVED: Final = 256
"""Descriptors beside those of clients: Kafka, logs, files, probes."""

_SPARE: Final = 4
_SHORT: Final = {errno.EMFILE, errno.ENFILE}


def descriptor_problem(connections_max: int) -> str | None:
    """Why this process cannot hold this many connections; None if it can, perhaps after `raise_descriptor_limit`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections_max + RESERVED
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return None
    return f"connections_max {connections_max} needs {needed} file descriptors; this process may have {hard}: raise `ulimit -Hn`, or lower it"


def raise_descriptor_limit(connections_max: int) -> None:
    """Raise the soft limit as far as `connections_max` needs and the hard limit allows. Never lowers it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections_max + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard))


class DescriptorWatch:
    """Holds a few spare descriptors. When there are no others left it gives them up, so that probes are answered, and says so.

    `count` is called at each look that finds none.
    """

    def __init__(self, log: Log, warnings: RateLimited, *, count: Callable[[], None]) -> None:
        self._log = log
        self._count = count
        self._warnings = warnings
        self._spare: list[int] = []
        self._fill()

    def problem(self) -> str | None:
        """What is wrong, if no descriptor is left. Opens and closes one; cheap enough for every probe."""
        if len(self._spare) == _SPARE:
            found = self._open()
            if found is not None:
                os.close(found)
                return None
            self.close()
        elif self._fill():
            return None
        self._count()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._warnings.warning(self._log, "no file descriptor is left; connections cannot be accepted", limit=soft)
        return f"no file descriptor of {soft} is left"

    def close(self) -> None:
        """Give up the spare ones."""
        while self._spare:
            os.close(self._spare.pop())

    def _fill(self) -> bool:
        """Take spare descriptors, unless that would take the last ones; whether all could be taken."""
        found: list[int] = []
        for _ in range(2 * _SPARE - len(self._spare)):
            one = self._open()
            if one is None:
                break
            found.append(one)
        enough = len(self._spare) + len(found) == 2 * _SPARE
        while found and (not enough or len(self._spare) < _SPARE):
            one = found.pop()
            if enough:
                self._spare.append(one)
            else:
                os.close(one)
        for one in found:
            os.close(one)
        return enough

    @staticmethod
    def _open() -> int | None:
        try:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _SHORT:
                return None
            raise
