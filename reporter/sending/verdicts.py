"""What Stripe's reply to one attempt means for the meter event. Pure: no I/O, no clock.

Every reply, and every way of getting none, becomes one of six verdicts:

    Delivered      Stripe has the event, from this attempt or from an earlier one
    Refused        Stripe will never take this event as it is
    MeterRefused   Stripe takes no event of this meter, as the meter is
    TooOld         Stripe takes no event of that age
    TryAgain       the same event may be sent again, under the same identifier
    StopTheWorld   no event would fare better: the key or the address is wrong
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

VERDICT_DETAIL_CHARS_MAX: Final = 300


class Retry(StrEnum):
    """Why an attempt is repeated: a label of the metrics."""

    RATE_LIMITED = "rate_limited"
    LOCK_TIMEOUT = "lock_timeout"
    CONCURRENT = "concurrent"  # another meter event of this customer and meter is being taken in
    KEY_IN_USE = "idempotency_key_in_use"  # an earlier attempt is still being worked on
    KEY_REUSED = "idempotency_key_reused"  # the idempotency key was used with other parameters
    IN_FUTURE = "timestamp_in_future"
    SERVER_ERROR = "server_error"
    ASKED_TO = "asked_to_retry"
    NOT_UNDERSTOOD = "not_understood"  # an answer, but not one of Stripe's
    UNREACHABLE = "unreachable"  # no connection, so nothing was sent
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    UNEXPECTED = "unexpected"  # the client library failed in an unforeseen way


@dataclass(frozen=True, slots=True)
class Delivered:
    """Stripe has the event. `duplicate`: it had it before this attempt."""

    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """This event only, and for good. `code` is Stripe's, or its error type where it gives no code."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MeterRefused:
    """No event of this meter fares better, until a person changes the meter at Stripe or in the settings: it is inactive, unknown to this
    account and mode, or reads other payload keys. `maybe_arrived`: an earlier request had the event, and may have been taken in part.
    """

    code: str
    message: str
    maybe_arrived: bool = False

    @property
    def reason(self) -> str:
        """In a few words, as Stripe says it."""
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class TooOld:
    """Stripe says that the event's timestamp is too far in the past."""

    message: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Send it again later, with the same identifier.

    `rate_limited`: a limit on all calls was hit, not one of this event's. `concurrency_limited`: that limit is on the calls under way at
    once, and not on their rate. `maybe_arrived`: Stripe may have taken the event all the same. `rotate_key`: the reply may be kept under the
    idempotency key, so the next attempt needs another key to be looked at at all.
    """

    reason: Retry
    detail: str = ""
    rate_limited: bool = False
    concurrency_limited: bool = False
    maybe_arrived: bool = False
    rotate_key: bool = False


@dataclass(frozen=True, slots=True)
class StopTheWorld:
    """The same would happen to every event, until a human acts."""

    reason: str


Verdict = Delivered | Refused | MeterRefused | TooOld | TryAgain | StopTheWorld


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply, as far as it was understood.

    `recognised`: the body is Stripe's own (the meter event on 2xx, an error object otherwise) and not, say, a proxy's HTML page.
    `headers` are looked up by Stripe's spelling; a case-insensitive mapping is expected.
    """

    status: int
    recognised: bool = True
    error_type: str | None = None
    code: str | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    param: str = ""


METER_CODES: Final = frozenset(
    {
        "archived_meter",
        "no_meter",
        # What we send has a customer and a value, under the keys of the settings: a meter that finds none reads other keys.
        "payload_no_customer_defined",
        "payload_no_value_defined",
        "meter_event_no_customer_defined",
        "meter_event_value_not_found",
    }
)
"""Stripe's codes, at once or in an error report, for what is wrong with a meter and not with a meter event."""

# Version 1 of the API gives these no code. From the beginning only: further on a message may repeat what a customer sent.
_METER_MESSAGE: Final = re.compile(
    r"No active meter found\b|No such (?:billing )?meter\b|No meter (?:is |was )?found\b|There is no (?:active )?meter\b"
    r"|(?:The|This) meter (?:must be|is not|is already|is) (?:active|inactive|archived|deactivated)\b",
    re.IGNORECASE,
)
_PAYLOAD_KEY: Final = re.compile(r"payload\[.+\]|payload\..+")
_DUPLICATE_CODE: Final = "duplicate_meter_event"
# Version 1 of the API gives a duplicate no code: its wording is all there is.
_DUPLICATE_MESSAGE: Final = re.compile(r"An event already exists with identifier\b")
# Replies of 4xx that speak of the key or the account, and would be the same for any event.
_ACCOUNT_CODES: Final = frozenset({"api_key_expired", "platform_api_key_expired", "secret_key_required", "account_invalid"})


