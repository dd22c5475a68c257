"""What an emitter has still to send, in order: first what is on disk, then what is in memory. Nothing leaves it before Kafka has it.

The order is kept by one rule: the spool is always older than memory. So whatever goes to disk goes as the front of what is in memory,
batches in flight included.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from taximeter_emitter.spool.encoded_batch import EncodedBatch

if TYPE_CHECKING:
    from taximeter_emitter.spool.spool import Spool

_READ_AHEAD_BATCHES: Final = 16


class Outbox:
    """A queue of batches. `memory_bytes` is what it holds in memory (batches read from the spool are bounded by what is in flight)."""

    def __init__(self, spool: "Spool | None" = None) -> None:
        self.spool = spool
        self.memory_bytes = 0
        self._memory: deque[EncodedBatch] = deque()
        self._ahead: deque[EncodedBatch] = deque()
        self._in_flight: dict[EncodedBatch, None] = {}
        self._cursor = 0
        self._exhausted = spool is None
        self._settled: list[EncodedBatch] = []

    @property
    def is_empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not self._in_flight and not self._memory and self._nothing_on_disk() and not self.has_unplaced

    @property
    def has_unplaced(self) -> bool:
        """Whether events on its disk have no partition yet; `take` does not give them."""
        return self.spool is not None and bool(self.spool.unplaced_events)

    @property
    def memory_events(self) -> int:
        """Events that are in memory only: they would be lost with the process."""
        return sum(batch.count for batch in (*self._in_flight, *self._memory) if not batch.row)

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch behind all others."""
        self._memory.append(batch)
        self.memory_bytes += len(batch.value)

    def take(self) -> EncodedBatch | None:
        """The next batch to send, from now on in flight; None when there is none. Raises SpoolFailed."""
        while not self._ahead and not self._nothing_on_disk():
            self._ahead.extend(self._read())
        if self._ahead:
            batch = self._ahead.popleft()
        elif self._memory:
            batch = self._memory.popleft()
        else:
            return None
        self._in_flight[batch] = None
        return batch

    def settle(self, batch: EncodedBatch) -> bool:
        """Kafka has it. False when it was not in flight: it was given back meanwhile, and will be sent again."""
        if batch not in self._in_flight:
            return False
        del self._in_flight[batch]
        if batch.row:
            self._settled.append(batch)
        else:
            self.memory_bytes -= len(batch.value)
        return True

    def forget_settled(self) -> None:
        """Remove from disk what Kafka has. Raises SpoolFailed: nothing is lost then, it will be sent twice."""
        if self._settled and self.spool is not None:
            self.spool.delete(self._settled)
            self._settled = []

    def give_back(self) -> int:
        """Nothing is in flight any more and nobody knows what arrived: all of it will be sent again, as it is. How many batches that is."""
        returned = list(self._in_flight)
        self._in_flight.clear()
        if self._ahead or any(batch.row for batch in returned):
            self._ahead.clear()
            self._cursor = 0
            self._exhausted = False
        self._memory.extendleft(batch for batch in reversed(returned) if not batch.row)
        return len(returned)

    def secure(self, room: int) -> Iterable[EncodedBatch]:
        """Write to the spool what is only in memory, oldest first, at most `room` bytes. What was written. Raises SpoolFailed."""
        if self.spool is None:
            return ()
        chosen: list[EncodedBatch] = []
        for batch in (*self._in_flight, *self._memory):
            if not batch.row:
                room -= batch.spool_bytes
                if room < 0:
                    break
                chosen.append(batch)
        if not chosen:
            return ()
        self.spool.append(chosen)
        self._exhausted = False
        for batch in chosen:
            self.memory_bytes -= len(batch.value)
            if batch in self._in_flight:
                self._cursor = batch.row
            else:
                self._memory.popleft()
        return chosen

    def place(self, partitions: int) -> int:
        """Make batches of some thousands of the unplaced events; of how many. Raises SpoolFailed."""
        if self.spool is None:
            return 0
        placed = self.spool.place(partitions)
        self._exhausted = False
        return placed

    def close(self) -> None:
        """Let go of the spool, and remove it if everything was acknowledged."""
        if self.spool is not None and self.is_empty:
            self.spool.remove()
        elif self.spool is not None:
            self.spool.close()

    def _nothing_on_disk(self) -> bool:
        return self._exhausted and not self._ahead

    def _read(self) -> list[EncodedBatch]:
        if self.spool is None:
            return []
        found = self.spool.read(after=self._cursor, batches_max=_READ_AHEAD_BATCHES)
        self._exhausted = not found
        if found:
            self._cursor = found[-1].row
        if not self._settled:
            return found
        settled = {batch.row for batch in self._settled}
        return [batch for batch in found if batch.row not in settled]
