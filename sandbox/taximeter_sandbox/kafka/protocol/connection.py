"""One client's connection: frames in, answers out, strictly in order."""

import asyncio
import logging
import struct
from collections import deque
from typing import cast

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext
from taximeter_sandbox.kafka.cluster.broker_faults import ConnectionMustClose
from taximeter_sandbox.kafka.protocol.codec import MalformedRequest, RequestStart, read_request, read_request_start, write_response
from taximeter_sandbox.kafka.protocol.registry import API_VERSIONS, APIS, versions_response

_SIZE = struct.Struct(">i")
#: Requests, in number and in bytes, that a client may have waiting here before its socket is no longer read.
_WAITING_MAX = 64
_WAITING_BYTES_MAX = 4 * 1024 * 1024
_logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """Handles one request at a time, as Kafka does, so answers leave in the order of the requests.

    Waiting requests are bounded in number and bytes; a client that does not read its answers is not read from either.
    """

    def __init__(self, broker: Broker, connections: set["Connection"]) -> None:
        self._broker = broker
        self._connections = connections
        self._received = bytearray()
        self._frames: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._frame_arrived = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the one task that answers this client; a client too many is turned away."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are of no asyncio class
        peer = transport.get_extra_info("peername")
        self._client_host = str(peer[0]) if peer else ""
        if len(self._connections) >= self._broker.settings.connections_max:
            _logger.warning("turned a connection away: %d are open", len(self._connections))
            self._transport.abort()
            return
        self._connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._answer_all(), name="connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering: a long poll or a join that nobody waits for any more ends."""
        del exc  # why the client went makes no difference
        if self in self._connections:
            self._connections.discard(self)
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames."""
        self._received += data
        while len(self._received) >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._received)
            if not 0 < size <= self._broker.settings.request_bytes_max:
                _logger.warning("closed a connection that announced a request of %d bytes", size)
                self._transport.abort()
                return
            end = _SIZE.size + size
            if len(self._received) < end:
                break
            self._frames.append(bytes(memoryview(self._received)[_SIZE.size : end]))
            del self._received[:end]
            self._waiting_bytes += size
            self._frame_arrived.set()
        if self._reading and (len(self._frames) >= _WAITING_MAX or self._waiting_bytes >= _WAITING_BYTES_MAX):
            self._reading = False
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._may_write.set()

    def close(self) -> None:
        """Close the connection; the task ends with it."""
        self._transport.close()

    async def _answer_all(self) -> None:
        try:
            while True:
                await self._may_write.wait()
                answer = await self._answer(await self._next_frame())
                if answer is not None:
                    self._transport.write(answer)
        except (ConnectionMustClose, MalformedRequest) as error:
            _logger.warning("closed a connection: %s", error)
            self._transport.abort()
        except Exception:
            # A mistake of this broker. A real one answers UNKNOWN_SERVER_ERROR in a shape that depends on the API; clients treat a
            # closed connection alike.
            _logger.exception("a request failed")
            self._transport.abort()

    async def _next_frame(self) -> bytes:
        while not self._frames:
            self._frame_arrived.clear()
            await self._frame_arrived.wait()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        if not self._reading and len(self._frames) < _WAITING_MAX // 2 and self._waiting_bytes < _WAITING_BYTES_MAX // 2:
            self._reading = True
            self._transport.resume_reading()
        return frame

    async def _answer(self, frame: bytes) -> memoryview | None:
        start = read_request_start(frame)
        await self._broker.faults.hold_back()
        api = APIS.get(start.api_key)
        if api is None or not api.lowest <= start.api_version <= api.highest:
            if start.api_key == API_VERSIONS:
                # A client newer than this broker asks again in a version it finds in this answer.
                return write_response(RequestStart(API_VERSIONS, 0, start.correlation_id), versions_response(ErrorCode.unsupported_version))
            raise ConnectionMustClose(f"API {start.api_key} version {start.api_version} is not spoken here")
        client_id, request = read_request(frame, start)
        response = await api.handle(RequestContext(self._broker, start.api_version, client_id, self._client_host), request)
        return None if response is None else write_response(start, response)
