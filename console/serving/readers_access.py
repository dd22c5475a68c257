"""Who may read: those with a key, and those whom a trusted proxy names. On the host's own address without either, everybody who can reach it."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from taximeter_emitter.clock import Clock, SystemClock

from metering.configuration.key_file import ApiKey, proven_key


class Reader(NamedTuple):
    """Who asks. `customers` None: of all customers."""

    name: str
    customers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """`keys` None: keys are not used. `proxy_header` "": no proxy is."""

    keys: Mapping[str, ApiKey] | None = None
    proxy_header: str = ""
    proxy_addresses: frozenset[str] = frozenset()
    clock: Clock = field(default_factory=SystemClock)

    def reader(self, headers: Mapping[str, str], address: str | None) -> Reader | None:
        """Who sent a request with these headers from this address; None if nobody says so whom we believe."""
        if self.proxy_header and address in self.proxy_addresses and headers.get(self.proxy_header):
            return Reader(headers[self.proxy_header])
        if self.keys is None:
            return None if self.proxy_header else Reader("")
        key = proven_key(self.keys, _token(headers.get("Authorization", "")))
        return None if key is None or key.has_expired(self.clock.now_ms()) else Reader(key.tenant, key.customers)


def _token(authorization: str) -> str:
    """The key of a program (`Bearer`), or the password that a browser asked for (`Basic`)."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return rest.strip() if scheme.lower() == "bearer" else ""
    try:
        return b64decode(rest, validate=True).decode().partition(":")[2]
    except (ValueError, binascii.Error):
        return ""
