"""How a client of aiokafka reaches the nodes of a cluster when one of them is silent: that one costs its own partitions, and nothing of others.

By itself aiokafka opens one connection at a time, waits for it as long as for a request, and asks any node at random, the silent one included.
So the living nodes wait for the silent one. Here each node is connected to by itself and within a short time. A node that did not answer is left
alone until a probe finds it well. Meanwhile requests to it fail at once, and the layout is asked of the others, again and again, until another
node leads. The private attributes of aiokafka's client are used here and in aiokafka_internals; CHECKED_WITH there names the version.
"""

import asyncio
import logging
import os
import random
import ssl
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from taximeter_emitter.deadlines import timeout

CONNECT_SECONDS_MAX: Final = 5.0
"""How long a connection may take: TCP, TLS, versions and SASL. Where nobody waits for it in vain it may take CONNECT_PATIENCE times that."""

CONNECT_PATIENCE: Final = 4

PROBE_SECONDS: Final = 0.5
SHUNNED_SECONDS: Final = 0.3
"""How long a request to a silent node waits before it fails; its sender will ask again at once."""

STAGGER_SECONDS: Final = 0.5
"""How long a bootstrap server is waited for before the next one is asked, too."""

_LOG: Final = logging.getLogger("aiokafka")
# asyncio's own differs from Python's until Python 3.11.
_WORDS_CHARS_MAX: Final = 200
_FAILED: Final = (OSError, KafkaError, TimeoutError, asyncio.TimeoutError)
_MAY_WAIT_FOR_OTHERS: Final = (JoinGroupRequest, SyncGroupRequest)

_ConnectionId = tuple[Any, Any]  # node and group, as aiokafka keeps them


