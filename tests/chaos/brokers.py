"""The brokers of a run, one or three, with what stands between them and their clients. Nodes have names; one broker has one."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

from taximeter_sandbox.brokers.apache import ApacheBroker
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster
from taximeter_sandbox.brokers.embedded import EmbeddedBroker
from taximeter_sandbox.brokers.readiness import free_port

from tests.chaos.cluster_network import ClusterNetwork
from tests.chaos.proxy import FaultProxy

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 300.0  # on a machine that has other work, and less than an action may take


class Brokers(Protocol):
    """What chaos does to brokers. `kill`, `stop`, `restart` block, for some seconds at most."""

    @property
    def names(self) -> Sequence[str]:
        """The nodes."""

    @property
    def bootstrap(self) -> str:
        """Where clients find them: the proxies."""

    @property
    def copies(self) -> int:
        """Copies of each partition."""

    @property
    def proxies(self) -> Mapping[str, FaultProxy]:
        """What stands between clients and each node."""

    def describe(self) -> str:
        """One line for people."""

    async def start(self) -> None:
        """Proxies and brokers. Raises BrokerUnavailable, OSError."""

    async def close(self) -> None:
        """End everything."""

    def kill(self, name: str, /) -> None:
        """SIGKILL."""

    def stop(self, name: str, /) -> None:
        """SIGTERM."""

    def restart(self, name: str, /) -> None:
        """Start again after `kill` or `stop`, and wait until it answers."""

    def freeze(self, name: str, /) -> None:
        """SIGSTOP."""

    def thaw(self, name: str, /) -> None:
        """SIGCONT."""


class OneBroker:
    """A broker that tells its clients the port of a proxy."""

    names = ("broker",)
    copies = 1

    def __init__(self, kind: str, data: Path, random: Random) -> None:
        """`kind`: apache or embedded. Raises BrokerUnavailable."""
        self._port = free_port(_HOST)
        self._random = random
        make = ApacheBroker if kind == "apache" else EmbeddedBroker
        self._broker: ApacheBroker | EmbeddedBroker = make(data, advertised_port=self._port)
        self.proxies: dict[str, FaultProxy] = {}

    @property
    def bootstrap(self) -> str:
        return f"{_HOST}:{self._port}"

    def describe(self) -> str:
        return self._broker.describe()

    async def start(self) -> None:
        await asyncio.to_thread(self._broker.start)
        self.proxies["broker"] = proxy = FaultProxy(self._port, self._broker.port, self._random)
        await proxy.start()

    async def close(self) -> None:
        for proxy in self.proxies.values():
            await proxy.close()
        await asyncio.to_thread(self._broker.stop)

    def kill(self, _name: str, /) -> None:
        self._broker.kill()

    def stop(self, _name: str, /) -> None:
        self._broker.kill()

    def restart(self, _name: str, /) -> None:
        self._broker.restart()

    def freeze(self, _name: str, /) -> None:
        os.kill(self._broker.pid, signal.SIGSTOP)

    def thaw(self, _name: str, /) -> None:
        os.kill(self._broker.pid, signal.SIGCONT)


class ThreeBrokers:
    """A cluster of Apache Kafka, three copies, two in sync."""

    copies = 3

    def __init__(self, data: Path, random: Random) -> None:
        """Raises BrokerUnavailable."""
        self.network = ClusterNetwork(random)
        self.cluster = ApacheCluster(data, advertise=self.network.advertise, start_seconds=_START_SECONDS)
        self.names = self.cluster.names

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    @property
    def proxies(self) -> Mapping[str, FaultProxy]:
        return self.network.clients

    def describe(self) -> str:
        return self.cluster.describe()

    async def start(self) -> None:
        await self.network.start(self.cluster)
        await asyncio.to_thread(self.cluster.start)

    async def close(self) -> None:
        await asyncio.to_thread(self.cluster.kill)
        await self.network.close()
        await asyncio.to_thread(self.cluster.stop)

    def kill(self, name: str, /) -> None:
        self.cluster.kill_node(name)

    def stop(self, name: str, /) -> None:
        self.cluster.stop_node(name)

    def restart(self, name: str, /) -> None:
        self.cluster.start_node(name)

    def freeze(self, name: str, /) -> None:
        self.cluster.freeze_node(name)

    def thaw(self, name: str, /) -> None:
        self.cluster.thaw_node(name)
