"""Which batches hold nothing to read: markers of transactions, and data of transactions that were aborted. Pure."""

from collections.abc import Sequence
from typing import Final

from metering.kafka.batches.plain_batches import BatchHeader, marker_of

ABORT: Final = 0  # the kind of a marker


class AbortedData:
    """Sees the batches of one partition in order. `aborted`: producer id and first offset of each aborted transaction, as the broker says."""

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._upcoming = sorted(aborted, key=lambda entry: entry[1], reverse=True)
        self._open: set[int] = set()

    def holds_batch(self, base_offset: int, producer: int) -> bool:
        """Whether a batch that belongs to a transaction was aborted."""
        while self._upcoming and self._upcoming[-1][1] <= base_offset:
            self._open.add(self._upcoming.pop()[0])
        return producer in self._open

    def take_marker(self, base_offset: int, producer: int, kind: int) -> None:
        """A transaction of this producer ends here."""
        if self.holds_batch(base_offset, producer) and kind == ABORT:
            self._open.discard(producer)

    def is_nothing_in(self, batch: memoryview, header: BatchHeader) -> bool:
        """Whether the next batch holds nothing to read. Raises BatchUnreadable for a damaged marker."""
        if header.is_control:
            self.take_marker(header.base_offset, header.producer_id, marker_of(batch, header))
            return True
        return header.is_transactional and self.holds_batch(header.base_offset, header.producer_id)
