"""Batches that an emitter numbered, on their way to Kafka as they are."""

from dataclasses import dataclass

from taximeter_emitter.buffer.batching import PartitionBatch


@dataclass(eq=False, slots=True)
class EmitterBatch:
    """The bytes of a batch or heartbeat of `count` events. Its numbers are its emitter's, who sends it again if need be."""

    partition: int
    count: int
    value: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.value)


BatchUnderWay = PartitionBatch | EmitterBatch
"""A batch of the gateway's own, or of an emitter."""
