"""Apache Kafka itself, on the machine's Java: KRaft, one node, broker and controller in one process."""

import os
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from taximeter_sandbox.brokers.apache_jars import ApacheKafka, find_apache_kafka
from taximeter_sandbox.brokers.broker_properties import COMMON
from taximeter_sandbox.brokers.child_process import ChildProcess
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import free_port, wait_until_answers

_HOST = "127.0.0.1"
_FORMAT_TIMEOUT_S = 60
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
# A quick start matters more here than the last of the throughput: no optimising compiler, the simplest collector.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class ApacheBroker:
    """Runs ``kafka.Kafka`` below ``data``, which is kept; without it a temporary folder is made and removed."""

    name = "apache"

    def __init__(self, data: Path | None = None, *, advertised_port: int | None = None) -> None:
        """Find Java and the jars. Raises BrokerUnavailable. Blocks while Maven fetches, at the first call on a machine."""
        self._kafka: ApacheKafka = find_apache_kafka()
        self._data = data
        self._temporary: Path | None = None
        self._process: ChildProcess | None = None
        self._port = 0
        self._advertised_port = advertised_port

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
        return f"Apache Kafka {self._kafka.version} on Java {self._kafka.java_major}, KRaft, one node"

    def start(self) -> str:
        """Format the storage if it is new, and start on a free port. Raises BrokerUnavailable."""
        if self._data is None:
            self._data = self._temporary = Path(tempfile.mkdtemp(prefix="taximeter-apache-kafka-"))
        self._data.mkdir(parents=True, exist_ok=True)
        self._port = free_port(_HOST)
        properties = self._write_properties(self._data, free_port(_HOST))
        try:
            if not (self._data / "logs" / "meta.properties").exists():
                self._format(properties)
            return self.restart()
        except BrokerUnavailable:
            self.stop()
            raise

    def restart(self) -> str:
        """Start again on the same port and data after ``kill``. Raises BrokerUnavailable."""
        assert self._data is not None, "restart comes after start"
        command = [*self._java("-Xms256m", "-Xmx1g"), "kafka.Kafka", str(self._data / "server.properties")]
        self._process = process = ChildProcess(command, self._data / "broker.log", self._environment())
        try:
            wait_until_answers(_HOST, self._port, timeout_s=_START_TIMEOUT_S, death=lambda: _death(process))
        except BrokerUnavailable:
            process.kill()
            raise
        return f"{_HOST}:{self._port}"

    def kill(self) -> None:
        """SIGKILL; the data stays."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """SIGTERM, so that Kafka closes its logs; a temporary data folder goes."""
        if self._process is not None:
            # Nobody reads a temporary log again, so it need not be closed in order.
            self._process.terminate(0.0 if self._temporary else _STOP_TIMEOUT_S)
            self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._data = self._temporary = None

    def _write_properties(self, data: Path, controller_port: int) -> Path:
        properties = {
            **COMMON,
            "listeners": f"BROKER://{_HOST}:{self._port},CONTROLLER://{_HOST}:{controller_port}",
            "advertised.listeners": f"BROKER://{_HOST}:{self._advertised_port or self._port}",
            "controller.quorum.voters": f"1@{_HOST}:{controller_port}",
            "log.dirs": str(data / "logs"),
        }
        path = data / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return path

    def _format(self, properties: Path) -> None:
        # Sixteen bytes in base64, the first character chosen: a random one may be a dash, which the tool would take for an option.
        cluster_id = "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        command = [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
        try:
            result = subprocess.run(  # noqa: S603  # our own Java and arguments
                command, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False, env=self._environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerUnavailable(f"cannot format Kafka's storage: {error}") from error
        if result.returncode != 0:
            raise BrokerUnavailable(f"cannot format Kafka's storage: {(result.stderr or result.stdout).strip()[-500:]}")

    def _java(self, *options: str) -> list[str]:
        return [self._kafka.java, *_JVM_OPTIONS, *options, "-cp", f"{self._kafka.jars}/*"]

    def _environment(self) -> dict[str, str]:
        """The process's environment without what would change the JVM's options behind our back."""
        return {name: value for name, value in os.environ.items() if name not in {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}}


def _death(process: ChildProcess) -> str | None:
    if process.exit_code() is None:
        return None
    return f"Apache Kafka ended with exit code {process.exit_code()}: {process.log_tail()[-500:]}"
