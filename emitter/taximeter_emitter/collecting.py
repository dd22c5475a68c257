"""Buffered events into numbered batches, in the emitter's thread."""

import asyncio
from typing import Any, Final

from taximeter_emitter.buffer.batching import Batcher, PartitionBatch
from taximeter_emitter.buffer.emit_buffer import EmitBuffer
from taximeter_emitter.buffer.event_encoding import EventDecoder
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.clock import Clock
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.unsent import Unsent

# How many events are batched in one go, which takes 2 to 3 ms. Between two goes other threads may run, so that an emitting thread waits no longer
# than the interpreter's own switch interval of 5 ms. Fewer would cost the emitting threads more: each go that ends has to ask for the interpreter
# again.
_CHUNK_EVENTS: Final = 1_000


class Collector:
    """Takes from the buffer, hands over to what is unsent. `partitions` None: not known yet, the events wait in the buffer."""

    def __init__(
        self,
        *,
        buffer: EmitBuffer,
        unsent: Unsent,
        emitter: str,
        source: str,
        partitions: int | None,
        heartbeat_seconds: float,
        counts: EmitterCounts,
        clock: Clock,
    ) -> None:
        self.partitions = partitions
        self._counts = counts
        self._buffer = buffer
        self._unsent = unsent
        self._decoder = EventDecoder(source)
        self._partition_cache = PartitionCache(partitions or 0)
        self._batcher = Batcher(emitter)
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._last_record: dict[int, float] = {}
        self._dropped_told = 0

    async def collect(self) -> None:
        """Batch what waits now and close every batch."""
        partitions = self.partitions
        # Not what comes meanwhile: a caller in a loop would keep this one from ending.
        rest = self._buffer.events_held
        while partitions is not None and rest > 0:
            self._add(self._buffer.take(_CHUNK_EVENTS), partitions)
            rest -= _CHUNK_EVENTS
            self._hand_over(self._batcher.take_full())
            self._buffer.set_behind(self._unsent.memory_bytes + self._batcher.open_bytes)
            if rest > 0:
                await asyncio.sleep(0)
        self.close_batches()

    def close_batches(self) -> None:
        """Close every batch, so that it can go to Kafka or to the disk."""
        self._hand_over(self._batcher.take_all())
        self._buffer.set_behind(self._unsent.memory_bytes)

    def beat(self) -> None:
        """A heartbeat for each partition that has been silent for long, so that the readers know that no numbers are missing."""
        now = self._clock.monotonic()
        for partition in self._used():
            if now - self._last_record.get(partition, 0.0) >= self._heartbeat_seconds or self._has_news(partition):
                self._put_heartbeat(partition, final=False)

    def finish(self) -> None:
        """The last word: how many events each partition was sent."""
        for partition in self._used():
            self._put_heartbeat(partition, final=True)
        self._buffer.set_behind(self._unsent.memory_bytes)

    def _add(self, parts: list[Any], partitions: int) -> None:
        if self._partition_cache.partitions != partitions:
            self._partition_cache = PartitionCache(partitions)
        for partition, columns in self._decoder.decode(parts, self._partition_cache):
            self._batcher.add_columns(partition, columns)

    def _hand_over(self, batches: list[PartitionBatch]) -> None:
        now = self._clock.monotonic()
        for batch in batches:
            self._counts.numbered += batch.count
            self._last_record[batch.partition] = now
            self._unsent.put(EncodedBatch(batch.partition, batch.first_seq, batch.count, batch.value))

    def _used(self) -> list[int]:
        """Partitions that have something to say; the drops have no partition, so the first one used reports them (of all, once)."""
        used = list(self._batcher.next_seq)
        return used or ([0] if self._counts.dropped else [])

    def _has_news(self, partition: int) -> bool:
        return self._counts.dropped > self._dropped_told and partition == self._used()[0]

    def _put_heartbeat(self, partition: int, *, final: bool) -> None:
        dropped = 0
        if partition == self._used()[0]:
            dropped = self._dropped_told = self._counts.dropped
        value = self._batcher.heartbeat(partition, final=final, dropped=dropped)
        self._unsent.put(EncodedBatch(partition, self._batcher.next_seq.get(partition, 0), 0, value))
        self._last_record[partition] = self._clock.monotonic()
