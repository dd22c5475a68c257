"""What happened on the account: every event of both kinds, in order, as far back as Stripe can still be asked for it.

A *snapshot* event carries an object as it was at that moment. A *thin* event is announced by its type and by whom it is about; its
`data` is fetched by its id. Sources: stripe.Event and stripe.v2.core.Event of stripe-python 16.1.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import orjson

from taximeter_sandbox.stripe.http.rfc3339 import rfc3339

API_VERSION = "2026-10-28.endive"  # of the account: in it events are rendered where a destination does not name another
KEPT_MS = 30 * 86_400_000
EVENTS_MAX = 50_000


class Related(NamedTuple):
    """The object that a thin notification is about: its id, its type (`billing.meter`) and its URL (`/v1/billing/meters/mtr_1`)."""

    id: str
    type: str
    url: str


class Cause(NamedTuple):
    """The call that caused an event; nothing where it happened by itself."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotEvent:
    """`about` and `previous` (what changed, as it was before) are JSON."""

    id: str
    type: str
    created_ms: int
    livemode: bool
    cause: Cause
    about: bytes
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class ThinEvent:
    """`data` is JSON."""

    id: str
    type: str
    created_ms: int
    livemode: bool
    cause: Cause
    related: Related | None
    data: bytes


LoggedEvent: TypeAlias = SnapshotEvent | ThinEvent


class EventLog:
    """Events by id, oldest first. Older than KEPT_MS, or more than EVENTS_MAX: the oldest are forgotten."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, LoggedEvent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: LoggedEvent) -> None:
        """Keep an event."""
        self._events[event.id] = event
        if len(self._events) > EVENTS_MAX:
            self._events.popitem(last=False)

    def expire(self, now_ms: int, owed: Callable[[str], object]) -> None:
        """Forget what is too old to be asked for. An event that is `owed` to a destination stays, and so do those after it."""
        while self._events:
            oldest = next(iter(self._events.values()))
            if now_ms - oldest.created_ms < KEPT_MS or owed(oldest.id):
                return
            self._events.popitem(last=False)

    def get(self, event_id: str) -> LoggedEvent | None:
        """The event, while it is kept."""
        return self._events.get(event_id)

    def snapshots(self) -> Iterator[SnapshotEvent]:
        """The snapshot events, newest first."""
        return (event for event in reversed(self._events.values()) if isinstance(event, SnapshotEvent))

    def thin(self) -> Iterator[ThinEvent]:
        """The thin events, newest first."""
        return (event for event in reversed(self._events.values()) if isinstance(event, ThinEvent))


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """What an event shows as `previous_attributes`: the fields of an object that changed, as they were."""
    return {name: value for name, value in before.items() if after.get(name) != value}


def snapshot_object(event: SnapshotEvent, pending_webhooks: int, api_version: str | None = None) -> dict[str, object]:
    """The `event` that the API shows and that is delivered."""
    data: dict[str, object] = {"object": orjson.Fragment(event.about)}
    if event.previous is not None:
        data["previous_attributes"] = orjson.Fragment(event.previous)
    return {
        "id": event.id,
        "object": "event",
        "api_version": api_version or API_VERSION,
        "created": event.created_ms // 1000,
        "data": data,
        "livemode": event.livemode,
        "pending_webhooks": pending_webhooks,
        "request": {"id": event.cause.request_id, "idempotency_key": event.cause.idempotency_key},
        "type": event.type,
    }


def thin_notification(event: ThinEvent) -> dict[str, object]:
    """The `v2.core.event` that is delivered: without its data."""
    shown: dict[str, object] = {
        "id": event.id,
        "object": "v2.core.event",
        "type": event.type,
        "created": rfc3339(event.created_ms),
        "livemode": event.livemode,
    }
    if event.cause.request_id is not None:
        shown["reason"] = {"type": "request", "request": {"id": event.cause.request_id, "idempotency_key": event.cause.idempotency_key or ""}}
    if event.related is not None:
        shown["related_object"] = event.related._asdict()
    return shown


def thin_object(event: ThinEvent) -> dict[str, object]:
    """The `v2.core.event` that the API shows: with its data."""
    return {"context": None, "reason": None, **thin_notification(event), "data": orjson.Fragment(event.data)}
