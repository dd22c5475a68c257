"""Where events are delivered: webhook endpoints made under /v1 and event destinations made under /v2.

A destination takes snapshot events or thin ones, never both. Its signing secret is shown once, when it is made. A secret that was
replaced signs beside the new one until its time is over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, no_such, refused
from taximeter_sandbox.stripe.http.rfc3339 import rfc3339

Payload: TypeAlias = Literal["snapshot", "thin"]
DESTINATIONS_MAX = 16  # of each kind, as in Stripe
URL_CHARS_MAX = 2048
SECRETS_MAX = 4
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ENDPOINT_PREFIX, DESTINATION_PREFIX = "we_", "ed_"


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A `whsec_...` and until when (simulated ms) it signs; None for the present one."""

    text: str = field(repr=False)
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Destination:
    """One receiver. `id` is `we_...` when made under /v1, `ed_...` when made under /v2; secrets are newest first."""

    id: str
    payload: Payload
    url: str
    enabled_events: tuple[str, ...]
    enabled: bool
    livemode: bool
    created_ms: int
    updated_ms: int
    name: str
    description: str | None
    metadata: tuple[tuple[str, str], ...]
    api_version: str | None
    secrets: tuple[SigningSecret, ...]

    def wants(self, payload: Payload, kind: str) -> bool:
        """Whether an event of this kind is delivered here."""
        return self.enabled and payload == self.payload and (kind in self.enabled_events or "*" in self.enabled_events)

    def signing(self, now_ms: int) -> list[str]:
        """The secrets that sign at this time, newest first."""
        return [secret.text for secret in self.secrets if secret.until_ms is None or now_ms < secret.until_ms]


def rolled(destination: Destination, secret: str, now_ms: int, overlap_ms: int) -> Destination:
    """The destination with a new secret; those it had sign for `overlap_ms` more at most."""
    until_ms = now_ms + overlap_ms
    older = [replace(known, until_ms=until_ms if known.until_ms is None else min(known.until_ms, until_ms)) for known in destination.secrets]
    still = [known for known in older if known.until_ms is not None and known.until_ms > now_ms]
    return replace(destination, secrets=(SigningSecret(secret, None), *still[: SECRETS_MAX - 1]), updated_ms=now_ms)


class Destinations:
    """The destinations of the account, oldest first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Destination] = {}

    def __iter__(self) -> Iterator[Destination]:
        return iter(self._by_id.values())

    def find(self, identity: str) -> Destination | None:
        """The destination, or None."""
        return self._by_id.get(identity)

    def get(self, identity: str, prefix: str) -> Destination:
        """The destination, whose id begins with `prefix`. Raises ApiError (404)."""
        destination = self._by_id.get(identity)
        if destination is not None and identity.startswith(prefix):
            return destination
        if prefix == ENDPOINT_PREFIX:
            raise no_such("webhook endpoint", identity)
        raise ApiError(404, f"Event destination {identity} not found.", outcome="resource_missing", code="not_found")

    def of(self, prefix: str) -> list[Destination]:
        """The destinations whose ids begin with `prefix`, newest first."""
        return [destination for destination in self if destination.id.startswith(prefix)][::-1]

    def make_room(self, prefix: str) -> None:
        """Raises ApiError (400) when there are as many as Stripe allows."""
        if len(self.of(prefix)) >= DESTINATIONS_MAX:
            raise refused(f"You have reached the maximum of {DESTINATIONS_MAX} webhook endpoints.", outcome="too_many_destinations")

    def put(self, destination: Destination) -> None:
        """Add a destination, or a new version of one."""
        self._by_id[destination.id] = destination

    def remove(self, identity: str) -> None:
        """Forget a destination."""
        self._by_id.pop(identity, None)


def checked_url(url: str, param: str, *, livemode: bool) -> str:
    """The URL. Raises ApiError (400) for one that cannot be posted to. Live mode wants https, except on this machine, which Stripe cannot reach."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid("Invalid URL: the port or the host is malformed.", param, "url_invalid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isascii() or any(ord(letter) <= 32 for letter in url):
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", param, "url_invalid")
    if livemode and parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise invalid("Invalid URL: in live mode, webhooks are only sent to https URLs.", param, "url_invalid")
    return url


def endpoint_object(destination: Destination, secret: str | None = None) -> dict[str, object]:
    """The `webhook_endpoint` that /v1 shows; with its secret only when it is made."""
    shown: dict[str, object] = {
        "id": destination.id,
        "object": "webhook_endpoint",
        "api_version": destination.api_version,
        "application": None,
        "created": destination.created_ms // 1000,
        "description": destination.description,
        "enabled_events": list(destination.enabled_events),
        "livemode": destination.livemode,
        "metadata": dict(destination.metadata),
        "status": "enabled" if destination.enabled else "disabled",
        "url": destination.url,
    }
    return shown if secret is None else {**shown, "secret": secret}


def destination_object(destination: Destination, include: frozenset[str] = frozenset(), secret: str | None = None) -> dict[str, object]:
    """The `v2.core.event_destination` that /v2 shows, with the fields of the endpoint that the call asked for."""
    webhook: dict[str, object] = {}
    if "webhook_endpoint.url" in include:
        webhook["url"] = destination.url
    if "webhook_endpoint.signing_secret" in include and secret is not None:
        webhook["signing_secret"] = secret
    return {
        "id": destination.id,
        "object": "v2.core.event_destination",
        "created": rfc3339(destination.created_ms),
        "description": destination.description or "",
        "enabled_events": list(destination.enabled_events),
        "event_payload": destination.payload,
        "events_from": ["@self"],
        "livemode": destination.livemode,
        "metadata": dict(destination.metadata),
        "name": destination.name,
        "snapshot_api_version": destination.api_version,
        "status": "enabled" if destination.enabled else "disabled",
        "status_details": None if destination.enabled else {"disabled": {"reason": "user"}},
        "type": "webhook_endpoint",
        "updated": rfc3339(destination.updated_ms),
        "webhook_endpoint": webhook or None,
    }
