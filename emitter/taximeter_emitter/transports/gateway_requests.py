"""Which batches go into the next request to a gateway. Pure.

One request at a time has batches of a partition, so they arrive in their order. After a failure a partition goes alone, a batch a request, until one
is acknowledged. So it keeps no other waiting, and a batch for which whole requests are refused is found.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

REQUESTS_MAX: Final = 4
"""Under way at once; one of them is never of a partition that goes alone."""

_REQUEST_BYTES: Final = 512 * 1024


@dataclass(slots=True, eq=False)
class WaitingBatch:
    """The bytes of a batch, the secret of its emitter, and what is waited for."""

    partition: int
    value: bytes
    secret: str
    done: "asyncio.Future[object]"


class GatewayRequests:
    """`batches_max` and `bytes_max`: of a request. Times are monotonic seconds."""

    def __init__(self, *, batches_max: int, bytes_max: int) -> None:
        self._batches_max = batches_max
        self._bytes_max = min(bytes_max, _REQUEST_BYTES)
        self._waiting: dict[int, deque[WaitingBatch]] = {}
        self._under_way: dict[int, list[WaitingBatch]] = {}
        self._alone: set[int] = set()
        self._not_before: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._under_way)

    def everything(self) -> list[WaitingBatch]:
        """All that is not settled."""
        return [batch for batches in (*self._under_way.values(), *self._waiting.values()) for batch in batches]

    def put(self, batch: WaitingBatch) -> None:
        """Queue a batch behind all others of its partition."""
        self._waiting.setdefault(batch.partition, deque()).append(batch)

    def next(self, now: float) -> list[WaitingBatch]:
        """The batches of the next request, all of one emitter's secret; none if nothing may be sent now. They are under way until `settle`."""
        chosen: list[WaitingBatch] = []
        size = 0
        for partition in list(self._waiting):
            if not self._may_go(partition, now, others=bool(chosen)):
                continue
            queue = self._waiting[partition]
            taken: list[WaitingBatch] = []
            while queue and self._fits(chosen, queue[0], size):
                size += len(queue[0].value) + 1
                taken.append(queue.popleft())
                chosen.append(taken[-1])
                if partition in self._alone:
                    break
            if taken:
                self._under_way[partition] = taken
                del self._waiting[partition]
                if queue:
                    self._waiting[partition] = queue  # its turn comes again after all others'
            if partition in self._alone:
                break
        return chosen

    def settle(self, batches: Sequence[WaitingBatch], *, again: Collection[WaitingBatch] = (), not_before: float = 0.0) -> None:
        """The request with these is answered. Those of `again` go again, alone, and not before this time; the others are done."""
        for partition in dict.fromkeys(batch.partition for batch in batches):
            back = [batch for batch in self._under_way.pop(partition, ()) if batch in again]
            if back:
                self._alone.add(partition)
                self._not_before[partition] = not_before
                self._waiting.setdefault(partition, deque()).extendleft(reversed(back))
            else:
                self._alone.discard(partition)
                self._not_before.pop(partition, None)

    def wait_seconds(self, now: float) -> float | None:
        """How long until a partition may go again that has to wait; None if there is none."""
        waits = [at - now for partition, at in self._not_before.items() if partition in self._waiting and at > now]
        return min(waits, default=None)

    def _may_go(self, partition: int, now: float, *, others: bool) -> bool:
        if partition in self._under_way or self._not_before.get(partition, now) > now:
            return False
        return partition not in self._alone or (not others and len(self._alone & self._under_way.keys()) < REQUESTS_MAX - 1)

    def _fits(self, chosen: Sequence[WaitingBatch], batch: WaitingBatch, size: int) -> bool:
        if not chosen:
            return True
        return batch.secret == chosen[0].secret and len(chosen) < self._batches_max and size + len(batch.value) < self._bytes_max


def body_of(batches: Iterable[WaitingBatch]) -> bytes:
    """A batch a line."""
    return b"\n".join(batch.value for batch in batches)
