"""One Apache Kafka process on the machine's Java, in a folder of its own: formatted once, started, killed, frozen and started again."""

import os
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from taximeter_sandbox.brokers.apache_jars import ApacheKafka
from taximeter_sandbox.brokers.child_process import ChildProcess
from taximeter_sandbox.brokers.interface import BrokerUnavailable

NO_USERS: Mapping[str, str] = MappingProxyType({})

_FORMAT_TIMEOUT_S = 60
# A quick start matters more here than the last of the throughput: no optimising compiler, the simplest collector.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class ApacheNode:
    """``kafka.Kafka`` with the given properties. ``heap``: the JVM's memory options."""

    def __init__(self, kafka: ApacheKafka, folder: Path, properties: Mapping[str, str], *, heap: tuple[str, ...]) -> None:
        self._kafka = kafka
        self._folder = folder
        self._properties = {**properties, "log.dirs": str(folder / "logs")}
        self._heap = heap
        self._process: ChildProcess | None = None
        self._frozen = False

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def format(self, cluster_id: str, *, users: Mapping[str, str] = NO_USERS) -> None:
        """Write the properties, and format the storage if it is new. Raises BrokerUnavailable. Blocks for some seconds.

        ``users``: passwords by name, of a new storage, for SCRAM-SHA-512.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server_properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties.items()))
        if (self._folder / "logs" / "meta.properties").exists():
            return
        command = [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._server_properties)]
        for name, password in users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        try:
            result = subprocess.run(  # noqa: S603  # our own Java and arguments
                command, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False, env=_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerUnavailable(f"cannot format Kafka's storage: {error}") from error
        if result.returncode != 0:
            raise BrokerUnavailable(f"cannot format Kafka's storage: {(result.stderr or result.stdout).strip()[-500:]}")

    def launch(self) -> None:
        """Start the process on what ``format`` prepared; it answers some seconds later. Raises OSError."""
        self._frozen = False
        command = [*self._java(*self._heap), "kafka.Kafka", str(self._server_properties)]
        self._process = ChildProcess(command, self._folder / "broker.log", _environment())

    def kill(self) -> None:
        """SIGKILL; the data stays."""
        if self._process is not None:
            self._process.kill()

    def terminate(self, timeout_s: float) -> None:
        """SIGTERM, so that Kafka closes its logs and hands over its leaderships; SIGKILL after ``timeout_s``."""
        if self._process is not None:
            self.thaw()
            self._process.terminate(timeout_s)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections, takes new ones, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """SIGCONT after ``freeze``."""
        if self._frozen:
            os.kill(self.pid, signal.SIGCONT)
            self._frozen = False

    def death(self) -> str | None:
        """Why it will never answer; None while it runs."""
        if self._process is None or self._process.exit_code() is None:
            return None
        return f"Apache Kafka ended with exit code {self._process.exit_code()}: {self._process.log_tail()[-500:]}"

    @property
    def _server_properties(self) -> Path:
        return self._folder / "server.properties"

    def _java(self, *options: str) -> list[str]:
        return [self._kafka.java, *_JVM_OPTIONS, *options, "-cp", f"{self._kafka.jars}/*"]


def new_cluster_id() -> str:
    """Sixteen bytes in base64, the first character chosen: a random one may be a dash, which the tool would take for an option."""
    return "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _environment() -> dict[str, str]:
    """The process's environment without what would change the JVM's options behind our back."""
    return {name: value for name, value in os.environ.items() if name not in {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}}
