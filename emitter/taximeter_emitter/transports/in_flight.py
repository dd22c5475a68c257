"""What Kafka's client was given and Kafka has not acknowledged, by partition: one that gets no answer must not keep the others waiting. Pure."""

from typing import Final

# What a client holds of one partition without making the next record wait: no more than it gathers in one request.
PARTITION_BYTES_MAX: Final = 192 * 1024
_PARTITION_BYTES_MIN: Final = 16 * 1024
_BYTES_MAX: Final = 4 * 1024 * 1024


class InFlight:
    """Times are monotonic seconds. A partition's clock starts when something of it is in flight, and again with each acknowledgement."""

    def __init__(self, partitions: int = 1) -> None:
        self._bytes_max = max(_PARTITION_BYTES_MIN, min(PARTITION_BYTES_MAX, _BYTES_MAX // max(1, partitions)))
        self._held: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._settled_at = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._held)

    def has_room(self, partition: int, size: int) -> bool:
        """Whether a record of this many bytes may be given to the client now. One always may be, however large."""
        held = self._held.get(partition, 0)
        return not held or held + size <= self._bytes_max

    def add(self, partition: int, size: int, now: float) -> None:
        """A record was given to the client."""
        self._since.setdefault(partition, now)
        self._held[partition] = self._held.get(partition, 0) + max(1, size)

    def settle(self, partition: int, size: int, now: float) -> None:
        """Kafka has acknowledged a record."""
        self._settled_at = now
        left = self._held.get(partition, 0) - max(1, size)
        if left > 0:
            self._held[partition] = left
            self._since[partition] = now
        else:
            self._held.pop(partition, None)
            self._since.pop(partition, None)

    def silent(self, now: float, seconds: float) -> list[int]:
        """Partitions that have had no acknowledgement for longer than this, although something of them is in flight."""
        return [partition for partition, since in self._since.items() if now - since > seconds]

    def silent_seconds(self, partition: int, now: float) -> float:
        """For how long the partition has had no acknowledgement; 0 when nothing of it is in flight."""
        since = self._since.get(partition)
        return 0.0 if since is None else now - since

    def any_moving(self, now: float, seconds: float) -> bool:
        """Whether something is in flight of a partition that has not been silent for longer than this."""
        return len(self.silent(now, seconds)) < len(self._since)

    def all_silent(self, now: float, seconds: float) -> bool:
        """Whether all that is in flight has had no acknowledgement for longer than this, and nothing else has had one since."""
        return bool(self._since) and now - self._settled_at > seconds and len(self.silent(now, seconds)) == len(self._since)

    def clear(self) -> None:
        """Nothing is in flight any more."""
        self._held.clear()
        self._since.clear()
