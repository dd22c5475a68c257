"""A cluster of Apache Kafka on the machine's Java: several KRaft nodes, each broker and controller, each a process that can be killed or frozen.

Clients, brokers and controllers have a listener each, so that a test can put a proxy before any of them.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taximeter_sandbox.brokers.apache_jars import ApacheKafka, find_apache_kafka
from taximeter_sandbox.brokers.apache_node import ApacheNode, new_cluster_id
from taximeter_sandbox.brokers.broker_properties import CLUSTER, COMMON
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import free_port, wait_until_answers

BROKERS_MIN: Final = 3
BROKERS_MAX: Final = 9
_HOST: Final = "127.0.0.1"
_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 20.0
_HEAP: Final = ("-Xms128m", "-Xmx320m")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """Where one node listens, or the ports that others know it by."""

    client: int
    broker: int
    controller: int


Advertise = Callable[[int, NodePorts], NodePorts]
"""Given a node's number and where it listens: the ports that others know it by."""


class ApacheCluster:
    """Nodes ``broker-1``, ``broker-2``... below ``data``, which is kept; without it a temporary folder is made and removed.

    ``client_ports`` are the ports for clients (default: free ones). ``advertise`` puts something between. ``properties``: Kafka's, for all nodes.
    ``start_seconds``: how long a node may take until it answers.
    """

    name = "apache"

    def __init__(
        self,
        data: Path | None = None,
        *,
        brokers: int = BROKERS_MIN,
        client_ports: Sequence[int] = (),
        advertise: Advertise | None = None,
        properties: Mapping[str, str] | None = None,
        start_seconds: float = _START_TIMEOUT_S,
    ) -> None:
        """Find Java and the jars. Raises BrokerUnavailable. Blocks while Maven fetches, at the first call on a machine."""
        if not BROKERS_MIN <= brokers <= BROKERS_MAX:
            raise BrokerUnavailable(f"a cluster has {BROKERS_MIN} to {BROKERS_MAX} brokers here, not {brokers}: three copies need three")
        self._kafka: ApacheKafka = find_apache_kafka()
        self._data = data
        self._temporary: Path | None = None
        self._numbers = range(1, brokers + 1)
        self._ports = {number: _listening(client_ports[number - 1] if client_ports else 0) for number in self._numbers}
        self._advertise: Advertise = advertise or (lambda _, ports: ports)
        self._properties = dict(properties or {})
        self._start_seconds = start_seconds
        self._nodes: dict[str, ApacheNode] = {}

    @property
    def names(self) -> Sequence[str]:
        """What the nodes are called."""
        return [_name(number) for number in self._numbers]

    @property
    def bootstrap(self) -> str:
        """The addresses for clients, comma-separated."""
        return ",".join(f"{_HOST}:{self._advertise(number, ports).client}" for number, ports in self._ports.items())

    def ports(self, name: str) -> NodePorts:
        """Where a node listens, or will."""
        return self._ports[node_number(name)]

    def pid(self, name: str) -> int:
        """The process id of a running node."""
        return self._nodes[name].pid

    def describe(self) -> str:
        """One line for people."""
        return f"Apache Kafka {self._kafka.version} on Java {self._kafka.java_major}, KRaft, {len(self._numbers)} nodes"

    def start(self) -> str:
        """Format the storages that are new, start all nodes, and wait until each answers. Raises BrokerUnavailable."""
        if self._data is None:
            self._data = self._temporary = Path(tempfile.mkdtemp(prefix="taximeter-apache-cluster-"))
        self._data.mkdir(parents=True, exist_ok=True)
        self._nodes = {_name(number): self._node(number, self._data) for number in self._numbers}
        try:
            cluster_id = new_cluster_id()
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda node: node.format(cluster_id), self._nodes.values()))
            return self.restart()
        except BrokerUnavailable:
            self.stop()
            raise

    def restart(self) -> str:
        """Start all nodes again on the same ports and data after ``kill``. Raises BrokerUnavailable."""
        for node in self._nodes.values():
            node.launch()
        for name in self._nodes:
            self._wait_for(name)
        return self.bootstrap

    def kill(self) -> None:
        """SIGKILL to all nodes; the data stays."""
        for node in self._nodes.values():
            node.kill()

    def stop(self) -> None:
        """SIGTERM to all nodes; a temporary data folder goes."""
        nodes, self._nodes = self._nodes, {}
        # Nobody reads a temporary log again. Otherwise all at once: the last one of an orderly row finds no majority any more, and waits.
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.terminate(0.0 if self._temporary else _STOP_TIMEOUT_S), nodes.values()))
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._data = self._temporary = None

    def kill_node(self, name: str) -> None:
        """SIGKILL to one node; its data stays."""
        self._nodes[name].kill()

    def stop_node(self, name: str) -> None:
        """SIGTERM to one node, which hands over what it leads. Blocks for some seconds."""
        self._nodes[name].terminate(_STOP_TIMEOUT_S)

    def start_node(self, name: str) -> None:
        """Start one node again and wait until it answers. Raises BrokerUnavailable."""
        self._nodes[name].launch()
        self._wait_for(name)

    def freeze_node(self, name: str) -> None:
        """SIGSTOP: the node holds its connections, takes new ones, and answers nothing."""
        self._nodes[name].freeze()

    def thaw_node(self, name: str) -> None:
        """SIGCONT after ``freeze_node``."""
        self._nodes[name].thaw()

    def _node(self, number: int, data: Path) -> ApacheNode:
        told = {other: self._advertise(other, ports) for other, ports in self._ports.items()}
        properties = {
            **COMMON,
            **CLUSTER,
            "node.id": str(number),
            "listeners": _listeners(self._ports[number]),
            "advertised.listeners": _listeners(told[number]),
            "controller.quorum.voters": ",".join(f"{other}@{_HOST}:{ports.controller}" for other, ports in told.items()),
            **self._properties,
        }
        return ApacheNode(self._kafka, data / _name(number), properties, heap=_HEAP)

    def _wait_for(self, name: str) -> None:
        node = self._nodes[name]
        try:
            wait_until_answers(_HOST, self.ports(name).client, timeout_s=self._start_seconds, death=node.death)
        except BrokerUnavailable:
            node.kill()
            raise


def _listening(client: int) -> NodePorts:
    return NodePorts(client=client or free_port(_HOST), broker=free_port(_HOST), controller=free_port(_HOST))


def _name(number: int) -> str:
    return f"broker-{number}"


def node_number(name: str) -> int:
    """The node id of a node's name."""
    return int(name.rpartition("-")[2])


def _listeners(ports: NodePorts) -> str:
    return f"CLIENT://{_HOST}:{ports.client},BROKER://{_HOST}:{ports.broker},CONTROLLER://{_HOST}:{ports.controller}"
