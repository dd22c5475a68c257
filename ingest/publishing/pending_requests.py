"""What a request waits for: the fate of each batch that has some of its events."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taximeter_emitter.buffer.batching import PartitionBatch

from ingest.publishing.emitter_batches import BatchUnderWay
from metering.tracing.trace_context import TraceContext


class EventsInBatch(NamedTuple):
    """The events of one batch, by their places among all that were spread together; ascending."""

    batch: PartitionBatch
    places: Sequence[int]


class PendingRequest:
    """A request whose events are on their way to Kafka. `settled` is done when the fate of all its batches is known."""

    __slots__ = ("_failed", "_open", "_parts", "settled", "span")

    def __init__(self, settled: "asyncio.Future[None]") -> None:
        self.settled = settled
        self.span: TraceContext | None = None  # of the request, where it is traced
        self._parts: dict[int, tuple[int, Sequence[EventsInBatch]]] = {}
        # None until the events are in batches.
        self._open: set[BatchUnderWay] | None = None
        self._failed: set[BatchUnderWay] = set()

    def note_part(self, part: int, first: int, in_batches: Sequence[EventsInBatch]) -> None:
        """Note where a part of the request went. It was spread with other events; its own begin at place `first`."""
        self._parts[part] = (first, in_batches)

    def start(self, batches: Iterable[BatchUnderWay]) -> None:
        """Wait for these batches; they hold all events of the request."""
        self._open = set(batches)
        if not self._open:
            self.settled.set_result(None)

    def resolve(self, batch: BatchUnderWay, *, acknowledged: bool) -> None:
        """Note the fate of one batch."""
        assert self._open is not None, "a request learns the fate of batches that it waits for"
        self._open.discard(batch)
        if not acknowledged:
            self._failed.add(batch)
        if not self._open and not self.settled.done():
            self.settled.set_result(None)

    def give_up(self) -> None:
        """Stop waiting for the batches that are still open."""
        if not self.settled.done():
            self.settled.set_result(None)

    @property
    def all_acknowledged(self) -> bool:
        """Whether Kafka has every event."""
        return self._open is not None and not self._open and not self._failed

    def is_unknown(self, batch: BatchUnderWay) -> bool:
        """Whether Kafka has not acknowledged this batch of the request."""
        return self._open is None or batch in self._open or batch in self._failed

    def unknown(self, part: int, count: int) -> list[int]:
        """The events of a part that Kafka has not acknowledged, by place in the part; ascending. The part has `count` events."""
        if self._open is None:
            return list(range(count))
        lost = self._open | self._failed
        first, in_batches = self._parts[part]
        return sorted(place - first for batch, places in in_batches if batch in lost for place in places if first <= place < first + count)
