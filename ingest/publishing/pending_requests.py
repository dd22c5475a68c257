"""What a request waits for: the fate of the batches that hold its events."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from taximeter_emitter.buffer.batching import PartitionBatch


class Placed(NamedTuple):
    """Which of the events that were spread together went into one batch: their places among them, ascending."""

    batch: PartitionBatch
    places: Sequence[int]


class Ticket:
    """`settled` is done when the fate of all batches that hold the request's events is known."""

    __slots__ = ("_failed", "_open", "_shares", "settled")

    def __init__(self, settled: "asyncio.Future[None]") -> None:
        self.settled = settled
        self._shares: dict[int, tuple[int, Sequence[Placed]]] = {}
        # None as long as the events are in no batch.
        self._open: set[PartitionBatch] | None = None
        self._failed: set[PartitionBatch] = set()

    def share(self, part: int, first: int, placed: Sequence[Placed]) -> None:
        """Note where a part of the request went: together with other events, of which its own are those from place `first` on."""
        self._shares[part] = (first, placed)

    def start(self, batches: set[PartitionBatch]) -> None:
        """All events are placed: the batches to wait for, which are the ticket's own from now on."""
        self._open = batches
        if not batches:
            self.settled.set_result(None)

    def resolve(self, batch: PartitionBatch, *, acknowledged: bool) -> None:
        """The fate of one batch is known."""
        assert self._open is not None, "a ticket hears of batches that it waits for"
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
        return self._open is not None and not self._open and not self._failed

    def unknown(self, part: int, count: int) -> list[int]:
        """Which of the `count` events of a part of the request Kafka has not acknowledged, by place in the part, ascending."""
        if self._open is None:
            return list(range(count))
        lost = self._open | self._failed
        first, placed = self._shares[part]
        return sorted(place - first for batch, places in placed if batch in lost for place in places if first <= place < first + count)
