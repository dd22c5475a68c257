"""Meter event sessions: the tokens that the meter event stream takes instead of an API key, for 15 minutes of simulated time."""

from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import ApiError, invalid_api_key
from taximeter_sandbox.stripe.http.keys import credentials_of
from taximeter_sandbox.stripe.http.rfc3339 import rfc3339

LIFE_MS = 15 * 60_000
SESSIONS_MAX = 10_000


class Session(NamedTuple):
    """One session. `token` is not an API key, and no API key is a token."""

    id: str
    token: str
    created_ms: int
    livemode: bool

    @property
    def expires_ms(self) -> int:
        """From then on the token is refused."""
        return self.created_ms + LIFE_MS


class Sessions:
    """The last SESSIONS_MAX sessions, including expired ones, to distinguish an expired token from an unknown one."""

    def __init__(self) -> None:
        self._by_token: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Take a session in; the oldest one goes when there are too many."""
        self._by_token[session.token] = session
        if len(self._by_token) > SESSIONS_MAX:
            del self._by_token[next(iter(self._by_token))]

    def check(self, authorization: str | None, now_ms: int) -> bool:
        """Whether the token is of live mode. Raises ApiError (401) for an expired token and for anything that is none."""
        session = self._by_token.get(credentials_of(authorization))
        if session is None:
            raise invalid_api_key("****")
        if now_ms >= session.expires_ms:
            raise session_expired()
        return session.livemode


def session_expired() -> ApiError:
    """401: the token's 15 minutes have passed."""
    return ApiError(
        401,
        "The billing meter event session has expired. Create a new session to continue sending meter events.",
        outcome="session_expired",
        kind="temporary_session_expired",
        code="billing_meter_event_session_expired",
    )


def session_object(session: Session) -> dict[str, object]:
    """The `v2.billing.meter_event_session` that the API shows."""
    return {
        "object": "v2.billing.meter_event_session",
        "id": session.id,
        "authentication_token": session.token,
        "created": rfc3339(session.created_ms),
        "expires_at": rfc3339(session.expires_ms),
        "livemode": session.livemode,
    }
