"""What Stripe posts to a webhook endpoint: whose signature it bears and what it says. Pure: the time is an argument.

Two kinds arrive. A *snapshot* event carries the object it is about. A *thin* notification carries only its type and the object it is
about; what happened is fetched by its id. Stripe delivers both at least once, in any order, and again until it gets a 2xx.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from metering.configuration.secrets import Secret

WEBHOOK_BYTES_MAX: Final = 512 * 1024
TOLERANCE_S: Final = 300  # Stripe's own
HEADER_CHARS_MAX: Final = 4096
_ID: Final = re.compile(r"evt_[0-9A-Za-z_]{1,200}\Z", re.ASCII)


class WebhookRefused(Exception):
    """The request is not a webhook of Stripe's that this endpoint takes; `reason` is a label of the metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One delivery. `created_s` in Unix seconds; `document` is the whole body; `thin` if what happened must be fetched."""

    id: str
    type: str
    created_s: int
    thin: bool
    livemode: bool
    document: Mapping[str, Any]


def verify_signature(body: bytes, header: str, secrets: Sequence[Secret], now_s: int, tolerance_s: int = TOLERANCE_S) -> None:
    """Check the `Stripe-Signature` header against each secret (two while one is being replaced). Raises WebhookRefused.

    The header is `t=UNIX,v1=HEX[,v1=HEX...]`, the signature HMAC-SHA256 over `t.body` (docs.stripe.com/webhooks, "Verify manually").
    """
    signed_at, signatures = _parsed_header(header)
    expected = [_signature(body, signed_at, secret) for secret in secrets]
    if not any(hmac.compare_digest(one, given) for one in expected for given in signatures):
        raise WebhookRefused("bad_signature", "no signature in Stripe-Signature matches; is this the endpoint's own signing secret?")
    if signed_at < now_s - tolerance_s:
        raise WebhookRefused("too_old", f"signed {now_s - signed_at} s ago, at most {tolerance_s} s are allowed; is this machine's clock right?")


def parse_webhook(body: bytes) -> WebhookEvent:
    """Read a delivery. Raises WebhookRefused."""
    try:
        document = orjson.loads(body)
        identity, kind, created = document["id"], document["type"], document["created"]
        thin = document["object"] == "v2.core.event"
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise WebhookRefused("malformed", f"not an event of Stripe's: {error!r}") from error
    if not isinstance(identity, str) or not _ID.match(identity) or not isinstance(kind, str) or not 0 < len(kind) <= 200:
        raise WebhookRefused("malformed", "not an event of Stripe's: id or type is not as Stripe writes it")
    return WebhookEvent(identity, kind, _seconds(created), thin, document.get("livemode") is True, document)


def _parsed_header(header: str) -> tuple[int, list[str]]:
    pairs = [part.strip().partition("=") for part in header[:HEADER_CHARS_MAX].split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1" and value.isascii()]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,15}", times[0], re.ASCII) or not signatures:
        raise WebhookRefused("no_signature", "no usable Stripe-Signature header: is it really Stripe that calls?")
    return int(times[0]), signatures


def _signature(body: bytes, signed_at: int, secret: Secret) -> str:
    return hmac.new(secret.reveal().encode(), f"{signed_at}.".encode() + body, hashlib.sha256).hexdigest()


def _seconds(created: object) -> int:
    """Unix seconds of a snapshot's integer or a thin notification's RFC 3339 text; 0 where it is neither."""
    if isinstance(created, int):
        return created
    if isinstance(created, str):
        try:
            return int(datetime.fromisoformat(created).timestamp())
        except (ValueError, OverflowError):
            return 0
    return 0
