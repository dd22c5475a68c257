"""The bounded buffer between the threads that emit and the thread that ships."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from ingest.counts import EmitterCounts

WhenFull = Literal["drop_and_count", "block"]

# What a bytes object takes beside its content: its head, what the allocator rounds up, its place in the queue.
_OBJECT_BYTES: Final = 64
_BLOCK_SLICE_SECONDS: Final = 0.5


class Intake:
    """Events wait here, at most `bytes_max` together with what waits behind it (`behind`, kept up to date by the shipping thread).

    They wait as bytes (see buffered): thousands of waiting tuples would set off Python's garbage collector in the threads that emit, some
    20 us every few hundred events and sometimes much longer.
    """

    def __init__(self, *, bytes_max: int, when_full: WhenFull, counts: EmitterCounts, on_half_full: Callable[[], None]) -> None:
        self.counts = counts
        self.behind = 0
        self.closed = False
        self._on_half_full = on_half_full
        self._alarmed = False
        self._bytes_max = bytes_max
        self._blocks = when_full == "block"
        self._events: deque[bytes] = deque()
        self._bytes = 0
        # Re-entrant, because a signal handler or a finaliser of the thread that holds it may emit, too.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)

    @property
    def bytes_held(self) -> int:
        """Bytes of the events that wait here."""
        return self._bytes

    @property
    def events_held(self) -> int:
        """Events that wait here."""
        return len(self._events)

    def put(self, event: bytes) -> bool:
        """Take the event, or count it as dropped. Blocks only when that is the policy, until there is room or the emitter closes.

        Calls `on_half_full` once when the buffer is half full and was not emptied since.
        """
        size = len(event) + _OBJECT_BYTES
        with self._lock:
            while not self.closed and self._bytes + self.behind + size > self._bytes_max and self._blocks:
                self._room.wait(_BLOCK_SLICE_SECONDS)
            if self.closed or self._bytes + self.behind + size > self._bytes_max:
                self.counts.dropped += 1
                return False
            self._events.append(event)
            self._bytes += size
            self.counts.emitted += 1
            alarm = not self._alarmed and 2 * (self._bytes + self.behind) > self._bytes_max
            self._alarmed |= alarm
        if alarm:
            self._on_half_full()
        return True

    def take(self, events_max: int) -> list[bytes]:
        """The oldest events, at most so many."""
        with self._lock:
            taken = [self._events.popleft() for _ in range(min(events_max, len(self._events)))]
            self._bytes -= sum(map(len, taken)) + _OBJECT_BYTES * len(taken)
            self._alarmed = False
            if self._blocks:
                self._room.notify_all()
        return taken

    def set_behind(self, size: int) -> None:
        """Note how many bytes wait in memory behind this buffer."""
        with self._lock:
            self.behind = size
            if self._blocks:
                self._room.notify_all()

    def reject(self, reason: str) -> None:
        """Count an event that was refused."""
        with self._lock:
            rejected = self.counts.rejected
            rejected[reason] = rejected.get(reason, 0) + 1

    def close(self) -> None:
        """Take no more events, and wake whoever waits for room."""
        with self._lock:
            self.closed = True
            self._room.notify_all()
