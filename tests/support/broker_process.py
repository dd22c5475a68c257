"""Start the embedded broker's process directly, where a test needs its options or its exit code."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """A broker of one test: its process, its address and its control port."""

    process: subprocess.Popen[str]
    bootstrap: str
    control_port: int


def spawn_broker(data: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``python -m taximeter_sandbox.kafka`` on ``data`` without waiting for it; its errors come through a pipe."""
    command = [sys.executable, "-m", "taximeter_sandbox.kafka", "--data", str(data), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@contextmanager
def embedded_broker(data: Path, *options: str) -> Iterator[BrokerProcess]:
    """A running embedded broker with a control port; killed at the end if the test has not stopped it."""
    port_file = data / "port.json"
    port_file.unlink(missing_ok=True)
    process = spawn_broker(data, "--port-file", str(port_file), "--control-port", "0", *options)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the broker did not start"
            time.sleep(0.02)
        announced = json.loads(port_file.read_text())
        yield BrokerProcess(process, announced["bootstrap"], announced["control_port"])
    finally:
        process.kill()
        process.communicate()
