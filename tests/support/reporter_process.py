"""A reporter as an operating-system process."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metering.kafka.clients import KafkaSettings
from tests.support.gateway_process import METERS, environment
from tests.support.stripe_target import KEY

_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
PATIENCE_SECONDS: Final = 120.0


@dataclass(slots=True)
class ReporterProcess:
    """A running reporter. `webhooks` is where its endpoint is; `log` is what it wrote to stderr so far."""

    process: subprocess.Popen[bytes]
    webhooks: str
    admin: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 if there is none."""
        with urllib.request.urlopen(f"{self.admin}/metrics") as answer:
            text = str(answer.read().decode())
        inside = "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}" if labels else ""
        found = re.search(rf"^{re.escape(name + inside)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until then. Fails with the log if the process ends before, or it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: no chance to do anything."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


def reporting_to(stripe: str) -> dict[str, str]:
    """The variables of a reporter that reports five times a second to a Stripe at this address, which is the simulator's."""
    return {
        "STRIPE_API_KEY": KEY,
        "TAXIMETER_STRIPE_API_BASE": stripe,
        "TAXIMETER_REPORTER_REPORT_SECONDS": "0.2",
        "TAXIMETER_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
        "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": "whsec_unused",
    }


@contextmanager
def reporter(kafka: KafkaSettings, folder: Path, variables: Mapping[str, str], *, meters: str = METERS) -> Iterator[ReporterProcess]:
    """Start a reporter with an endpoint for webhooks, and end it in any case."""
    folder.mkdir(exist_ok=True)
    (folder / "taximeter.toml").write_text(meters)
    port_file, admin_file, log_file = folder / "port", folder / "admin", folder / "log"
    for file in (port_file, admin_file):
        file.unlink(missing_ok=True)
    environ = environment(
        kafka,
        {
            "TAXIMETER_WEBHOOKS_PORT": "0",
            "TAXIMETER_WEBHOOKS_PORT_FILE": str(port_file),
            "TAXIMETER_SERVICE_ADMIN_PORT_FILE": str(admin_file),
            **variables,
        },
    )
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "reporter", "--config", str(folder / "taximeter.toml")], env=environ, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (port_file.exists() and admin_file.exists()):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.02)
        port, admin = int(port_file.read_text()), json.loads(admin_file.read_text())
        yield ReporterProcess(process, f"http://127.0.0.1:{port}/webhooks/stripe", f"http://127.0.0.1:{admin}", log_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
