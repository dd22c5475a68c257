"""API keys: which are accepted, which were revoked, and what restricted keys may do."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from taximeter_sandbox.stripe.http.errors import forbidden, invalid_api_key, no_api_key, revoked_api_key

# Stripe's own names: an error message says `rak_<permission>`. Prices belong to `plan`.
Permission: TypeAlias = Literal[
    "billing_meter_read",
    "billing_meter_write",
    "billing_meter_event_write",
    "customer_read",
    "customer_write",
    "product_read",
    "product_write",
    "plan_read",
    "plan_write",
    "subscription_read",
    "subscription_write",
    "setup_intent_read",
    "setup_intent_write",
    "checkout_session_read",
    "checkout_session_write",
    "invoice_read",
    "invoice_write",
    "event_read",
    "webhook_read",
    "webhook_write",
]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
WELL_FORMED = re.compile(r"(?:sk|rk)_(?:test|live)_[0-9A-Za-z_]{4,}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """`restricted` maps an rk_ key to its permissions; any other well-formed key may do everything, unless revoked.

    With `accepted` set, only those keys (and the restricted ones) are known at all.
    """

    accepted: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    restricted: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = {name for granted in self.restricted.values() for name in granted} - set(PERMISSIONS)
        if unknown:
            raise ValueError(f"keys: unknown permission {min(unknown)!r}, must be among {', '.join(PERMISSIONS)}")

    def check(self, authorization: str | None, permission: Permission) -> bool:
        """Whether the key is of live mode. Raises ApiError (401, 403); messages carry the key masked."""
        key = credentials_of(authorization)
        masked = mask(key)
        if key in self.revoked:
            raise revoked_api_key(masked)
        granted = self.restricted.get(key)
        if granted is None and (not WELL_FORMED.match(key) or (self.accepted and key not in self.accepted)):
            raise invalid_api_key(masked)
        if granted is not None and permission not in granted and permission.replace("_read", "_write") not in granted:
            raise forbidden(masked, f"rak_{permission}")
        return key[3:8] == "live_"


def mask(key: str) -> str:
    """A key as error messages may show it: its kind and its last four characters."""
    kind = re.match(r"(?:sk|rk)_(?:test|live)_", key)
    return f"{kind.group(0) if kind else ''}****{key[-4:] if len(key) >= 12 else ''}"


def credentials_of(authorization: str | None) -> str:
    """The key or token in an Authorization header. Raises ApiError (401) when there is none."""
    if authorization is None:
        raise no_api_key()
    if not authorization.isascii():
        raise invalid_api_key("****")
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            raise no_api_key() from None
    raise no_api_key()
