"""The embedded broker of ``taximeter_sandbox.kafka``, as a process of its own."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from taximeter_sandbox.brokers.child_process import ChildProcess
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import wait_until_answers

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


class EmbeddedBroker:
    """Runs ``python -m taximeter_sandbox.kafka`` with this Python. ``data`` is kept; without it a temporary folder is made and removed.

    ``port`` 0: a free one.
    """

    name = "embedded"

    def __init__(self, data: Path | None = None, *, port: int = 0, advertised_port: int | None = None) -> None:
        self._data = data
        self._temporary: Path | None = None
        self._process: ChildProcess | None = None
        self._port = port
        self._advertised_port = advertised_port
        #: Port for test faults (see taximeter_sandbox.kafka.control_port) on 127.0.0.1, known after ``start`` and new after ``restart``.
        self.control_port = 0

    @property
    def port(self) -> int:
        """Where it listens. Clients get `advertised_port` instead, if that is different."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def describe(self) -> str:
        """One line for people."""
        return "the embedded Kafka-protocol broker (taximeter_sandbox.kafka), a development stand-in"

    def start(self) -> str:
        """Start. Raises BrokerUnavailable."""
        if self._data is None:
            self._data = self._temporary = Path(tempfile.mkdtemp(prefix="taximeter-embedded-broker-"))
        self._data.mkdir(parents=True, exist_ok=True)
        try:
            return self.restart()
        except BrokerUnavailable:
            self.stop()
            raise

    def restart(self) -> str:
        """Start again on the same port and data after ``kill``. Raises BrokerUnavailable."""
        assert self._data is not None, "restart comes after start"
        port_file = self._data / "port.json"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "taximeter_sandbox.kafka", "--data", str(self._data), "--host", _HOST]
        command += ["--port", str(self._port), "--port-file", str(port_file), "--control-port", "0"]
        if self._advertised_port is not None:
            command += ["--advertised-port", str(self._advertised_port)]
        self._process = ChildProcess(command, self._data / "broker.log")
        try:
            self._port, self.control_port = self._wait_for(port_file, self._process)
            wait_until_answers(_HOST, self._port, timeout_s=_START_TIMEOUT_S, death=lambda: self._death(self._process))
        except BrokerUnavailable:
            self._process.kill()
            raise
        return f"{_HOST}:{self._port}"

    def kill(self) -> None:
        """SIGKILL; the data stays."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """SIGTERM; a temporary data folder goes."""
        if self._process is not None:
            self._process.terminate(_STOP_TIMEOUT_S)
            self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._data = self._temporary = None

    def _wait_for(self, port_file: Path, process: ChildProcess) -> tuple[int, int]:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not port_file.exists():
            death = self._death(process)
            if death is not None or time.monotonic() > deadline:
                raise BrokerUnavailable(death or "the embedded broker did not announce its port")
            time.sleep(0.02)
        announced = json.loads(port_file.read_text())
        return int(announced["bootstrap"].rpartition(":")[2]), int(announced["control_port"])

    @staticmethod
    def _death(process: ChildProcess | None) -> str | None:
        if process is None or process.exit_code() is None:
            return None
        return f"the embedded broker ended with exit code {process.exit_code()}: {process.log_tail()}"
