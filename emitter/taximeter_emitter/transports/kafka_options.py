"""How to reach a Kafka cluster. Data only: importing this needs no Kafka library."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

COMPRESSIONS: Final = ("none", "gzip", "lz4", "snappy", "zstd")
SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
REQUEST_SECONDS_DEFAULT: Final = 6.0
"""A broker that is silent for nine seconds has lost its place in the cluster. This is less, so that a request is sent again by then."""

SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/@]+):[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True)
class KafkaOptions:
    """A cluster, and how connections to it are protected. `problems` says what cannot be right; nothing is checked before.

    `bootstrap_servers`: brokers to ask for the cluster's layout, as host:port. `client_id`: first part of the client ids that brokers show in
    logs and quotas. `compression`: of what is produced, one of COMPRESSIONS.
    `request_timeout_seconds`: how long one request, or one record that waits to be acknowledged, may take. `security_protocol`: one of
    SECURITY_PROTOCOLS. `sasl_mechanism`: one of SASL_MECHANISMS, used when the protocol is SASL. `ssl_cafile`: certificates that sign the
    brokers' (PEM); None means the system's. `ssl_certfile`, `ssl_keyfile`: this client's, when brokers ask for one. Passwords are not in the repr.
    """

    bootstrap_servers: Sequence[str]
    client_id: str = "taximeter"
    compression: str = "none"
    request_timeout_seconds: float = REQUEST_SECONDS_DEFAULT
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: "str | os.PathLike[str] | None" = None
    ssl_certfile: "str | os.PathLike[str] | None" = None
    ssl_keyfile: "str | os.PathLike[str] | None" = None
    ssl_key_password: str | None = field(default=None, repr=False)

    def problems(self) -> tuple[str, ...]:
        """What cannot be right, one sentence each; looks whether the files are there."""
        found = list(self._problems_of_values())
        sasl = self.security_protocol.startswith("SASL")
        if sasl and (self.sasl_username is None or self.sasl_password is None):
            found.append(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        if not sasl and (self.sasl_username is not None or self.sasl_password is not None):
            found.append(f"sasl_username or sasl_password is set, but security_protocol is {self.security_protocol}")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            found.append("ssl_keyfile needs ssl_certfile")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path = getattr(self, name)
            if path is not None and not os.path.isfile(path):  # noqa: PTH113  # pathlib is slow to import
                found.append(f"{name} names {path}, which is not a file")
        return tuple(found)

    def _problems_of_values(self) -> list[str]:
        found = []
        if isinstance(self.bootstrap_servers, str):
            return ["bootstrap_servers is one text; it takes a list of host:port"]
        if not self.bootstrap_servers:
            found.append("bootstrap_servers is empty; it takes host:port")
        for server in self.bootstrap_servers:
            if not _SERVER.fullmatch(server):
                found.append(f"bootstrap_servers has {server!r}, which is not host:port")
        if not 0 < self.request_timeout_seconds <= 300:
            found.append(f"request_timeout_seconds is {self.request_timeout_seconds}; it takes more than 0, at most 300")
        for name, choices in (("compression", COMPRESSIONS), ("security_protocol", SECURITY_PROTOCOLS), ("sasl_mechanism", SASL_MECHANISMS)):
            value = getattr(self, name)
            if value not in choices:
                found.append(f"{name} is {value!r}; it takes {', '.join(choices)}")
        return found