def classify(reply: Reply) -> Verdict:
    """The verdict on an attempt that was answered."""
    if reply.status in {401, 403} or reply.code in _ACCOUNT_CODES:
        return StopTheWorld(_described(reply))
    if 300 <= reply.status < 400:
        return StopTheWorld(f"the address redirects (HTTP {reply.status}); Stripe's API does not")
    if not reply.recognised:
        return _classify_stranger(reply)
    if 200 <= reply.status < 300:
        return Delivered()
    if reply.code == _DUPLICATE_CODE or _DUPLICATE_MESSAGE.match(reply.message):
        return Delivered(duplicate=True)
    return _classify_contention(reply) or _classify_failure(reply) or _classify_refusal(reply)


def _classify_stranger(reply: Reply) -> Verdict:
    """An answer that Stripe's API would not give: from a proxy, a load balancer or a wrong address."""
    detail = f"HTTP {reply.status}"
    if reply.status == 404:
        return StopTheWorld("HTTP 404 without an error object: the address is not Stripe's API")
    if reply.status == 429:
        return TryAgain(Retry.RATE_LIMITED, detail, rate_limited=True)
    if reply.status >= 500:
        # A gateway's error: the API behind it may still be at work on the event, and keeps its reply under the key. So no new key.
        return TryAgain(Retry.SERVER_ERROR, detail, maybe_arrived=True, rotate_key=_is_replayed(reply))
    return TryAgain(Retry.NOT_UNDERSTOOD, detail, maybe_arrived=True)


def _classify_contention(reply: Reply) -> TryAgain | None:
    """Replies that say: not now. All but the first are given before the event is looked at."""
    if reply.code == "idempotency_key_in_use":
        return TryAgain(Retry.KEY_IN_USE, maybe_arrived=True)
    if reply.code == "lock_timeout":
        return TryAgain(Retry.LOCK_TIMEOUT)
    if reply.code == "too_many_concurrent_requests":
        return TryAgain(Retry.CONCURRENT)
    limit = reply.headers.get("Stripe-Rate-Limited-Reason", "")
    if reply.status == 429 or "rate_limit" in {reply.code, reply.error_type}:
        # Without a reason it was not a limiter that spoke, unless the code says so. A limit on one resource is for its own lane to respect.
        limited = limit != "resource-specific" and (bool(limit) or "rate_limit" in {reply.code, reply.error_type})
        return TryAgain(Retry.RATE_LIMITED, limit or _described(reply), rate_limited=limited, concurrency_limited=limit.endswith("-concurrency"))
    return None


def _classify_failure(reply: Reply) -> TryAgain | None:
    """Replies after which nobody can say what became of the event."""
    if reply.error_type == "idempotency_error":
        return TryAgain(Retry.KEY_REUSED, _described(reply), maybe_arrived=True, rotate_key=True)
    if reply.status >= 500:
        return TryAgain(Retry.SERVER_ERROR, _described(reply), maybe_arrived=True, rotate_key=True)
    if reply.status in {408, 409, 425} or reply.headers.get("Stripe-Should-Retry") == "true":
        return TryAgain(Retry.ASKED_TO, _described(reply), maybe_arrived=True, rotate_key=_is_replayed(reply))
    return None


def _classify_refusal(reply: Reply) -> Verdict:
    """What is left: 4xx about the event itself."""
    if reply.code == "timestamp_too_far_in_past":
        return TooOld(_clipped(reply.message))
    if reply.code == "timestamp_in_future":
        # Waiting cures it: clocks differ, and the event is minutes ahead at most.
        return TryAgain(Retry.IN_FUTURE, _clipped(reply.message), rotate_key=True)
    if _speaks_of_meter(reply):
        # A kept reply is about the meter as it was, and says that nothing was taken.
        if _is_replayed(reply):
            return TryAgain(Retry.ASKED_TO, _described(reply), rotate_key=True)
        return MeterRefused(reply.code or "no_meter", _clipped(reply.message))
    if reply.status == 404 and reply.code != "resource_missing":
        return StopTheWorld(_described(reply))
    return Refused(reply.code or reply.error_type or f"http_{reply.status}", _clipped(reply.message))


def _speaks_of_meter(reply: Reply) -> bool:
    if reply.code in METER_CODES or _METER_MESSAGE.match(reply.message):
        return True
    return (
        reply.code in {"parameter_missing", None} and bool(_PAYLOAD_KEY.fullmatch(reply.param)) and reply.message.startswith("Missing required param")
    )


def unreachable(detail: str) -> TryAgain:
    """No connection was made: the event certainly did not arrive."""
    return TryAgain(Retry.UNREACHABLE, _clipped(detail))


def interrupted(reason: Retry, detail: str) -> TryAgain:
    """A connection was made and no whole answer came: the event may have arrived."""
    return TryAgain(reason, _clipped(detail), maybe_arrived=True)


def _is_replayed(reply: Reply) -> bool:
    return reply.headers.get("Idempotent-Replayed") == "true"


def _described(reply: Reply) -> str:
    name = reply.code or reply.error_type
    return _clipped(f"HTTP {reply.status}" + (f" {name}" if name else "") + (f": {reply.message}" if reply.message else ""))


def _clipped(text: str) -> str:
    return text if len(text) <= VERDICT_DETAIL_CHARS_MAX else text[: VERDICT_DETAIL_CHARS_MAX - 3] + "..."
