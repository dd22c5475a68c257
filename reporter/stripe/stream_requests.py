"""What goes into one request of Stripe's meter event stream. Pure: no I/O, no clock."""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeVar

import orjson

STREAM_EVENTS_MAX: Final = 100  # Stripe's limit for one request
STREAM_BODY_BYTES_MAX: Final = 128 * 1024  # Stripe documents none; 100 events of the usual size take a quarter of it
REMEMBERED_MAX: Final = 200_000


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event: its identifier, the idempotency key of the attempt, and its JSON."""

    identifier: str
    key: str
    encoded: bytes


class _HasEvent(Protocol):
    @property
    def event(self) -> StreamEvent: ...


T = TypeVar("T", bound=_HasEvent)


def encode_event(*, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int) -> bytes:
    """The event as the stream takes it. Times are RFC 3339 texts made here: the library encodes datetimes as numbers."""
    return orjson.dumps({"event_name": event_name, "payload": payload, "identifier": identifier, "timestamp": rfc3339(timestamp_s)})


def body_of(events: Sequence[StreamEvent]) -> bytes:
    """The request's body."""
    return b'{"events":[' + b",".join(event.encoded for event in events) + b"]}"


def request_key(events: Sequence[StreamEvent]) -> str:
    """The idempotency key of a request: the same for the same attempts of the same events in the same order, and for nothing else."""
    digest = hashlib.blake2b(digest_size=20)
    for event in events:
        digest.update(f"{len(event.key)}:{event.key}".encode())
    return f"tms-{digest.hexdigest()}"


@lru_cache(maxsize=4096)
def rfc3339(timestamp_s: int) -> str:
    """Unix seconds as `2026-11-22T10:00:00Z`."""
    return datetime.fromtimestamp(timestamp_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Gathered(Generic[T]):
    """Events that wait for a request, in order. Bounded by who adds them: each is a call of `send` that waits."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: T) -> None:
        """Put an event at the end."""
        self._waiting.append(item)

    def take(self) -> list[T]:
        """The next request's events: at most STREAM_EVENTS_MAX and, unless it is one alone, STREAM_BODY_BYTES_MAX."""
        taken: list[T] = []
        size = len(body_of(()))
        while self._waiting and len(taken) < STREAM_EVENTS_MAX:
            size += len(self._waiting[0].event.encoded) + 1
            if taken and size > STREAM_BODY_BYTES_MAX:
                break
            taken.append(self._waiting.popleft())
        return taken


class SentRequests:
    """Which identifiers went out under which idempotency key: the last `identifiers_max` of them."""

    def __init__(self, identifiers_max: int = REMEMBERED_MAX) -> None:
        self._identifiers_max = identifiers_max
        self._by_key: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._count = 0

    def note(self, key: str, events: Sequence[StreamEvent]) -> None:
        """A request goes out. The oldest are forgotten where there are too many."""
        if key in self._by_key:
            self._by_key.move_to_end(key)
            return
        self._by_key[key] = tuple(event.identifier for event in events)
        self._count += len(events)
        while self._count > self._identifiers_max and len(self._by_key) > 1:
            _, forgotten = self._by_key.popitem(last=False)
            self._count -= len(forgotten)

    def identifiers_of(self, key: str) -> tuple[str, ...]:
        """The identifiers that went out under a key; none for a key that is unknown or forgotten."""
        return self._by_key.get(key, ())
