"""Prometheus and Alertmanager with the configuration that is shipped, and a receiver that notes every message."""

import asyncio
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from ruamel.yaml import YAML
from taximeter_sandbox.brokers.child_process import ChildProcess
from taximeter_sandbox.brokers.readiness import free_port

from tests.support.deploy_files import DEPLOY, read_yaml

RUNBOOKS: Final = "https://runbooks.example/taximeter"
READY_SECONDS: Final = 30.0
_HOST: Final = "127.0.0.1"


class ToolMissing(Exception):
    """A program that this machine does not have."""


@dataclass(frozen=True, slots=True)
class Message:
    """One alert in one message of Alertmanager's. `at`: monotonic seconds."""

    at: float
    receiver: str
    name: str
    firing: bool
    runbook_url: str


class Watchtower:
    """`targets`: host:port of every process, by job. Raises ToolMissing."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        self.messages: list[Message] = []
        self._folder = folder
        self._targets = targets
        self._prometheus, self._alertmanager = _tool("prometheus"), _tool("prometheus-alertmanager", "alertmanager")
        self._ports = {name: free_port(_HOST) for name in ("prometheus", "alertmanager", "receiver")}
        self._processes: list[ChildProcess] = []
        self._runner: web.AppRunner | None = None

    @property
    def prometheus_url(self) -> str:
        """Where queries go."""
        return f"http://{_HOST}:{self._ports['prometheus']}"

    async def start(self) -> None:
        """Returns when both answer."""
        application = web.Application()
        application.router.add_post("/{receiver}", self._receive)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self._ports["receiver"]).start()
        configurations = {"alertmanager": self._alertmanager_yml(), "prometheus": self._prometheus_yml()}
        for name, document in configurations.items():
            text = StringIO()
            YAML().dump(document, text)
            (self._folder / f"{name}.yml").write_text(text.getvalue())
        self._start("alertmanager", [self._alertmanager, f"--storage.path={self._folder / 'alertmanager'}", "--cluster.listen-address="])
        feature = "--enable-feature=expand-external-labels"
        self._start("prometheus", [self._prometheus, f"--storage.tsdb.path={self._folder / 'prometheus'}", feature])
        for name in configurations:
            await self._ready(name)

    async def close(self) -> None:
        """End everything."""
        for process in self._processes:
            await asyncio.to_thread(process.kill)
        if self._runner is not None:
            await self._runner.cleanup()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query. Raises aiohttp.ClientError."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.prometheus_url}/api/v1/query", params={"query": expression}) as response,
        ):
            found: list[dict[str, Any]] = (await response.json())["data"]["result"]
            return found

    def told(self, name: str, *, firing: bool, after: float) -> Message | None:
        """The first message about this alert after that time."""
        return next((each for each in self.messages if each.name == name and each.firing is firing and each.at >= after), None)

    async def _receive(self, request: web.Request) -> web.Response:
        document = await request.json()
        for alert in document["alerts"]:
            labels, notes = alert["labels"], alert["annotations"]
            firing = alert["status"] == "firing"
            self.messages.append(Message(time.monotonic(), request.match_info["receiver"], labels["alertname"], firing, notes.get("runbook_url", "")))
        return web.Response()

    def _alertmanager_yml(self) -> Any:
        """As it is shipped, with receivers."""
        document = read_yaml("prometheus/alertmanager.yml")
        url = f"http://{_HOST}:{self._ports['receiver']}"
        receivers = [{"name": each["name"], "webhook_configs": [{"url": f"{url}/{each['name']}"}]} for each in document["receivers"]]
        return {**document, "receivers": receivers}

    def _prometheus_yml(self) -> Any:
        """As it is shipped, with the addresses of this run."""
        document = read_yaml("prometheus/prometheus.yml")
        jobs = [{"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in self._targets.items()]
        managers = [{"static_configs": [{"targets": [f"{_HOST}:{self._ports['alertmanager']}"]}]}]
        alerting = {**document["alerting"], "alertmanagers": managers}
        return {**document, "rule_files": [str(DEPLOY / "prometheus/alerts.yml")], "scrape_configs": jobs, "alerting": alerting}

    def _start(self, name: str, command: list[str]) -> None:
        arguments = [*command, f"--config.file={self._folder / name}.yml", f"--web.listen-address={_HOST}:{self._ports[name]}"]
        environment = {**os.environ, "RUNBOOKS_URL": RUNBOOKS}
        self._processes.append(ChildProcess(arguments, self._folder / f"{name}.log", environment))

    async def _ready(self, name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://{_HOST}:{self._ports[name]}/-/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                if time.monotonic() > deadline:
                    raise ToolMissing(f"{name} did not start: {self._folder / name}.log")
                await asyncio.sleep(0.2)


def _tool(*names: str) -> str:
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise ToolMissing(f"{names[0]} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
