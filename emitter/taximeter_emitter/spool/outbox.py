"""What an emitter has still to send: what is on disk, then what is in memory, in the order of each partition. Nothing leaves it before Kafka has it.

The order is kept by one rule: of each partition, the spool is always older than memory. So what goes to disk of a partition goes as the front
of what is in memory, batches in flight included. Between partitions there is no order: one that Kafka does not take now keeps no other waiting.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

if TYPE_CHECKING:
    from taximeter_emitter.spool.spool import Spool

_READ_AHEAD_BATCHES: Final = 16
_HELD_BATCHES_MAX: Final = 64

Takes = Callable[[int, int], bool]
"""Whether a batch may be sent now; given its partition and its bytes."""


def takes_all(_partition: int, _size: int) -> bool:
    """Every batch may be sent now."""
    return True


class Outbox:
    """A queue of batches for each partition. `memory_bytes` is what it holds in memory (what is read from the spool is bounded by itself).

    `secret`: of the emitter whose batches these are.
    """

    def __init__(self, spool: "Spool | None" = None, *, secret: str = "") -> None:
        self.spool = spool
        self.secret = secret if spool is None else spool.secret
        self.memory_bytes = 0
        self._memory: dict[int, deque[EncodedBatch]] = {}
        self._ahead: deque[EncodedBatch] = deque()
        self._in_flight: dict[EncodedBatch, None] = {}
        self._cursor = 0
        self._exhausted = spool is None
        self._settled: list[EncodedBatch] = []
        # Partitions of which batches were passed over on the way through the spool, and the first such row: they are read again later.
        self._passed: set[int] = set()
        self._passed_row = 0

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
        return sum(batch.count for batch in self._only_in_memory())

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch behind all others of its partition."""
        self._memory.setdefault(batch.partition, deque()).append(batch)
        self.memory_bytes += len(batch.value)

    def take(self, takes: Takes = takes_all) -> EncodedBatch | None:
        """The next batch that may be sent now, from now on in flight; None when there is none. Raises SpoolFailed."""
        batch = self._from_disk(takes) or self._from_memory(takes)
        if batch is not None:
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

    def forget(self, batch: EncodedBatch) -> None:
        """It is not in flight any more, and not in memory."""
        if batch in self._in_flight:
            del self._in_flight[batch]
            if not batch.row:
                self.memory_bytes -= len(batch.value)

    def set_aside(self, batch: EncodedBatch, why: str) -> bool:
        """Nobody will take it: keep it on disk, apart from what is sent; False if it is in memory only, and there is no disk.

        It is not in flight any more, even where the disk fails: that raises SpoolFailed.
        """
        self.forget(batch)
        if self.spool is None:
            return False
        self.spool.set_aside(batch, why)
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
        if self._ahead or self._passed or any(batch.row for batch in returned):
            self._read_again_from(0)
        for batch in reversed(returned):
            if not batch.row:
                self._memory.setdefault(batch.partition, deque()).appendleft(batch)
        return len(returned)

    def secure(self, room: int, partitions: Collection[int] | None = None) -> Iterable[EncodedBatch]:
        """Write to the spool what is only in memory, at most `room` bytes, oldest first; of these partitions (None: of all).

        What was written. Raises SpoolFailed.
        """
        if self.spool is None:
            return ()
        chosen: list[EncodedBatch] = []
        for batch in self._only_in_memory():
            if partitions is None or batch.partition in partitions:
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
            if batch not in self._in_flight:
                self._take_from_memory(batch.partition)
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
        if self.spool is not None and self.is_empty and not self.spool.refused_batches:
            self.spool.remove()
        elif self.spool is not None:
            self.spool.close()

    def _only_in_memory(self) -> Iterator[EncodedBatch]:
        """Batches without a row, those in flight first."""
        yield from (batch for batch in self._in_flight if not batch.row)
        for queue in self._memory.values():
            yield from queue

    def _nothing_on_disk(self) -> bool:
        return self._exhausted and not self._ahead and not self._passed

    def _from_disk(self, takes: Takes) -> EncodedBatch | None:
        """The next batch of the spool that may be sent. Once through it, back to what was passed over if that may be sent by now."""
        while True:
            batch = self._from_ahead(takes)
            if batch is not None:
                return batch
            if self._exhausted:
                if not any(takes(partition, EVENT_RECORD_BYTES_MAX) for partition in self._passed):
                    return None
                self._read_again_from(self._passed_row - 1)
            if len(self._ahead) >= _HELD_BATCHES_MAX:
                self._pass_over()
            self._ahead.extend(self._read())

    def _from_ahead(self, takes: Takes) -> EncodedBatch | None:
        held: set[int] = set()
        for at, batch in enumerate(self._ahead):
            if batch.partition not in held and takes(batch.partition, len(batch.value)):
                del self._ahead[at]
                return batch
            held.add(batch.partition)
        return None

    def _pass_over(self) -> None:
        """All that was read is of partitions that take nothing now: forget it for the moment, to see what is behind it."""
        self._passed_row = self._passed_row or self._ahead[0].row
        self._passed.update(batch.partition for batch in self._ahead)
        self._ahead.clear()

    def _from_memory(self, takes: Takes) -> EncodedBatch | None:
        on_disk = {batch.partition for batch in self._ahead} | self._passed
        for partition, queue in self._memory.items():
            if partition not in on_disk and takes(partition, len(queue[0].value)):
                return self._take_from_memory(partition)
        return None

    def _take_from_memory(self, partition: int) -> EncodedBatch:
        """The first of a partition, whose turn comes again after all others'."""
        queue = self._memory.pop(partition)
        batch = queue.popleft()
        if queue:
            self._memory[partition] = queue
        return batch

    def _read_again_from(self, row: int) -> None:
        self._ahead.clear()
        self._passed.clear()
        self._cursor, self._passed_row, self._exhausted = row, 0, False

    def _read(self) -> list[EncodedBatch]:
        """Some more of the spool, without what is under way or done, and what has to wait for something that was passed over."""
        if self.spool is None:
            self._exhausted = True
            return []
        found = self.spool.read(after=self._cursor, batches_max=_READ_AHEAD_BATCHES)
        self._exhausted = not found
        if found:
            self._cursor = found[-1].row
        known = {batch.row for batch in (*self._in_flight, *self._settled)}
        return [batch for batch in found if batch.row not in known and batch.partition not in self._passed]
