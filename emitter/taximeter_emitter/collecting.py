"""Buffered events into numbered batches, in the emitter's thread."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.emit_buffer import EmitBuffer
from taximeter_emitter.buffer.event_encoding import EventDecoder
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.clock import Clock
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.placing import spread
from taximeter_emitter.spool.unplaced import encode_unplaced
from taximeter_emitter.spool.unsent import Unsent

# How many events are batched in one go, which takes 2 to 3 ms. Between two goes other threads may run, so that an emitting thread waits no longer
# than the interpreter's own switch interval of 5 ms. Fewer would cost the emitting threads more: each go that ends has to ask for the interpreter
# again.
_CHUNK_EVENTS: Final = 1_000


class Collector:
    """Takes from the buffer, hands over to what is unsent. `partitions` None: not known yet, the events wait in the buffer or on disk."""

    def __init__(
        self,
        *,
        buffer: EmitBuffer,
        unsent: Unsent,
        emitter: str,
        decoder: EventDecoder,
        partitions: int | None,
        heartbeat_seconds: float,
        counts: EmitterCounts,
        clock: Clock,
    ) -> None:
        self.partitions = partitions
        self._counts = counts
        self._buffer = buffer
        self._unsent = unsent
        self._decoder = decoder
        self._partition_cache = PartitionCache(partitions or 0)
        self._batcher = Batcher(emitter)
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._last_record: dict[int, float] = {}
        self._dropped_told = 0
        # Taken from the buffer while there were no partitions, and refused by the disk.
        self._held_back: list[EventColumns] = []

    @property
    def is_done(self) -> bool:
        """Whether nothing waits in the buffer or here."""
        return not self._buffer.events_held and not self._held_back

    async def collect(self) -> None:
        """Batch what waits now and close every batch; nothing as long as there are no partitions."""
        for _ in self._batched() if self.partitions is not None else ():
            await asyncio.sleep(0)
        self.close_batches()

    async def keep_unplaced(self) -> None:
        """Write what waits now to disk as it is, because nobody knows how many partitions there are."""
        for _ in self._kept_unplaced():
            await asyncio.sleep(0)

    def collect_rest(self) -> None:
        """All that waits, into batches or to the disk, at once: this is the end."""
        for _ in self._batched() if self.partitions is not None else self._kept_unplaced():
            pass

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

    def _batched(self) -> Iterable[None]:
        """Batches chunk after chunk; between two of them other work may be done."""
        partitions = self.partitions or 0
        held_back, self._held_back = self._held_back, []
        for columns in held_back:
            for partition, part in spread(columns, partitions):
                self._batcher.add_columns(partition, part)
        # Not what comes meanwhile: a caller in a loop would keep this one from ending.
        rest = self._buffer.events_held
        while rest > 0:
            self._add(self._buffer.take(_CHUNK_EVENTS), partitions)
            rest -= _CHUNK_EVENTS
            self._hand_over(self._batcher.take_full())
            self._buffer.set_behind(self._unsent.memory_bytes + self._batcher.open_bytes)
            if rest > 0:
                yield

    def _kept_unplaced(self) -> Iterable[None]:
        """Writes chunk after chunk to disk, until it refuses one."""
        rest = self._buffer.events_held
        while self._unsent.has_disk and (self._held_back or rest > 0):
            if not self._held_back:
                # As if there were one partition: only the columns matter.
                self._held_back = [columns for _, columns in self._decoder.decode(self._buffer.take(_CHUNK_EVENTS), PartitionCache(1))]
                self._note_unknown_usage()
                rest -= _CHUNK_EVENTS
            if not self._unsent.keep_unplaced(encode_unplaced(self._held_back)):
                return
            self._held_back = []
            yield

    def _add(self, parts: list[Any], partitions: int) -> None:
        if self._partition_cache.partitions != partitions:
            self._partition_cache = PartitionCache(partitions)
        for partition, columns in self._decoder.decode(parts, self._partition_cache):
            self._batcher.add_columns(partition, columns)
        self._note_unknown_usage()

    def _note_unknown_usage(self) -> None:
        self._counts.note_unknown_usage(self._decoder.unknown_usage)
        self._decoder.unknown_usage.clear()

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
