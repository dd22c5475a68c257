"""Idempotency keys: the first reply under a key is kept for 24 hours and given again.

Kept is what an endpoint answered once it had started, errors included; refused parameters, 401, 429 and conflicts are not.
"""

import hashlib
from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import ApiError, invalid
from taximeter_sandbox.stripe.http.forms import Pairs

KEY_LENGTH_MAX = 255
MEMORY_MS = 24 * 3_600_000


class StoredReply(NamedTuple):
    """A kept reply. A successful meter event is kept by its number (`event`) and its body made again when asked for."""

    path: str
    fingerprint: bytes
    stored_ms: int
    request_id: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    event: int | None


def fingerprint(pairs: Pairs) -> bytes:
    """16 bytes that distinguish parameters, regardless of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(pairs):
        digest.update(f"{len(name)}:{name}{len(value)}:{value}".encode())
    return digest.digest()


class IdempotencyStore:
    """Kept replies by key, oldest first, and the keys of calls in progress."""

    def __init__(self) -> None:
        self._replies: dict[str, StoredReply] = {}
        self._in_flight: set[str] = set()

    def __len__(self) -> int:
        return len(self._replies)

    def begin(self, key: str, path: str, marks: bytes, now_ms: int) -> StoredReply | None:
        """The kept reply, or None when this call is the first: then the key is in flight until `end`.

        Raises ApiError: 400 for other parameters, another endpoint or an impossible key, 409 while the first call is running.
        """
        if len(key) > KEY_LENGTH_MAX or not key.isascii():
            raise invalid(f"Idempotency keys can have at most {KEY_LENGTH_MAX} ASCII characters.")
        if key in self._in_flight:
            raise _in_use(key)
        self._expire(now_ms)
        stored = self._replies.get(key)
        if stored is None:
            self._in_flight.add(key)
            return None
        if stored.path != path:
            raise _mismatch(
                f"Keys for idempotent requests can only be used for the same endpoint they were first used for ('{path}' vs '{stored.path}').", key
            )
        if stored.fingerprint != marks:
            raise _mismatch("Keys for idempotent requests can only be used with the same parameters they were first used with.", key)
        return stored

    def end(self, key: str) -> None:
        """The call that `begin` let through is over."""
        self._in_flight.discard(key)

    def keep(self, key: str, reply: StoredReply) -> None:
        """Keep the reply of a call that `begin` let through."""
        self._replies[key] = reply

    def _expire(self, now_ms: int) -> None:
        while self._replies:
            oldest = next(iter(self._replies))
            if now_ms - self._replies[oldest].stored_ms < MEMORY_MS:
                return
            del self._replies[oldest]


def _mismatch(message: str, key: str) -> ApiError:
    text = f"{message} Try using a key other than '{key}' if you meant to execute a different request."
    return ApiError(400, text, outcome="idempotency_mismatch", kind="idempotency_error")


def _in_use(key: str) -> ApiError:
    return ApiError(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other "
        f"request is still going through): {key}. Try again later.",
        outcome="idempotency_key_in_use",
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )
