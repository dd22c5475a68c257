"""The network of a cluster under chaos: a proxy before each node for its clients, and one before each for the other nodes, who can be told apart."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import psutil
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster, NodePorts, node_number
from taximeter_sandbox.brokers.readiness import free_port

from tests.chaos.proxy import CHUNK_BYTES, FaultProxy

_HOST: Final = "127.0.0.1"


class LinkProxy:
    """Passes on what other nodes send to one node, unless `is_cut` says that the two are apart: then connections stay open and nothing passes."""

    def __init__(self, port: int, target_port: int, target: int, *, origin_of: Callable[[int], int], is_cut: Callable[[int, int], bool]) -> None:
        self._port = port
        self._target_port = target_port
        self._target = target
        self._origin_of = origin_of
        self._is_cut = is_cut
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: dict[asyncio.StreamWriter, int] = {}

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._take, _HOST, self._port)

    async def close(self) -> None:
        """Stop listening and break what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_cut(self, node: int) -> None:
        """Break the connections from and to a node, as their timers would do in the end."""
        for writer, origin in list(self._writers.items()):
            if node in {origin, self._target}:
                writer.transport.abort()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[1]
        origin = await asyncio.to_thread(self._origin_of, peer)
        try:
            far_reader, far_writer = await asyncio.open_connection(_HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, far_writer)
        self._writers.update(dict.fromkeys(ends, origin))
        try:
            await asyncio.gather(self._pump(reader, far_writer, origin), self._pump(far_reader, writer, origin))
        finally:
            for end in ends:
                self._writers.pop(end, None)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, origin: int) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self._is_cut(origin, self._target):
                    continue  # it is lost on the way; `break_cut` ends the connection
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


class ClusterNetwork:
    """Make it before the cluster, and start it before the cluster starts. `clients`: what stands between clients and each node."""

    def __init__(self, random: Random) -> None:
        self.clients: dict[str, FaultProxy] = {}
        self._random = random
        self._links: list[LinkProxy] = []
        self._shown: dict[int, NodePorts] = {}
        self._cut: int | None = None
        self._pids: Callable[[], Mapping[int, int]] = dict

    def advertise(self, number: int, _: NodePorts) -> NodePorts:
        """The ports of the proxies of a node."""
        if number not in self._shown:
            self._shown[number] = NodePorts(client=free_port(_HOST), broker=free_port(_HOST), controller=free_port(_HOST))
        return self._shown[number]

    async def start(self, cluster: ApacheCluster) -> None:
        """Listen before each node. Raises OSError."""
        self._pids = lambda: {node_number(name): cluster.pid(name) for name in cluster.names}
        for name in cluster.names:
            number, own = node_number(name), cluster.ports(name)
            shown = self.advertise(number, own)
            self.clients[name] = FaultProxy(shown.client, own.client, self._random)
            for port, target in ((shown.broker, own.broker), (shown.controller, own.controller)):
                self._links.append(LinkProxy(port, target, number, origin_of=self._origin_of, is_cut=self._is_cut))
        await asyncio.gather(*(proxy.start() for proxy in self.clients.values()), *(link.start() for link in self._links))

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*(proxy.close() for proxy in self.clients.values()), *(link.close() for link in self._links))

    def cut_off(self, name: str) -> None:
        """From now on nothing passes between this node and the others; its clients still reach it."""
        self._cut = node_number(name)

    def join_again(self) -> None:
        """The network between the nodes is whole."""
        node, self._cut = self._cut, None
        if node is not None:
            for link in self._links:
                link.break_cut(node)

    def _is_cut(self, origin: int, target: int) -> bool:
        return self._cut is not None and origin != target and self._cut in {origin, target}

    def _origin_of(self, port: int) -> int:
        """The node that has this local port; 0 when none has. Looks at the processes' sockets, so it takes some milliseconds."""
        for number, pid in self._pids().items():
            with contextlib.suppress(psutil.Error):
                if any(each.laddr and each.laddr.port == port for each in psutil.Process(pid).net_connections("tcp")):
                    return number
        return 0
