"""Options of tracing."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from metering.configuration.secrets import Secret
from metering.configuration.settings import option


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """Section `tracing`."""

    endpoint: str | None = option(
        doc="Base URL of a collector that takes OTLP over HTTP, such as http://localhost:4318; spans go to /v1/traces below it. None: no spans.",
        default=None,
    )
    authorization: Secret | None = option(doc="The header Authorization of each request to the collector.", default=None)
    spans_per_second: int = option(doc="Most spans that a process makes a second; further ones are left out.", default=100, minimum=1, maximum=10_000)
    stripe_calls_per_second: int = option(
        doc="Of how many calls with meter events a second a reporter makes spans, as traces of their own.",
        default=1,
        minimum=0,
        maximum=1_000,
    )
    queue_max: int = option(doc="Most spans that wait for the collector; further ones are left out.", default=2_048, minimum=1, maximum=100_000)
    timeout_seconds: float = option(doc="How long one request to the collector may take.", default=5.0, unit="seconds", minimum=0.1, maximum=60)

    def problems(self) -> tuple[str, ...]:
        """Broken rules between the fields."""
        if self.endpoint is None:
            return ()
        if _is_usable(self.endpoint):
            return ()
        return ("endpoint must be http://HOST[:PORT] or https://HOST[:PORT], perhaps with a path, and without a user",)


def _is_usable(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        is_server = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return is_server and not parts.query and not parts.fragment and parts.username is None
