"""The bytes of one closed batch or heartbeat on their way to Kafka. They are never changed again, however often they are sent."""

from dataclasses import dataclass
from typing import Final

# What a row costs on disk beside its value, roughly.
ROW_BYTES: Final = 64


@dataclass(slots=True, eq=False)
class EncodedBatch:
    """`count` events of `partition` from number `first_seq` (0 events: a heartbeat); `row` is its place in the spool, 0 when it has none."""

    partition: int
    first_seq: int
    count: int
    value: bytes
    row: int = 0

    @property
    def spool_bytes(self) -> int:
        """What it takes on disk, roughly."""
        return len(self.value) + ROW_BYTES
