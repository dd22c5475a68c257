"""What Stripe tells webhook endpoints: every event that happened, of both kinds, and its way to each destination.

Each step is in the journal (entries `notice.*`): the notification, who is owed it, and what came of each attempt. An attempt that a
kill cut off is made again, so a destination may get an event twice. While a journal is replayed, no new notification is made: what
happened then is in the journal itself.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import NamedTuple, Protocol

import orjson

from taximeter_sandbox.stripe.state.account_port import AccountPort
from taximeter_sandbox.stripe.state.journal import Entry
from taximeter_sandbox.stripe.state.records import restored
from taximeter_sandbox.stripe.webhooks.deliveries import AttemptRecord, Delivery, DeliveryQueue, Webhooks, retry_wait_ms
from taximeter_sandbox.stripe.webhooks.destinations import Destination, Destinations, Payload, rolled
from taximeter_sandbox.stripe.webhooks.event_log import (
    Cause,
    EventLog,
    LoggedEvent,
    Related,
    SnapshotEvent,
    ThinEvent,
    snapshot_object,
    thin_notification,
)
from taximeter_sandbox.stripe.webhooks.signatures import signature_header

PING = "v2.core.event_destination.ping"


class NotificationPort(AccountPort, Protocol):
    """What notifications ask of the account."""

    @property
    def webhooks(self) -> Webhooks:
        """How deliveries go."""

    @property
    def webhook_draws(self) -> random.Random:
        """What delays and copies are drawn from."""

    @property
    def destinations(self) -> Destinations:
        """Who is notified."""


class Attempt(NamedTuple):
    """One POST to make."""

    delivery: Delivery
    url: str
    body: bytes
    signature: str


class Notifications:
    """Takes what happened; destinations get it from here."""

    def __init__(self, account: NotificationPort) -> None:
        self._account = account
        self._cause = Cause()
        self.log = EventLog()
        self.queue = DeliveryQueue()

    # What happened

    def snapshot(self, kind: str, about: dict[str, object], now_ms: int, previous: dict[str, object] | None = None) -> None:
        """An event that carries the object it is about, as the API shows it, and of what changed the values before."""
        if self._account.replaying:
            return
        before = None if previous is None else orjson.dumps(previous)
        event_id = "evt_" + self._account.identities.token(24)
        self._happened(SnapshotEvent(event_id, kind, now_ms, about.get("livemode") is True, self._cause, orjson.dumps(about), before), now_ms)

    def thin(self, kind: str, related: Related | None, data: dict[str, object], now_ms: int, *, livemode: bool = False) -> None:
        """An event whose `data` is fetched by its id."""
        if not self._account.replaying:
            self._happened(self._thin_event(kind, related, data, now_ms, livemode=livemode), now_ms)

    def ping(self, destination: Destination, now_ms: int) -> ThinEvent:
        """An event for one destination, regardless of what it listens to."""
        related = Related(destination.id, "v2.core.event_destination", f"/v2/core/event_destinations/{destination.id}")
        event = self._thin_event(PING, related, {}, now_ms, livemode=destination.livemode)
        self._keep(event)
        self._owe(event, destination, now_ms)
        return event

    @contextmanager
    def caused_by(self, cause: Cause) -> Iterator[None]:
        """Events that happen inside name this call as their cause."""
        before, self._cause = self._cause, cause
        try:
            yield
        finally:
            self._cause = before

    def _thin_event(self, kind: str, related: Related | None, data: dict[str, object], now_ms: int, *, livemode: bool) -> ThinEvent:
        event_id = ("evt_" if livemode else "evt_test_") + self._account.identities.token(50)
        return ThinEvent(event_id, kind, now_ms, livemode, self._cause, related, orjson.dumps(data))

    def _happened(self, event: LoggedEvent, now_ms: int) -> None:
        self._keep(event)
        for destination in self._account.destinations:
            if destination.wants(_payload_of(event), event.type):
                self._owe(event, destination, now_ms)

    def _keep(self, event: LoggedEvent) -> None:
        self.log.add(event)
        about = [event.id, event.type, event.created_ms, event.livemode, list(event.cause)]
        if isinstance(event, SnapshotEvent):
            self._account.note(["notice.snapshot", *about, event.about.decode(), None if event.previous is None else event.previous.decode()])
        else:
            self._account.note(["notice.thin", *about, None if event.related is None else list(event.related), event.data.decode()])

    def _owe(self, event: LoggedEvent, destination: Destination, now_ms: int) -> None:
        settings, draws = self._account.webhooks, self._account.webhook_draws
        for _ in range(settings.sample_copies(draws)):
            delivery = Delivery(self.queue.next_number, event.id, destination.id, 0, now_ms + settings.sample_delay_ms(draws))
            if self.queue.add(delivery):
                self._account.note(["notice.owed", *delivery])

    # Destinations

    def put_destination(self, destination: Destination) -> None:
        """Add a destination, or a new version of one."""
        self._account.destinations.put(destination)
        self._account.note(["notice.destination", asdict(destination)])

    def remove_destination(self, destination_id: str) -> None:
        """Forget a destination and what it is owed."""
        self._account.destinations.remove(destination_id)
        self.queue.forget_destination(destination_id)
        self._account.note(["notice.removed", destination_id])

    def roll_secret(self, destination: Destination, now_ms: int, overlap_ms: int) -> str:
        """A new signing secret; the present ones sign beside it for a while."""
        secret = self.new_secret()
        self.put_destination(rolled(destination, secret, now_ms, overlap_ms))
        return secret

    def new_secret(self) -> str:
        """A `whsec_...`."""
        return "whsec_" + self._account.identities.token(32)

    # Deliveries

    def take_due(self, now_ms: int, real_s: int) -> list[Attempt]:
        """What to post now (simulated ms, and Unix seconds of real time). `attempted` must be called for each."""
        self.expire(now_ms)
        settings = self._account.webhooks
        signed_at_s = real_s if settings.signed_at == "real" else now_ms // 1000
        attempts: list[Attempt] = []
        while due := self.queue.take_due(now_ms, settings.connections):  # again, where one that cannot be made left room for the next
            attempts += filter(None, (self._prepare(delivery, now_ms, signed_at_s) for delivery in due))
        return attempts

    def _prepare(self, delivery: Delivery, now_ms: int, signed_at_s: int) -> Attempt | None:
        destination, event = self._account.destinations.find(delivery.destination_id), self.log.get(delivery.event_id)
        if destination is None or event is None or not destination.enabled:
            self._record(delivery, now_ms, None, "event_expired" if event is None else "destination_disabled", None)
            return None
        body = self._body(event, destination)
        return Attempt(delivery, destination.url, body, signature_header(body, destination.signing(now_ms), signed_at_s))

    def attempted(self, delivery: Delivery, at_ms: int, status: int | None, error: str | None) -> None:
        """What came of an attempt: a status, or why there is none. Anything but 2xx is tried again, until the tries are used up."""
        destination = self._account.destinations.find(delivery.destination_id)
        delivered = status is not None and 200 <= status < 300
        wait_ms = None
        if not delivered and destination is not None:
            wait_ms = retry_wait_ms(delivery.attempts + 1, self._account.webhooks.retry_scale, livemode=destination.livemode)
        self._record(delivery, at_ms, status, error, None if wait_ms is None else at_ms + wait_ms)

    def expire(self, now_ms: int) -> None:
        """Forget the events that are too old to be asked for."""
        self.log.expire(now_ms, self.queue.pending_of)

    def resend(self, event: LoggedEvent, now_ms: int) -> int:
        """Deliver an event again to every destination that wants it; returns how many do."""
        wanting = [destination for destination in self._account.destinations if destination.wants(_payload_of(event), event.type)]
        for destination in wanting:
            self._owe(event, destination, now_ms)
        return len(wanting)

    def _record(self, delivery: Delivery, at_ms: int, status: int | None, error: str | None, next_ms: int | None) -> None:
        event = self.log.get(delivery.event_id)
        kind = "" if event is None else event.type
        record = AttemptRecord(
            delivery.number, delivery.event_id, kind, delivery.destination_id, delivery.attempts + 1, at_ms, status, error, next_ms
        )
        self.queue.settle(record)
        self._account.note(["notice.attempt", *record])

    def _body(self, event: LoggedEvent, destination: Destination) -> bytes:
        if isinstance(event, ThinEvent):
            return orjson.dumps(thin_notification(event))
        return orjson.dumps(snapshot_object(event, self.queue.pending_of(event.id), destination.api_version), option=orjson.OPT_INDENT_2)

    # Coming back after a restart

    def apply(self, entry: Entry) -> None:
        """Make a change again that an earlier process noted. Raises ValueError for an unknown one.

        What led to an event happened before it, so the account is brought to that time first: it must not happen, and be notified, again.
        """
        match entry:
            case ["notice.snapshot", identity, kind, created_ms, livemode, cause, about, previous]:
                self._account.advance(created_ms)
                before = None if previous is None else previous.encode()
                self.log.add(SnapshotEvent(identity, kind, created_ms, livemode, Cause(*cause), about.encode(), before))
            case ["notice.thin", identity, kind, created_ms, livemode, cause, related, data]:
                self._account.advance(created_ms)
                about = None if related is None else Related(*related)
                self.log.add(ThinEvent(identity, kind, created_ms, livemode, Cause(*cause), about, data.encode()))
            case ["notice.owed", *fields]:
                self.queue.add(Delivery(*fields))
            case ["notice.attempt", *fields]:
                self.queue.settle(AttemptRecord(*fields))
            case ["notice.destination", fields]:
                self._account.destinations.put(restored(Destination, fields))
            case ["notice.removed", destination_id]:
                self.remove_destination(destination_id)
            case _:
                raise ValueError(f"journal: unknown entry {str(entry[0])[:40]!r}")


def _payload_of(event: LoggedEvent) -> Payload:
    return "thin" if isinstance(event, ThinEvent) else "snapshot"
