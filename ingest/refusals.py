"""Reasons to refuse a whole request, each with its status and its name."""

from enum import Enum
from typing import Final

from taximeter_emitter.wire.errors import TaximeterError


class Refusal(Enum):
    """The status code and the name of each reason; the name is the `reason` in answers and metrics."""

    UNAUTHORIZED = (401, "unauthorized")
    KEY_EXPIRED = (401, "key_expired")
    FORBIDDEN = (403, "customer_not_allowed")
    SOURCE_NOT_ALLOWED = (403, "source_not_allowed")
    FOREIGN_EMITTER = (403, "foreign_emitter")
    NOT_FOUND = (404, "not_found")
    METHOD_NOT_ALLOWED = (405, "method_not_allowed")
    SLOW_HEAD = (408, "slow_head")
    SLOW_BODY = (408, "slow_body")
    BODY_TOO_LARGE = (413, "body_too_large")
    TOO_MANY_EVENTS = (413, "too_many_events")
    UNSUPPORTED_MEDIA_TYPE = (415, "unsupported_media_type")
    UNSUPPORTED_ENCODING = (415, "unsupported_content_encoding")
    HEAD_TOO_LARGE = (431, "head_too_large")
    MALFORMED_HEAD = (400, "malformed_head")
    TLS_ON_PLAIN_PORT = (400, "tls_on_plain_port")
    UNKNOWN_HEADER = (400, "unknown_header")
    NO_EMITTER_SECRET = (400, "no_emitter_secret")
    BROKEN_BODY = (400, "broken_body")
    MALFORMED_ENCODING = (400, "malformed_content_encoding")
    MALFORMED_JSON = (400, "malformed_json")
    MALFORMED_PROTOBUF = (400, "malformed_protobuf")
    NOT_AN_ARRAY = (400, "not_an_array")
    NO_EVENTS = (400, "no_events")
    INTERNAL_ERROR = (500, "internal_error")
    UNSUPPORTED_VERSION = (505, "unsupported_http_version")
    RATE_LIMITED = (429, "rate_limited")
    TOO_MANY_EMITTERS = (429, "too_many_emitters")
    TOO_MANY_CONNECTIONS = (503, "too_many_connections")
    OVERLOADED = (503, "overloaded")
    KAFKA_UNAVAILABLE = (503, "kafka_unavailable")
    OUTCOME_UNKNOWN = (503, "outcome_unknown")

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """The name in answers and metrics."""
        return self.value[1]


OF_KEYS: Final = frozenset({Refusal.FORBIDDEN.reason, Refusal.SOURCE_NOT_ALLOWED.reason})
"""Reasons to refuse an event because of the key that it was sent with."""


class RequestRefused(TaximeterError):
    """The request is refused as a whole. `retry_after`, in seconds, becomes the header Retry-After, and `allowed` the header Allow.

    `status`: another one than the refusal's own, for senders that would not understand that.
    """

    def __init__(
        self,
        refusal: Refusal,
        detail: str,
        *,
        field: str = "",
        retry_after: float | None = None,
        allowed: tuple[str, ...] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(f"{refusal.reason}: {detail}")
        self.refusal = refusal
        self.detail = detail
        self.field = field
        self.retry_after = retry_after
        self.allowed = allowed
        self.status = refusal.status if status is None else status
