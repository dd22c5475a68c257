"""Values that must never be printed, and a filter that keeps them out of texts from elsewhere."""

import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

MASK = "[redacted]"
# Shorter values occur in ordinary words. Masking them would make the log unreadable and give them away.
SECRET_CHARS_MIN = 4

_PATTERNS = (
    # Stripe's keys and webhook secrets name themselves.
    re.compile(r"\b(?:sk|rk)_(?:test|live)_[A-Za-z0-9_]+|\bwhsec_[A-Za-z0-9_+/=]+"),
    # HTTP credentials.
    re.compile(r"(?i)(?<=\bbearer )[^\s\"',]+|(?<=\bbasic )[A-Za-z0-9+/=]{8,}"),
    # The password of scheme://user:password@host.
    re.compile(r"(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"),
    # password=..., "api_key": "...", and the like.
    re.compile(r"(?i)\b(?:[a-z]+_)*(?:password|passwd|secret|api_?key)[\"']?\s*[=:]\s*(?:\"[^\"]*\"|'[^']*'|[^\s,;}\"']+)"),
)


class Secret:
    """A text that shows as a mask wherever it is printed, formatted or logged. Only `reveal()` returns it.

    `file`: where it was read from, if it has a file of its own.
    """

    __slots__ = ("_value", "file")

    def __init__(self, value: str, *, file: Path | None = None) -> None:
        self._value = value
        self.file = file

    def reveal(self) -> str:
        """The text itself, for the library that has to send it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: it would be written in clear text")


class Redactor:
    """Masks known secrets, and everything that looks like a secret, in a text."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        values = {secret.reveal() for secret in secrets}
        # Longest first: a secret may contain another one.
        known = sorted((value for value in values if len(value) >= SECRET_CHARS_MIN), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def redact(self, text: str) -> str:
        """The text with every known or recognisable secret replaced by a mask."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(MASK, text)
        return text
