"""Closed batches on their way to Kafka, in a queue for each partition: one that Kafka does not acknowledge costs no other anything. Pure."""

from collections import deque
from typing import Final

from taximeter_emitter.transports.in_flight import InFlight

from ingest.publishing.emitter_batches import BatchUnderWay

MOVING_SECONDS: Final = 1.0
"""A partition without an acknowledgement for longer than this does not move."""


class PartitionLanes:
    """Times are monotonic seconds. A partition is refused without an acknowledgement for `patience_seconds`, or when it has more than `bytes_max` and
    does not move. What it has then is still sent as soon as Kafka takes it.
    """

    def __init__(self, partitions: int, *, patience_seconds: float, bytes_max: int) -> None:
        self.partitions = partitions
        self._patience_seconds = patience_seconds
        self._bytes_max = bytes_max
        self._waiting: dict[int, deque[BatchUnderWay]] = {}
        self._in_flight = InFlight(partitions)
        self._added: dict[BatchUnderWay, float] = {}
        self._bytes: dict[int, int] = {}

    def __contains__(self, batch: BatchUnderWay) -> bool:
        return batch in self._added

    def __bool__(self) -> bool:
        return bool(self._added)

    @property
    def any_waiting(self) -> bool:
        """Whether a batch has not been given to Kafka's client."""
        return bool(self._waiting)

    def given_up(self) -> list[BatchUnderWay]:
        """All that are on their way; those that Kafka's client does not have yet will not be given to it."""
        self._waiting.clear()
        return list(self._added)

    def add(self, batch: BatchUnderWay, now: float) -> None:
        """Queue a closed batch behind all others of its partition."""
        self._waiting.setdefault(batch.partition, deque()).append(batch)
        self._added[batch] = now
        self._bytes[batch.partition] = self._bytes.get(batch.partition, 0) + batch.size

    def next(self, now: float) -> BatchUnderWay | None:
        """The next batch for Kafka's client, which will take it without waiting; None if there is none."""
        for partition, queue in self._waiting.items():
            if self._in_flight.has_room(partition, queue[0].size):
                batch = queue.popleft()
                del self._waiting[partition]
                if queue:
                    self._waiting[partition] = queue  # its turn comes again after all others'
                self._in_flight.add(partition, batch.size, now)
                return batch
        return None

    def remove(self, batch: BatchUnderWay) -> float | None:
        """The batch is not on its way any more; when it was added, or None if it was not on its way."""
        added = self._added.pop(batch, None)
        if added is not None:
            left = self._bytes[batch.partition] - batch.size
            if left > 0:
                self._bytes[batch.partition] = left
            else:
                del self._bytes[batch.partition]
        return added

    def acknowledge(self, batch: BatchUnderWay, now: float) -> None:
        """Kafka has it."""
        self._in_flight.settle(batch.partition, batch.size, now)

    def has_room(self, partition: int) -> bool:
        """Whether a small record of the partition may be given to the client beside the batches."""
        return partition not in self._waiting and self._in_flight.has_room(partition, 0)

    def is_moving(self, now: float) -> bool:
        """Whether an acknowledgement of what is on its way can be expected soon."""
        return self._in_flight.any_moving(now, MOVING_SECONDS)

    def refused(self, now: float) -> dict[int, float]:
        """The partitions that take no more events now, each with the seconds for which it has had no acknowledgement."""
        found = {}
        for partition in self._in_flight.silent(now, min(MOVING_SECONDS, self._patience_seconds)):
            seconds = self._in_flight.silent_seconds(partition, now)
            if seconds > self._patience_seconds or self._bytes.get(partition, 0) > self._bytes_max:
                found[partition] = seconds
        return found

    def all_silent(self, now: float, seconds: float) -> bool:
        """Whether nothing of what is on its way has had an acknowledgement for longer than this."""
        return self._in_flight.all_silent(now, seconds)
