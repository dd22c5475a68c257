"""Apache Kafka itself, on the machine's Java: KRaft, one node, broker and controller in one process."""

import shutil
import tempfile
from pathlib import Path

from taximeter_sandbox.brokers.apache_jars import ApacheKafka, find_apache_kafka
from taximeter_sandbox.brokers.apache_node import ApacheNode, new_cluster_id
from taximeter_sandbox.brokers.broker_properties import COMMON, ONE_NODE
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import free_port, wait_until_answers

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_HEAP = ("-Xms256m", "-Xmx1g")


class ApacheBroker:
    """Runs ``kafka.Kafka`` below ``data``, which is kept; without it a temporary folder is made and removed."""

    name = "apache"

    def __init__(self, data: Path | None = None, *, port: int = 0, advertised_port: int | None = None) -> None:
        """Find Java and the jars. Raises BrokerUnavailable. Blocks while Maven fetches, at the first call on a machine.

        ``port`` 0 takes a free one.
        """
        self._kafka: ApacheKafka = find_apache_kafka()
        self._data = data
        self._temporary: Path | None = None
        self._node: ApacheNode | None = None
        self._port = port
        self._advertised_port = advertised_port

    @property
    def port(self) -> int:
        """Where it listens. Clients get `advertised_port` instead, if that is different."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._node is not None, "it does not run"
        return self._node.pid

    def describe(self) -> str:
        """One line for people."""
        return f"Apache Kafka {self._kafka.version} on Java {self._kafka.java_major}, KRaft, one node"

    def start(self) -> str:
        """Format the storage if it is new, and start. Raises BrokerUnavailable."""
        if self._data is None:
            self._data = self._temporary = Path(tempfile.mkdtemp(prefix="taximeter-apache-kafka-"))
        self._port, controller_port = self._port or free_port(_HOST), free_port(_HOST)
        properties = {
            **COMMON,
            **ONE_NODE,
            "listeners": f"BROKER://{_HOST}:{self._port},CONTROLLER://{_HOST}:{controller_port}",
            "advertised.listeners": f"BROKER://{_HOST}:{self._advertised_port or self._port}",
            "controller.quorum.voters": f"1@{_HOST}:{controller_port}",
        }
        self._node = ApacheNode(self._kafka, self._data, properties, heap=_HEAP)
        try:
            self._node.format(new_cluster_id())
            return self.restart()
        except BrokerUnavailable:
            self.stop()
            raise

    def restart(self) -> str:
        """Start again on the same port and data after ``kill``. Raises BrokerUnavailable."""
        node = self._node
        assert node is not None, "restart comes after start"
        node.launch()
        try:
            wait_until_answers(_HOST, self._port, timeout_s=_START_TIMEOUT_S, death=node.death)
        except BrokerUnavailable:
            node.kill()
            raise
        return f"{_HOST}:{self._port}"

    def kill(self) -> None:
        """SIGKILL; the data stays."""
        if self._node is not None:
            self._node.kill()

    def stop(self) -> None:
        """SIGTERM, so that Kafka closes its logs; a temporary data folder goes."""
        if self._node is not None:
            # Nobody reads a temporary log again, so it need not be closed in order.
            self._node.terminate(0.0 if self._temporary else _STOP_TIMEOUT_S)
            self._node = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._data = self._temporary = None
