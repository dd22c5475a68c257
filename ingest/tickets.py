"""What a request waits for: the fate of the batches that hold its events."""

import asyncio

from ingest.batching import PartitionBatch


class Ticket:
    """`batches` has the batch of each event, in the order of the events; `settled` is done when the fate of all of them is known."""

    __slots__ = ("_failed", "_open", "batches", "settled")

    def __init__(self) -> None:
        self.batches: list[PartitionBatch] = []
        self.settled: asyncio.Future[None]
        self._open: set[PartitionBatch] = set()
        self._failed: set[PartitionBatch] = set()

    def start(self, settled: "asyncio.Future[None]") -> set[PartitionBatch]:
        """All events are placed: the batches to wait for."""
        self.settled = settled
        self._open = set(self.batches)
        if not self._open:
            settled.set_result(None)
        return set(self._open)

    def resolve(self, batch: PartitionBatch, *, acknowledged: bool) -> None:
        """The fate of one batch is known."""
        self._open.discard(batch)
        if not acknowledged:
            self._failed.add(batch)
        if not self._open and not self.settled.done():
            self.settled.set_result(None)

    @property
    def all_acknowledged(self) -> bool:
        """Whether Kafka has every event."""
        return not self._open and not self._failed

    def is_acknowledged(self, position: int) -> bool:
        """Whether Kafka has the event that was placed at this position."""
        batch = self.batches[position]
        return batch not in self._open and batch not in self._failed
