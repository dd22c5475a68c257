"""What an emitter has still to send, in order: first what is on disk, then what is in memory. Nothing leaves it before Kafka has it.

The order is kept by one rule: the spool is always older than memory. So whatever goes to disk goes as the front of what is in memory,
parcels in flight included.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from taximeter_emitter.spool.encoded_batch import Parcel
from taximeter_emitter.spool.spool import ROW_BYTES, Spool

_READ_AHEAD_PARCELS: Final = 16


class Outbox:
    """A queue of parcels. `memory_bytes` is what it holds in memory (parcels read from the spool are bounded by what is in flight)."""

    def __init__(self, spool: Spool | None = None) -> None:
        self.spool = spool
        self.memory_bytes = 0
        self._memory: deque[Parcel] = deque()
        self._ahead: deque[Parcel] = deque()
        self._in_flight: dict[Parcel, None] = {}
        self._cursor = 0
        self._exhausted = spool is None
        self._settled: list[Parcel] = []

    @property
    def is_empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not self._in_flight and not self._memory and self._nothing_on_disk()

    @property
    def memory_events(self) -> int:
        """Events that are in memory only: they would be lost with the process."""
        return sum(parcel.count for parcel in (*self._in_flight, *self._memory) if not parcel.row)

    def put(self, parcel: Parcel) -> None:
        """Queue a parcel behind all others."""
        self._memory.append(parcel)
        self.memory_bytes += len(parcel.value)

    def take(self) -> Parcel | None:
        """The next parcel to send, from now on in flight; None when there is none. Raises SpoolFailed."""
        while not self._ahead and not self._nothing_on_disk():
            self._ahead.extend(self._read())
        if self._ahead:
            parcel = self._ahead.popleft()
        elif self._memory:
            parcel = self._memory.popleft()
        else:
            return None
        self._in_flight[parcel] = None
        return parcel

    def settle(self, parcel: Parcel) -> bool:
        """Kafka has it. False when it was not in flight: it was given back meanwhile, and will be sent again."""
        if parcel not in self._in_flight:
            return False
        del self._in_flight[parcel]
        if parcel.row:
            self._settled.append(parcel)
        else:
            self.memory_bytes -= len(parcel.value)
        return True

    def forget_settled(self) -> None:
        """Remove from disk what Kafka has. Raises SpoolFailed: nothing is lost then, it will be sent twice."""
        if self._settled and self.spool is not None:
            self.spool.delete(self._settled)
            self._settled = []

    def give_back(self) -> int:
        """Nothing is in flight any more and nobody knows what arrived: all of it will be sent again, as it is. How many parcels that is."""
        returned = list(self._in_flight)
        self._in_flight.clear()
        if self._ahead or any(parcel.row for parcel in returned):
            self._ahead.clear()
            self._cursor = 0
            self._exhausted = False
        self._memory.extendleft(parcel for parcel in reversed(returned) if not parcel.row)
        return len(returned)

    def secure(self, room: int) -> Iterable[Parcel]:
        """Write to the spool what is only in memory, oldest first, at most `room` bytes. What was written. Raises SpoolFailed."""
        if self.spool is None:
            return ()
        chosen: list[Parcel] = []
        for parcel in (*self._in_flight, *self._memory):
            if not parcel.row:
                room -= len(parcel.value) + ROW_BYTES
                if room < 0:
                    break
                chosen.append(parcel)
        if not chosen:
            return ()
        self.spool.append(chosen)
        self._exhausted = False
        for parcel in chosen:
            self.memory_bytes -= len(parcel.value)
            if parcel in self._in_flight:
                self._cursor = parcel.row
            else:
                self._memory.popleft()
        return chosen

    def close(self) -> None:
        """Let go of the spool, and remove it if everything was acknowledged."""
        if self.spool is not None and self.is_empty:
            self.spool.remove()
        elif self.spool is not None:
            self.spool.close()

    def _nothing_on_disk(self) -> bool:
        return self._exhausted and not self._ahead

    def _read(self) -> list[Parcel]:
        if self.spool is None:
            return []
        found = self.spool.read(after=self._cursor, parcels_max=_READ_AHEAD_PARCELS)
        self._exhausted = not found
        if found:
            self._cursor = found[-1].row
        if not self._settled:
            return found
        settled = {parcel.row for parcel in self._settled}
        return [parcel for parcel in found if parcel.row not in settled]
