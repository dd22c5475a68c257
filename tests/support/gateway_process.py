"""A gateway as an operating-system process."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from metering.kafka.clients import KafkaSettings

METERS = '[[meters]]\nevent_name = "tokens"\nsum = ["n", "m"]\n'
NOTHING_MORE: Mapping[str, str] = MappingProxyType({})
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


@dataclass(slots=True)
class GatewayProcess:
    """A running gateway. `log` is what it wrote to stderr so far."""

    process: subprocess.Popen[bytes]
    url: str
    admin: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def probe(self, path: str) -> int:
        """Status code of a path on the admin port."""
        try:
            with urllib.request.urlopen(f"{self.admin}{path}") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def metrics(self) -> str:
        """Everything that the admin port exports."""
        with urllib.request.urlopen(f"{self.admin}/metrics") as answer:
            return str(answer.read().decode())

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def gateway(
    kafka: KafkaSettings, folder: Path, *, meters: str = METERS, variables: Mapping[str, str] = NOTHING_MORE, **options: object
) -> Iterator[GatewayProcess]:
    """Start a gateway that is ready, and end it in any case. `options`: settings of section `gateway`; without keys it is anonymous."""
    folder.mkdir(exist_ok=True)
    (folder / "taximeter.toml").write_text(meters)
    port_file, admin_file, log_file = folder / "port", folder / "admin", folder / "log"
    for file in (port_file, admin_file):
        file.unlink(missing_ok=True)
    chosen = {"port": 0, "port_file": port_file, "anonymous": "api_keys_file" not in options, **options}
    environ = environment(kafka, {f"TAXIMETER_GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()})
    environ |= {"TAXIMETER_SERVICE_ADMIN_PORT_FILE": str(admin_file), **variables}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "ingest", "--config", str(folder / "taximeter.toml")], env=environ, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (port_file.exists() and admin_file.exists()):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.02)
        running = GatewayProcess(
            process, f"http://127.0.0.1:{int(port_file.read_text())}/v1/events", f"http://127.0.0.1:{json.loads(admin_file.read_text())}", log_file
        )
        while running.probe("/readyz") != 200:
            assert time.monotonic() < deadline, running.log
            time.sleep(0.02)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def environment(kafka: KafkaSettings, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service process that is given nothing but this."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TAXIMETER_", "KAFKA_"))}
    return {
        **own,
        "TAXIMETER_KAFKA_BOOTSTRAP_SERVERS": ",".join(kafka.bootstrap_servers),
        "TAXIMETER_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "TAXIMETER_KAFKA_PARTITIONS": str(kafka.partitions),
        "TAXIMETER_KAFKA_REPLICATION_FACTOR": "1",
        **more,
    }