class NodeConnections:
    """Takes the place of what `client` (an AIOKafkaClient that is not started) does about connections.

    `join_seconds`: how long the group's coordinator may hold a request back until the other members have come. aiokafka calls the methods.
    """

    def __init__(self, client: Any, *, connect_seconds: float, request_seconds: float, join_seconds: float) -> None:
        self._client = client
        self._connect_seconds = connect_seconds
        self._request_seconds = request_seconds
        self._join_seconds = join_seconds
        self._locks: defaultdict[_ConnectionId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._probes: dict[Any, asyncio.Task[None]] = {}
        self._answered_at = asyncio.get_running_loop().time()
        self._close_client = client.close
        client.bootstrap = self.bootstrap
        client.close = self.close
        client.get_random_node = self.random_node
        client.send = self.send
        client._get_conn = self.connection
        client.silent_seconds = self.silent_seconds

    def silent_seconds(self) -> float:
        """For how long no node has answered anything, asked or not."""
        return asyncio.get_running_loop().time() - self._answered_at

    async def bootstrap(self) -> None:
        """Ask the bootstrap servers for the layout of the cluster; the first answer is taken. Raises KafkaConnectionError."""
        client = self._client
        connection, layout = await self._first_answer()
        client.cluster.update_metadata(layout)
        if client.cluster.brokers():
            connection.close()
        else:
            # A cluster without topics may name no nodes.
            client._conns["bootstrap", ConnectionGroup.DEFAULT] = connection
        if client._sync_task is None:
            client._sync_task = asyncio.ensure_future(client._md_synchronizer())

    async def close(self) -> None:
        """Close the connections; no probe goes on."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        await self._close_client()

    def random_node(self) -> Any:
        """A node that is not known to be silent, if there is one; None if no node is known."""
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()]
        well = [node for node in nodes if node not in self._probes]
        return random.choice(well or nodes) if nodes else None

    async def connection(self, node: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        """The connection to a node, opened if need be; None if it cannot be had now."""
        del no_hint  # aiokafka passes it and uses it nowhere
        key = (node, group)
        found = self._open_one(key)
        if found is not None:
            return found
        if node in self._probes:
            await asyncio.sleep(SHUNNED_SECONDS)
            self._client.force_metadata_update()
            return None
        async with self._locks[key]:
            found = self._open_one(key)
            if found is not None or node in self._probes:
                return found
            try:
                found = self._client._conns[key] = await self._connect(node, self._connect_seconds)
            except _FAILED as error:
                _LOG.warning("no connection to node %s: %r", node, error)
                self._shun(node)
            return found

    async def send(self, node: Any, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """The response of a node. Raises NodeNotReadyError, RequestTimedOutError, KafkaConnectionError."""
        connection = await self.connection(node, group=group)
        if connection is None:
            raise NodeNotReadyError(f"node {node} cannot be reached")
        try:
            if isinstance(request, _MAY_WAIT_FOR_OTHERS):
                return await self._wait_for_others(node, connection, request)
            return await self._ask(connection, request, self._request_seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            self._shun(node)
            raise RequestTimedOutError from error

    async def _wait_for_others(self, node: Any, connection: Any, request: Any) -> Any:
        """An answer that may be held back, as long as another connection tells that the node lives. Raises TimeoutError."""
        answer = asyncio.ensure_future(self._ask(connection, request, max(self._join_seconds, self._request_seconds)))
        try:
            while True:
                await asyncio.wait({answer}, timeout=self._request_seconds)
                if answer.done():
                    return answer.result()
                try:
                    (await self._connect(node, self._connect_seconds)).close()
                except _FAILED as error:
                    raise TimeoutError(f"node {node} is silent") from error
        finally:
            answer.cancel()

    async def _ask(self, connection: Any, request: Any, seconds: float) -> Any:
        connection._request_timeout = seconds  # read in the same step, for this request alone
        answer = await connection.send(request, expect_response=not (isinstance(request, ProduceRequest) and request.required_acks == 0))
        self._answered_at = asyncio.get_running_loop().time()
        return answer

    def _open_one(self, key: _ConnectionId) -> Any:
        found = self._client._conns.get(key)
        if found is not None and not found.connected():
            found = None
            del self._client._conns[key]
        return found

    def _shun(self, node: Any) -> None:
        """Leave a silent node alone until a probe finds it well, and learn who leads in its place."""
        if node not in self._probes and self._client.cluster.broker_metadata(node) is not None:
            probe = self._probes[node] = asyncio.ensure_future(self._probe(node))
            probe.add_done_callback(lambda _: self._probes.pop(node, None))
        self._client.force_metadata_update()

    async def _probe(self, node: Any) -> None:
        while self._client.cluster.broker_metadata(node) is not None:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                connection = await self._connect(node, CONNECT_PATIENCE * self._connect_seconds)
            except _FAILED as error:
                _LOG.debug("node %s is still silent: %r", node, error)
                continue
            if self._client._conns.setdefault((node, ConnectionGroup.DEFAULT), connection) is not connection:
                connection.close()
            return

    async def _connect(self, node: Any, seconds: float) -> Any:
        broker = self._client.cluster.broker_metadata(node)
        if broker is None:
            raise NodeNotReadyError(f"node {node} is not in the layout of the cluster")
        return await self._dial(broker.host, broker.port, seconds, on_close=self._client._on_connection_closed)

    async def _dial(self, host: str, port: int, seconds: float, *, on_close: Callable[[Any, Any], None] | None) -> Any:
        client = self._client
        connecting = create_conn(
            host,
            port,
            client_id=client._client_id,
            request_timeout_ms=seconds * 1000,
            ssl_context=client._ssl_context,
            security_protocol=client._security_protocol,
            on_close=on_close,
            max_idle_ms=client._connections_max_idle_ms,
            sasl_mechanism=client._sasl_mechanism,
            sasl_plain_username=client._sasl_plain_username,
            sasl_plain_password=client._sasl_plain_password,
            sasl_kerberos_service_name=client._sasl_kerberos_service_name,
            sasl_kerberos_domain_name=client._sasl_kerberos_domain_name,
            sasl_oauth_token_provider=client._sasl_oauth_token_provider,
        )
        async with timeout(seconds):  # its steps have this limit each; all of them together have it, too
            return await connecting

    async def _first_answer(self) -> tuple[Any, Any]:
        servers = [(host, port) for host, port, _ in self._client.hosts]
        unasked = list(servers)
        asked: set[asyncio.Task[tuple[Any, Any]]] = set()
        failures: dict[str, str] = {f"{host}:{port}": "no answer" for host, port in servers}
        try:
            while unasked or asked:
                if unasked:
                    asked.add(asyncio.ensure_future(self._layout_from(*unasked.pop(0), failures)))
                ended, asked = await asyncio.wait(asked, timeout=STAGGER_SECONDS if unasked else None, return_when=asyncio.FIRST_COMPLETED)
                answers = [task.result() for task in ended if task.exception() is None]
                for connection, _ in answers[1:]:
                    connection.close()
                if answers:
                    return answers[0]
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise KafkaConnectionError(f"no bootstrap server answers: {', '.join(f'{server} ({words})' for server, words in failures.items())}")

    async def _layout_from(self, host: str, port: int, failures: dict[str, str]) -> tuple[Any, Any]:
        try:
            connection = await self._dial(host, port, CONNECT_PATIENCE * self._connect_seconds, on_close=None)
            try:
                return connection, await connection.send(MetadataRequest([]))
            except BaseException:
                connection.close()
                raise
        except _FAILED as error:
            failures[f"{host}:{port}"] = _words(error)
            _LOG.warning("bootstrap server %s:%s does not answer: %r", host, port, error)
            raise


def _words(error: BaseException) -> str:
    """What is wrong: a wrong password and an unknown certificate look like a broker that is away otherwise."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)  # the words of its own name the address again
    text = str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"
    return text[:_WORDS_CHARS_MAX].rstrip(": ")
