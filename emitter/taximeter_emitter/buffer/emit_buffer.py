"""The bounded buffer between the threads that emit and the thread that sends."""

import threading
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final, Literal

from taximeter_emitter.buffer.event_encoding import EVENT_PARTS, Event
from taximeter_emitter.counts import EmitterCounts

WhenFull = Literal["drop_and_count", "block"]

_BLOCK_SLICE_SECONDS: Final = 0.5
_CLOSED: Final = -1


class EmitBuffer:
    """Events wait here, at most `bytes_max` together with what waits behind it (`behind`, kept up to date by the sending thread).

    As long as there is much room, `put` takes no lock: under one, it costs the caller a third more. It stands on two things that Python
    guarantees: `deque.extend` with a tuple is one step to all other threads, and so what was emitted is what was taken and what is here.
    The bytes are added up between two calls, where the interpreter does not switch threads; if it ever did, they would be a little wrong
    until the buffer is empty.
    """

    def __init__(self, *, bytes_max: int, when_full: WhenFull, counts: EmitterCounts, on_half_full: Callable[[], None]) -> None:
        self.counts = counts
        self.behind = 0
        self.closed = False
        self.taken = 0
        self._on_half_full = on_half_full
        self._alarmed = False
        self._bytes_max = bytes_max
        self._blocks = when_full == "block"
        # The parts of all events, one after the other: as tuples they would keep Python's garbage collector busy.
        self._parts: deque[Any] = deque()
        self._bytes = 0
        # Up to this many bytes nobody needs to look closer.
        self._easy_bytes = bytes_max // 2
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
        return len(self._parts) // EVENT_PARTS

    @property
    def emitted(self) -> int:
        """Events that were ever put here."""
        with self._lock:
            return self.taken + self.events_held

    def put(self, event: Event) -> bool:
        """Take the event, or count it as dropped. Blocks only when that is the policy, until there is room or the emitter closes.

        Calls `on_half_full` once when the buffer is half full and was not emptied since. What is put while another thread closes may still be
        taken, and not be sent any more.
        """
        held = self._bytes + event[-1]
        if held > self._easy_bytes:
            return self._put_where_room_is_short(event)
        self._bytes = held
        self._parts.extend(event)
        return True

    def take(self, events_max: int) -> list[Any]:
        """The parts of the oldest events, one after the other; of at most `events_max`."""
        with self._lock:
            count = min(events_max, self.events_held)
            popleft = self._parts.popleft
            taken = [popleft() for _ in repeat(None, count * EVENT_PARTS)]
            size = sum(taken[EVENT_PARTS - 1 :: EVENT_PARTS])
            self._bytes = self._bytes - size if self._parts else 0
            self.taken += count
            self._alarmed = False
            self._look_at_room()
        return taken

    def set_behind(self, size: int) -> None:
        """Note how many bytes wait in memory behind this buffer."""
        with self._lock:
            self.behind = size
            self._look_at_room()

    def reject(self, reason: str) -> int:
        """Count an event that was refused; how many were, for this reason."""
        with self._lock:
            rejected = self.counts.rejected
            rejected[reason] = total = rejected.get(reason, 0) + 1
        return total

    def close(self) -> None:
        """Take no more events, and wake the callers that wait for room."""
        with self._lock:
            self.closed = True
            self._look_at_room()
            self._room.notify_all()

    def _put_where_room_is_short(self, event: Event) -> bool:
        size = event[-1]
        with self._lock:
            while not self.closed and self._bytes + self.behind + size > self._bytes_max and self._blocks:
                self._room.wait(_BLOCK_SLICE_SECONDS)
            if self.closed or self._bytes + self.behind + size > self._bytes_max:
                self.counts.dropped += 1
                return False
            self._parts.extend(event)
            self._bytes += size
            alarm = not self._alarmed and 2 * (self._bytes + self.behind) > self._bytes_max
            self._alarmed |= alarm
            self._look_at_room()
        if alarm:
            self._on_half_full()
        return True

    def _look_at_room(self) -> None:
        """After any change of what decides it. Under the lock."""
        room = self._bytes_max if self._alarmed else self._bytes_max // 2
        self._easy_bytes = _CLOSED if self.closed else room - self.behind
        if self._blocks:
            self._room.notify_all()
