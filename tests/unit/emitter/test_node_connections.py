"""A silent node costs nobody but those who need it. The nodes here are sockets that answer the first request of a connection, or nothing at all."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.group import JoinGroupRequest
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v1
from taximeter_emitter.transports import node_connections
from taximeter_emitter.transports.node_connections import NodeConnections

from tests.support.waiting import until_async

WELL, SILENT = 1, 2
LONG = 600.0
# Metadata and JoinGroup, each in one version.
VERSIONS = (3, 1, 1, 11, 2, 2)


@dataclass
class Nodes:
    """`silent`: the ports that take connections and answer nothing."""

    ports: dict[int, int]
    silent: set[int] = field(default_factory=set)
    taken: dict[int, int] = field(default_factory=lambda: {WELL: 0, SILENT: 0})


@asynccontextmanager
async def nodes() -> AsyncIterator[Nodes]:
    """Two nodes that answer ApiVersions and Metadata (which names both), and nothing else."""
    found = Nodes({})
    writers: list[asyncio.StreamWriter] = []

    def answer(node: int) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.taken[node] += 1
            writers.append(writer)
            while size := await reader.read(4):
                request = await reader.readexactly(struct.unpack(">i", size)[0])
                key, _, correlation = struct.unpack_from(">hhi", request)
                body = {18: struct.pack(">hi", 0, len(VERSIONS) // 3) + struct.pack(f">{len(VERSIONS)}h", *VERSIONS), 3: layout.encode()}.get(key)
                if node in found.silent or body is None:
                    continue
                writer.write(struct.pack(">ii", 4 + len(body), correlation) + body)

        return serve

    servers = {node: await asyncio.start_server(answer(node), "127.0.0.1", 0) for node in (WELL, SILENT)}
    found.ports.update({node: server.sockets[0].getsockname()[1] for node, server in servers.items()})
    layout = MetadataResponse_v1([(node, "127.0.0.1", port, None) for node, port in found.ports.items()], WELL, [])
    try:
        yield found
    finally:
        for server in servers.values():
            server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@asynccontextmanager
async def client_of(found: Nodes, *, connect_seconds: float = LONG, request_seconds: float = LONG) -> AsyncIterator[Any]:
    client = AIOKafkaClient(bootstrap_servers=[f"127.0.0.1:{port}" for port in found.ports.values()])
    NodeConnections(client, connect_seconds=connect_seconds, request_seconds=request_seconds, join_seconds=LONG)
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_SECONDS", "SHUNNED_SECONDS", "STAGGER_SECONDS"):
        monkeypatch.setattr(node_connections, name, 0.01)


async def soon(coroutine: Awaitable[Any]) -> Any:
    async with asyncio.timeout(30):
        return await coroutine


async def test_connecting_to_a_silent_node_keeps_no_other_waiting() -> None:
    async with nodes() as found, client_of(found) as client:
        found.silent = {SILENT}
        waiting = asyncio.ensure_future(client._get_conn(SILENT))
        await until_async(lambda: found.taken[SILENT] > 0)
        assert await soon(client.ready(WELL))
        assert not waiting.done()
        waiting.cancel()


async def test_a_silent_bootstrap_server_is_passed_over() -> None:
    async with nodes() as found:
        found.silent = {SILENT}
        for _ in range(4):  # in whichever order they are asked
            async with client_of(found) as client:
                assert len(client.cluster.brokers()) == 2


async def test_without_any_bootstrap_server_the_error_names_them() -> None:
    async with nodes() as found:
        found.silent = {WELL, SILENT}
        with pytest.raises(KafkaConnectionError, match=f"127.0.0.1:{found.ports[WELL]}"):
            async with client_of(found, connect_seconds=0.05):
                pass


async def test_a_node_that_was_silent_is_left_alone_until_a_probe_finds_it_well() -> None:
    async with nodes() as found, client_of(found, connect_seconds=0.05) as client:
        found.silent = {SILENT}
        assert not await soon(client.ready(SILENT))
        assert {client.get_random_node() for _ in range(50)} == {WELL}
        with pytest.raises(NodeNotReadyError):
            await soon(client.send(SILENT, MetadataRequest([])))
        found.silent = set()
        await until_async(lambda: {client.get_random_node() for _ in range(50)} == {WELL, SILENT})
        assert await soon(client.ready(SILENT))


async def test_a_request_that_is_not_answered_closes_the_connection_and_asks_who_leads_now(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes() as found, client_of(found, connect_seconds=0.5, request_seconds=0.1) as client:
        assert await soon(client.ready(SILENT))
        found.silent = {SILENT}
        asked: list[bool] = []
        monkeypatch.setattr(client, "force_metadata_update", lambda: asked.append(True))
        with pytest.raises(RequestTimedOutError):
            await soon(client.send(SILENT, MetadataRequest([])))
        assert asked
        assert client.get_random_node() == WELL


async def test_a_member_may_wait_for_the_others_as_long_as_its_coordinator_lives() -> None:
    join = JoinGroupRequest("group", 10_000, 30_000, "", None, "consumer", [])
    async with nodes() as found, client_of(found, connect_seconds=0.2, request_seconds=0.05) as client:
        waiting = asyncio.ensure_future(client.send(SILENT, join))
        await until_async(lambda: found.taken[SILENT] > 3)  # it is looked after
        assert not waiting.done()
        found.silent = {SILENT}
        with pytest.raises(RequestTimedOutError):
            await soon(waiting)
