"""How to reach a gateway over HTTP. Data only."""

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

CONNECT_SECONDS_DEFAULT: Final = 2.0
ANSWER_SECONDS_DEFAULT: Final = 10.0
GATEWAY_SECONDS_MAX: Final = 300.0
GATEWAY_PATH: Final = "/v1/batches"

_KEY: Final = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """A gateway, and how connections to it are protected. `problems` says what cannot be right; nothing is checked before.

    `url`: of the gateway, such as https://meter.internal, with the path below which it is, if there is one. `api_key`: as `taximeter api-keys
    create` shows it; None for a gateway that asks for none. It is not in the repr. `ssl_cafile`: certificates that sign the gateway's (PEM);
    None means the system's. `connect_seconds`: for a connection. `answer_seconds`: for a request, from its first byte to the last of the answer.

    Proxies are those of the environment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    ssl_cafile: "str | os.PathLike[str] | None" = None
    connect_seconds: float = CONNECT_SECONDS_DEFAULT
    answer_seconds: float = ANSWER_SECONDS_DEFAULT

    def problems(self) -> tuple[str, ...]:
        """What cannot be right, one sentence each; looks whether the file is there. None shows a secret."""
        found = list(_problems_of(self.url))
        if self.api_key is not None and not _KEY.fullmatch(self.api_key):
            found.append("api_key is not a key: it has characters that no key has, or is longer than 256; look for a blank or a line's end")
        if self.ssl_cafile is not None and not os.path.isfile(self.ssl_cafile):  # noqa: PTH113  # pathlib is slow to import
            found.append(f"ssl_cafile names {self.ssl_cafile}, which is not a file")
        for name in ("connect_seconds", "answer_seconds"):
            if not 0 < getattr(self, name) <= GATEWAY_SECONDS_MAX:
                found.append(f"{name} is {getattr(self, name)}; it takes more than 0, at most {GATEWAY_SECONDS_MAX:.0f}")
        return tuple(found)


def _problems_of(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        place = (parts.hostname, parts.port)
    except ValueError:
        return ["url is not a URL; it takes https://host or https://host:port"]
    if parts.username is not None or parts.password is not None:
        return ["url has a user or a password; the key is given as api_key"]
    if parts.scheme not in {"http", "https"} or not place[0] or not url.isascii() or not url.isprintable() or " " in url:
        return [f"url is {url[:100]!r}; it takes https://host or https://host:port"]
    found = _problem_of_path(parts)
    return [found] if found else []


def _problem_of_path(parts: SplitResult) -> str:
    if parts.query or parts.fragment:
        return "url has a query or a fragment; it takes https://host, https://host:port, and a path below which the gateway is"
    if parts.path.rstrip("/").endswith(("/v1/events", GATEWAY_PATH, "/v1")):
        return f"url ends with {parts.path}; it takes the gateway's own address, without that"
    return ""
