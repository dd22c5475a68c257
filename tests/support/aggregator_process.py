"""An aggregator as an operating-system process."""

import json
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
from typing import Final

from metering.kafka.clients import KafkaSettings
from tests.support.gateway_process import METERS, NOTHING_MORE, environment

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
GROUP_VARIABLE: Final = "TAXIMETER_AGGREGATOR_GROUP_ID"


@dataclass(slots=True)
class AggregatorProcess:
    """A running aggregator that flushes every 50 ms."""

    process: subprocess.Popen[bytes]
    admin_file: Path
    log_file: Path

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self.log_file.read_text()

    @property
    def readiness(self) -> str:
        """The body of /readyz; empty while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{json.loads(self.admin_file.read_text())}/readyz") as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except (OSError, ValueError):
            return ""

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def ended(self) -> int:
        """Wait for its own end; the exit code."""
        return self.process.wait(START_SECONDS)

    def until_it_says(self, words: str) -> str:
        """Wait until its readiness has these words."""
        deadline = time.monotonic() + START_SECONDS
        while words not in (said := self.readiness):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"{said}\n{self.log}"
            time.sleep(0.05)
        return said


def group_of(kafka: KafkaSettings) -> str:
    """The consumer group of the aggregators on these topics."""
    return f"{kafka.topic_prefix}-aggregator"


@contextmanager
def aggregator(
    kafka: KafkaSettings, folder: Path, *, stall_seconds: int = 60, meters: str = METERS, more: Mapping[str, str] = NOTHING_MORE
) -> Iterator[AggregatorProcess]:
    """Start an aggregator, and end it in any case. It may not be ready yet."""
    folder.mkdir(exist_ok=True)
    (folder / "taximeter.toml").write_text(meters)
    admin_file, log_file = folder / "admin", folder / "log"
    admin_file.unlink(missing_ok=True)
    variables = {
        "TAXIMETER_SERVICE_ADMIN_PORT_FILE": str(admin_file),
        "TAXIMETER_AGGREGATOR_FLUSH_SECONDS": "0.05",
        "TAXIMETER_AGGREGATOR_STALL_SECONDS": str(stall_seconds),
        GROUP_VARIABLE: group_of(kafka),
        "TAXIMETER_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
        **more,
    }
    with log_file.open("wb") as log:
        command = [sys.executable, "-m", "aggregator", "--config", str(folder / "taximeter.toml")]
        process = subprocess.Popen(command, env=environment(kafka, variables), stderr=log)
    try:
        yield AggregatorProcess(process, admin_file, log_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
