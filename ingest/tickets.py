"""What a request waits for: the fate of the batches that hold its events."""

import asyncio
from collections.abc import Sequence

from ingest.batching import EventRow, PartitionBatch


class Ticket:
    """`settled` is done when the fate of all batches that hold the request's events is known."""

    __slots__ = ("_failed", "_open", "_placed", "settled")

    def __init__(self, settled: "asyncio.Future[None]") -> None:
        self.settled = settled
        self._placed: list[tuple[PartitionBatch, Sequence[EventRow]]] = []
        self._open: set[PartitionBatch] = set()
        self._failed: set[PartitionBatch] = set()

    def place(self, placed: Sequence[tuple[PartitionBatch, Sequence[EventRow]]]) -> None:
        """Note which rows are in which batch."""
        self._placed += placed

    def start(self) -> set[PartitionBatch]:
        """All events are placed: the batches to wait for."""
        self._open = {batch for batch, _ in self._placed}
        if not self._open:
            self.settled.set_result(None)
        return set(self._open)

    def resolve(self, batch: PartitionBatch, *, acknowledged: bool) -> None:
        """The fate of one batch is known."""
        self._open.discard(batch)
        if not acknowledged:
            self._failed.add(batch)
        if not self._open and not self.settled.done():
            self.settled.set_result(None)

    def give_up(self) -> None:
        """It is too late to wait for the batches that are still open."""
        if not self.settled.done():
            self.settled.set_result(None)

    @property
    def all_acknowledged(self) -> bool:
        """Whether Kafka has every event."""
        return not self._open and not self._failed

    def unknown_rows(self) -> set[int]:
        """The identities (`id`) of the rows that Kafka has not acknowledged; equal rows may have different fates."""
        return {id(row) for batch, rows in self._placed if batch in self._open or batch in self._failed for row in rows}
