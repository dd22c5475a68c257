"""Options of the console."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metering.configuration.key_file import BadKeysFile, read_keys
from metering.configuration.settings import option

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """Section `console`."""

    host: str = option(
        doc="Address to listen on. Any but the host's own needs keys_file, or proxy_header and proxy_addresses.",
        default="127.0.0.1",
    )
    port: int = option(doc="Port of the pages and of GET /v1/usage; 0 takes a free one, which is logged.", default=8088, minimum=0, maximum=65535)
    port_file: Path | None = option(doc="File to write the port's number into, for the program that started the process.", default=None)
    state_dir: Path = option(
        doc="Folder of the store. It may be deleted while no console runs: the store is built again from the log.", default=Path("taximeter-console")
    )
    days_kept: int = option(
        doc="UTC days of usage that the store keeps, today's included; older ones are in the log.", default=40, minimum=1, maximum=400
    )
    bytes_max: int = option(
        doc="Bytes that the store may hold. When it has more, it drops its oldest days, and says from which day on it knows.",
        default=8 * 1024**3,
        unit="bytes",
        minimum=16 * 1024**2,
        maximum=1024**4,
    )
    follow_seconds: float = option(doc="How often the log is looked at for more.", default=1.0, unit="seconds", minimum=0.05, maximum=60)
    answer_seconds: float = option(
        doc="How long the store may take for one answer; after that the answer says what to narrow.",
        default=5.0,
        unit="seconds",
        minimum=0.1,
        maximum=60,
    )
    keys_file: Path | None = option(
        doc="File of the keys that may read, as `taximeter api-keys create` writes it. A browser asks for one as a password.", default=None
    )
    proxy_header: str = option(
        doc="Header in which a proxy says who is logged in, such as X-Forwarded-User. It is believed from proxy_addresses only.", default=""
    )
    proxy_addresses: tuple[str, ...] = option(doc="Addresses of the proxies that may say who is logged in.", default=())

    def problems(self) -> tuple[str, ...]:
        """Nobody else reads without a key, or a proxy that vouches for them."""
        found = []
        if bool(self.proxy_header) != bool(self.proxy_addresses):
            found.append("console.proxy_header and console.proxy_addresses go together: who says it, and in which header")
        if self.host not in _LOOPBACK and self.keys_file is None and not self.proxy_header:
            found.append(
                f"console.host {self.host!r} can be reached from elsewhere: set console.keys_file, or console.proxy_header and proxy_addresses"
            )
        if self.keys_file is not None:
            try:
                read_keys(self.keys_file)
            except BadKeysFile as bad:
                found += [f"console.keys_file: {problem}" for problem in bad.problems]
        return tuple(found)

    @property
    def store_path(self) -> Path:
        """The store's file."""
        return self.state_dir / "usage.sqlite3"

    @property
    def access(self) -> str:
        """Who may read, in words."""
        ways = ["those with a key"] * (self.keys_file is not None) + [f"those whom {self.proxy_header} names"] * bool(self.proxy_header)
        return ", and ".join(ways) or "everybody who reaches this address"
