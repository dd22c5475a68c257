"""What a partition remembers of idempotent producers, to tell a duplicate from the next batch."""

from collections import deque
from dataclasses import dataclass, field

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.storage.batch import NO_PRODUCER, BatchHeader, BatchRefused

#: A producer may have five batches in flight, so five are remembered: Kafka's own number.
_BATCHES_REMEMBERED = 5
_SEQUENCE_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Where a producer's batch lies: sequence numbers first..last, its base offset, and the append time in ms (-1 with CreateTime)."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    append_time_ms: int


@dataclass(slots=True)
class _Producer:
    epoch: int
    batches: deque[StoredBatch] = field(default_factory=lambda: deque(maxlen=_BATCHES_REMEMBERED))


class ProducerStates:
    """Sequence state of the producers of one partition, the least recent forgotten beyond ``producers_max``."""

    def __init__(self, producers_max: int = 10_000) -> None:
        self._producers: dict[int, _Producer] = {}
        self._producers_max = producers_max

    @property
    def highest_id(self) -> int:
        """The highest producer id that is remembered, -1 if none."""
        return max(self._producers, default=NO_PRODUCER)

    def find_duplicate(self, header: BatchHeader) -> StoredBatch | None:
        """The stored twin of a batch that is being produced again, or None if the batch is the producer's next.

        Raises BatchRefused for an old epoch or a sequence that is neither.
        """
        if header.producer_id == NO_PRODUCER:
            return None
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return None
        if header.producer_epoch < producer.epoch:
            raise BatchRefused(ErrorCode.invalid_producer_epoch, f"producer epoch {header.producer_epoch}, the current is {producer.epoch}")
        if header.producer_epoch > producer.epoch:
            if header.base_sequence != 0:
                raise BatchRefused(ErrorCode.out_of_order_sequence_number, "a new producer epoch must start at sequence 0")
            return None
        for stored in producer.batches:
            if (stored.first_sequence, stored.last_sequence) == (header.base_sequence, header.last_sequence):
                return stored
        last = producer.batches[-1].last_sequence
        expected = 0 if last == _SEQUENCE_MAX else last + 1
        if header.base_sequence != expected:
            reason = f"producer {header.producer_id} sent sequence {header.base_sequence}, expected {expected}"
            raise BatchRefused(ErrorCode.out_of_order_sequence_number, reason)
        return None

    def remember(self, header: BatchHeader, base_offset: int, append_time_ms: int) -> None:
        """Note that a batch is stored; batches without a producer id are ignored."""
        if header.producer_id == NO_PRODUCER:
            return
        producer = self._producers.pop(header.producer_id, None)
        if producer is None or producer.epoch != header.producer_epoch:
            producer = _Producer(header.producer_epoch)
        producer.batches.append(StoredBatch(header.base_sequence, header.last_sequence, base_offset, append_time_ms))
        self._producers[header.producer_id] = producer
        if len(self._producers) > self._producers_max:
            del self._producers[next(iter(self._producers))]
