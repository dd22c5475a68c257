"""The gateway put together, and its life: topics, connection to Kafka, open door; then not ready, closed door, finished requests, last words."""

import asyncio
import uuid
from pathlib import Path
from typing import Final

from aiohttp import web
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.transports.kafka_producer import KafkaProducer

from ingest.admission.api_keys import ApiKeys, BadKeysFile, read_keys
from ingest.admission.byte_budget import Admission
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.requests.bodies import BodyReader
from ingest.requests.handler import EventsHandler
from ingest.requests.server import PATH, Edge
from ingest.settings import GatewaySettings
from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import ensure_topics
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.records.meters import Catalogue

_HEAD_BYTES_MAX: Final = 16 * 1024
_IDLE_SECONDS: Final = 75.0  # load balancers keep connections for 60 s
_LINGER_SECONDS: Final = 2.0  # how long a refused body is still read, so that the client sees the answer and not a reset
_KEYS_SECONDS: Final = 5.0
_FULLNESS_MAX: Final = 0.9


class Gateway:
    """One gateway process."""

    def __init__(self, context: ServiceContext, kafka: KafkaSettings, settings: GatewaySettings, catalogue: Catalogue) -> None:
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._admission = Admission(settings.in_flight_bytes_max)
        self._metrics = GatewayMetrics.create(context.registry)
        self._keys = None if settings.api_keys_file is None else ApiKeys(read_keys(settings.api_keys_file))
        self._publisher = Publisher(
            Batcher(f"gateway-{uuid.uuid4().hex}", events_max=settings.batch_events_max),
            new_producer=lambda: KafkaProducer(
                kafka.options(), topic=kafka.topics.events.name, client_id="gateway", open_seconds=kafka.request_timeout_seconds
            ),
            admission=self._admission,
            metrics=self._metrics,
            linger_seconds=settings.linger_seconds,
            acknowledge_seconds=settings.acknowledge_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            clock=context.clock,
        )
        handler = EventsHandler(
            reader=BodyReader(catalogue, events_max=settings.events_max),
            keys=self._keys,
            admission=self._admission,
            publisher=self._publisher,
            metrics=self._metrics,
            body_bytes_max=settings.body_bytes_max,
            read_seconds=settings.read_seconds,
            clock=context.clock,
        )
        self._edge = Edge(handler.post, self._metrics, context.clock)

    async def run(self) -> None:
        """Until told to stop. Raises RefusedToStart when the topics or the port are not as they must be."""
        context = self._context
        problems = await ensure_topics(self._kafka, self._kafka.topics, clock=context.clock)
        if problems:
            raise RefusedToStart(problems)
        self._publish_gauges()
        context.health.require("kafka", self._publisher.problem)
        context.health.require("room", self._fullness)
        publishing = context.spawn("publisher", self._publisher.run())
        if self._settings.api_keys_file is not None:
            context.spawn("api keys", self._follow_keys(self._settings.api_keys_file), background=True)
        server = web.Server(
            self._edge.handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_HEAD_BYTES_MAX,
            max_field_size=_HEAD_BYTES_MAX,
        )
        runner = web.ServerRunner(server, shutdown_timeout=self._settings.acknowledge_seconds + self._settings.read_seconds)
        await runner.setup()
        door = await self._open_door(runner, server)
        try:
            context.health.mark_started()
            await context.stop.wait()
            self._edge.is_stopping = True
            await context.clock.sleep(self._settings.pre_stop_seconds)
        finally:
            door.close()
            await runner.cleanup()
            await self._publisher.close(self._settings.acknowledge_seconds)
        await publishing

    async def _open_door(self, runner: web.ServerRunner, server: web.Server) -> asyncio.Server:
        settings = self._settings

        def protocol() -> asyncio.Protocol:
            return server() if len(server.connections) < settings.connections_max else _Full()

        try:
            door = await asyncio.get_running_loop().create_server(protocol, settings.host, settings.port, backlog=1024)
        except OSError as error:
            await runner.cleanup()
            raise RefusedToStart([f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"]) from None
        port = door.sockets[0].getsockname()[1]
        self._context.log.info("taking events", url=f"http://{settings.host}:{port}{PATH}", keys="none" if self._keys is None else "required")
        if settings.port_file is not None:
            draft = settings.port_file.with_name(f"{settings.port_file.name}.new")
            draft.write_text(str(port))
            draft.replace(settings.port_file)
        return door

    def _publish_gauges(self) -> None:
        self._metrics.in_flight_limit.set(self._admission.bytes_max)
        self._metrics.in_flight_bytes.set_function(lambda: self._admission.in_flight)

    def _fullness(self) -> str | None:
        share = self._admission.in_flight / self._admission.bytes_max
        return f"{share:.0%} of the bytes that may be in flight are" if share > _FULLNESS_MAX else None

    async def _follow_keys(self, path: Path) -> None:
        """Read the file of keys again when it changes; a file that cannot be used changes nothing."""
        assert self._keys is not None, "there is a file of keys"
        seen = _stamp(path)
        while True:
            await self._context.clock.sleep(_KEYS_SECONDS)
            stamp = _stamp(path)
            if stamp == seen:
                continue
            seen = stamp
            try:
                self._keys.replace(read_keys(path))
                self._context.log.info("API keys were read again")
            except BadKeysFile as bad:
                for problem in bad.problems:
                    self._context.log.error("the file of API keys cannot be used; the keys before it stay", problem=problem)


class _Full(asyncio.Protocol):
    """Turns a connection away at once: there are as many as there may be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file does; None while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
