"""The services of a run as an operator would set them up: one settings file, the rest by environment, keys in files."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from metering.configuration.key_file import CreatedKey, create_key
from metering.kafka.clients import KafkaSettings
from taximeter_sandbox.demo.plan import PARTITIONS, Plan, settings_file
from taximeter_sandbox.demo.processes import Command, Fleet, ProcessFailed, own_environment
from taximeter_sandbox.demo.stripe_side import StripeSide

GATEWAY: Final = "gateway"
AGGREGATORS: Final = ("aggregator-1", "aggregator-2")
REPORTERS: Final = ("reporter-1", "reporter-2")
WORKERS: Final = (*AGGREGATORS, *REPORTERS)
SERVICES: Final = (GATEWAY, *WORKERS)
CONSOLE: Final = "console"
START_SECONDS: Final = 60.0
PRIVATE: Final = 0o600
MODULES: Final[Mapping[str, str]] = {"gateway": "ingest", "aggregator": "aggregator", "reporter": "reporter", "console": "console"}


@dataclass(slots=True)
class Installation:
    """One set of topics and the five services on them. `prefix` keeps it apart from everything else on the same Kafka.

    `runner`: a module, and what it takes before a service's own module and arguments. `environments`: what one service gets besides, by name.
    `copies`: of each partition; one is enough for a run whose topics nobody reads again.
    """

    folder: Path
    fleet: Fleet
    plan: Plan
    bootstrap_servers: str
    prefix: str
    stripe: StripeSide
    runner: Sequence[str] = ()
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    admin_urls: dict[str, str] = field(default_factory=dict)
    gateway_url: str = ""
    console_url: str = ""
    copies: int = 1

    @property
    def kafka(self) -> KafkaSettings:
        """For code that reads the topics."""
        return KafkaSettings(
            bootstrap_servers=tuple(self.bootstrap_servers.split(",")),
            topic_prefix=self.prefix,
            partitions=PARTITIONS,
            replication_factor=self.copies,
            session_timeout_seconds=self.plan.pace.session,
        )

    @property
    def groups(self) -> tuple[str, str]:
        """The consumer groups of the aggregators and the reporters."""
        return f"{self.prefix}-aggregator", f"{self.prefix}-reporter"

    @property
    def api_key_file(self) -> Path:
        """The clients' key."""
        return self.folder / "client.key"

    @property
    def gateway_keys_file(self) -> Path:
        """The gateway's file of keys."""
        return self.folder / "api_keys.toml"

    def command_environment(self) -> dict[str, str]:
        """What the commands of `taximeter` need to find this installation."""
        aggregator_group, reporter_group = self.groups
        return {
            **self._kafka_environment(),
            "TAXIMETER_AGGREGATOR_GROUP_ID": aggregator_group,
            "TAXIMETER_REPORTER_GROUP_ID": reporter_group,
            "TAXIMETER_REPORTER_REPORT_SECONDS": str(self.plan.pace.report),
            **self.stripe.environment(),
        }

    def prepare(self, settings: str = settings_file(), key: CreatedKey | None = None) -> None:
        """Write the settings file and the API key; without a key, one for all customers is made."""
        (self.folder / "taximeter.toml").write_text(settings)
        key = key or create_key(tenant="demo")
        for path, text in ((self.gateway_keys_file, key.entry), (self.api_key_file, key.token)):
            path.touch(PRIVATE)
            path.write_text(text)

    async def start(self, names: Sequence[str]) -> None:
        """Start services; returns when each answers on its admin port. Raises ProcessFailed."""
        for name in names:
            self._admin_port_file(name).unlink(missing_ok=True)
            if name == GATEWAY:
                self._gateway_port_file.unlink(missing_ok=True)
            self.fleet.start(self._command(name))
        for name in names:
            port = await self.fleet.wait_for_file(name, self._admin_port_file(name), START_SECONDS)
            self.admin_urls[name] = f"http://127.0.0.1:{port}"
        if CONSOLE in names:
            self.console_url = f"http://127.0.0.1:{await self.fleet.wait_for_file(CONSOLE, self.folder / 'console.port', START_SECONDS)}"
        if GATEWAY in names:
            self.gateway_url = f"http://127.0.0.1:{await self.fleet.wait_for_file(GATEWAY, self._gateway_port_file, START_SECONDS)}"

    async def wait_until_ready(self, names: Sequence[str]) -> None:
        """Returns when each says that it is ready. Raises ProcessFailed when one ends, or says something else for too long."""
        deadline = time.monotonic() + START_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            for name in names:
                while (problem := await _not_ready(session, self.admin_urls[name])) is not None:
                    self.fleet.check()
                    if time.monotonic() > deadline:
                        raise ProcessFailed(f"{name} is not ready after {START_SECONDS:.0f} s: {problem}; its log is {self.fleet.log(name)}")
                    await asyncio.sleep(0.1)

    def kill(self, name: str) -> None:
        """SIGKILL to one service."""
        self.admin_urls.pop(name, None)
        self.fleet.kill(name)

    async def stop(self, names: Sequence[str]) -> None:
        """SIGTERM to services, and wait for their drain. Raises ProcessFailed when one did not drain in order."""
        for name in names:
            self.admin_urls.pop(name, None)
        codes = await self.fleet.stop(names)
        for name, code in codes.items():
            if code:
                raise ProcessFailed(f"{name} ended with exit code {code} when it was asked to stop; its log is {self.fleet.log(name)}")

    def _admin_port_file(self, name: str) -> Path:
        return self.folder / f"{name}.admin-port"

    @property
    def _gateway_port_file(self) -> Path:
        return self.folder / "gateway.port"

    def _kafka_environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "TAXIMETER_KAFKA_TOPIC_PREFIX": self.prefix,
            "TAXIMETER_KAFKA_PARTITIONS": str(PARTITIONS),
            "TAXIMETER_KAFKA_REPLICATION_FACTOR": str(self.copies),
            "TAXIMETER_KAFKA_SESSION_TIMEOUT_SECONDS": str(self.plan.pace.session),
        }

    def _command(self, name: str) -> Command:
        service = name.partition("-")[0]
        aggregator_group, reporter_group = self.groups
        environment = {
            **own_environment(),
            "TAXIMETER_SERVICE_ADMIN_PORT_FILE": str(self._admin_port_file(name)),
            "TAXIMETER_SERVICE_LOG_STYLE": "json",
            **self._kafka_environment(),
        }
        pace = self.plan.pace
        match service:
            case "gateway":
                environment |= {
                    # The clients know where it was before: it comes back there.
                    "TAXIMETER_GATEWAY_PORT": self.gateway_url.rpartition(":")[2] or "0",
                    "TAXIMETER_GATEWAY_PORT_FILE": str(self._gateway_port_file),
                    "TAXIMETER_GATEWAY_API_KEYS_FILE": str(self.gateway_keys_file),
                }
            case "aggregator":
                environment |= {
                    "TAXIMETER_AGGREGATOR_GROUP_ID": aggregator_group,
                    "TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(pace.flush),
                }
            case "console":
                environment |= {
                    "TAXIMETER_CONSOLE_PORT": "0",
                    "TAXIMETER_CONSOLE_PORT_FILE": str(self.folder / "console.port"),
                    "TAXIMETER_CONSOLE_STATE_DIR": str(self.folder / "console"),
                    **self.stripe.environment(),
                }
            case _:
                environment |= {
                    "TAXIMETER_REPORTER_GROUP_ID": reporter_group,
                    "TAXIMETER_REPORTER_REPORT_SECONDS": str(pace.report),
                    "TAXIMETER_REPORTER_RECEIPT_SECONDS": str(pace.receipt),
                    "TAXIMETER_REPORTER_DRAIN_TARGET_SECONDS": str(pace.drain_target),
                    "TAXIMETER_STRIPE_METER_EVENTS": self.plan.stripe_api,
                    "TAXIMETER_STRIPE_CALLS_PER_SECOND": str(pace.stripe_calls_per_second),
                    **self.stripe.environment(),
                }
        environment |= self.environments.get(name, {})
        return Command(name, (*self.runner, MODULES[service], "--config", str(self.folder / "taximeter.toml")), environment)


async def _not_ready(session: aiohttp.ClientSession, url: str) -> str | None:
    """What a service says is missing; None when it is ready."""
    try:
        async with session.get(f"{url}/readyz") as response:
            return None if response.status == 200 else (await response.text())[:300]
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"its admin port does not answer: {type(error).__name__}"
