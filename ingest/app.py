"""Builds the gateway and runs it.

Start: the topics, the producer to Kafka, the HTTP server. Stop: not ready, no new connections, running requests finish, last batches and heartbeats.
"""

import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final

from aiohttp import hdrs
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.transports.kafka_producer import KafkaProducer
from taximeter_emitter.wire.limits import DAY_MS

from ingest.admission.api_keys import ApiKeys
from ingest.admission.byte_budget import ByteBudget
from ingest.foreign.foreign_handler import ForeignHandler
from ingest.mappings.foreign_paths import ForeignPath
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.requests.batches_handler import BatchesHandler
from ingest.requests.bodies import BodyReader
from ingest.requests.gate import RequestGate
from ingest.requests.handler import EventsHandler
from ingest.requests.intake import EventIntake
from ingest.requests.server import BATCHES_PATH, EVENTS_PATH, GatewayServer, Routes
from ingest.settings import GatewaySettings
from ingest.tracing.append_spans import AppendSpans
from ingest.tracing.request_spans import RequestSpans
from metering.configuration.file_watch import FileWatch
from metering.configuration.key_file import BadKeysFile, expiry_text, read_keys
from metering.folds.catalogue_timeline import CatalogueVersion, taken_by_any
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.kafka.provision import ensure_topics_unless_stopped
from metering.kafka.topic_watch import TopicWatch
from metering.process.descriptors import raise_descriptor_limit
from metering.process.listener import CannotListen, ListenAddress, ListenerLimits
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.records.meters import Catalogue
from metering.tracing.span_maker import SpanMaker

_LINGER_SECONDS: Final = 2.0
_EXPIRY_TOLD_MS: Final = 7 * DAY_MS
_KEYS_TOLD: Final = 5
_FIELDS_SECONDS: Final = 5.0
_OPEN_REQUESTS: Final = 2.0

PUBLISHER_CLOSE_SECONDS: Final = 5.0
"""For the last batches and heartbeats. All requests are answered by then, so it is only for order that they are waited for."""
_FULLNESS_MAX: Final = 0.9


class Gateway:
    """One gateway process."""

    def __init__(
        self,
        context: ServiceContext,
        kafka: KafkaSettings,
        settings: GatewaySettings,
        *,
        catalogue: Catalogue,
        foreign: Collection[ForeignPath],
        age_max_ms: int,
        span_maker: SpanMaker | None = None,
    ) -> None:
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._budget = ByteBudget(settings.in_flight_bytes_max)
        self._metrics = GatewayMetrics.create(context.registry)
        self._log_reader = LogReader(kafka, "gateway-catalogue")
        self._catalogue = CatalogueFollowing(
            CatalogueLog(self._log_reader, kafka.topics.catalogue.name),
            catalogue,
            founder=None,
            metrics=CatalogueMetrics.create(context.registry, "gateway"),
            clock=context.clock,
            notices=context.log,
        )
        self._keys = (
            None if settings.api_keys_file is None else ApiKeys(read_keys(settings.api_keys_file), new_emitters_per_day=settings.new_emitters_per_day)
        )
        self._publisher = Publisher(
            Batcher(f"gateway-{uuid.uuid4().hex}", events_max=settings.batch_events_max),
            new_producer=lambda: KafkaProducer(
                kafka.options(), topic=kafka.topics.events.name, client_id="gateway", open_seconds=_OPEN_REQUESTS * kafka.request_timeout_seconds
            ),
            budget=self._budget,
            metrics=self._metrics,
            linger_seconds=settings.linger_seconds,
            acknowledge_seconds=settings.acknowledge_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            clock=context.clock,
        )
        if span_maker is not None:
            self._publisher.spans = AppendSpans(span_maker, kafka.topics.events.name)
        gate = RequestGate(
            keys=self._keys,
            budget=self._budget,
            publisher=self._publisher,
            metrics=self._metrics,
            body_bytes_max=settings.body_bytes_max,
            read_seconds=settings.read_seconds,
            clock=context.clock,
        )
        self._serving: tuple[CatalogueVersion, ...] = ()
        self._reader = reader = BodyReader(catalogue, events_max=settings.events_max, age_max_ms=age_max_ms, keep_ids=settings.keep_ids)
        intake = EventIntake(gate, self._publisher, self._metrics)
        events = EventsHandler(gate, reader=reader, intake=intake, clock=context.clock)
        batches = BatchesHandler(gate, publisher=self._publisher, metrics=self._metrics, clock=context.clock)
        routes: Routes = {
            EVENTS_PATH: {hdrs.METH_POST: events.post},
            BATCHES_PATH: {hdrs.METH_GET: batches.get, hdrs.METH_POST: batches.post},
            **{path.path: {hdrs.METH_POST: self._foreign(path, gate, intake).post} for path in foreign},
        }
        self._server = GatewayServer(
            routes,
            ListenAddress(host=settings.host, port=settings.port, port_file=settings.port_file, keeps_port_file=True),
            ListenerLimits(
                connections_max=settings.connections_max,
                per_address_max=settings.connections_per_address_max,
                head_seconds=settings.read_seconds,
                finish_seconds=settings.acknowledge_seconds + settings.read_seconds,
                linger_seconds=_LINGER_SECONDS,
            ),
            metrics=self._metrics,
            clock=context.clock,
            spans=None if span_maker is None else RequestSpans(span_maker, routes),
        )

    def _foreign(self, path: ForeignPath, gate: RequestGate, intake: EventIntake) -> ForeignHandler:
        return ForeignHandler(
            path, gate, reader=self._reader, intake=intake, publisher=self._publisher, metrics=self._metrics, clock=self._context.clock
        )

    async def run(self) -> None:
        """Run until `context.stop` is set. Raises RefusedToStart if the topics are wrong or the port cannot be opened."""
        context = self._context
        problems = await ensure_topics_unless_stopped(self._kafka, self._kafka.topics, clock=context.clock, stop=context.stop)
        if problems is None:
            return
        if problems:
            raise RefusedToStart(problems)
        try:
            if await self._catalogue.begin(context):
                await self._serve()
        finally:
            await self._log_reader.close()

    async def _serve(self) -> None:
        context = self._context
        self._know_fields()
        context.spawn("usage fields", self._follow_fields(), background=True)
        self._publish_gauges()
        context.health.require("kafka", self._publisher.problem)
        context.health.require("room", self._fullness)
        # It goes on taking events, in the partitions that the settings name: what it takes is counted as soon as the topics are mended.
        watch = TopicWatch(self._kafka, self._kafka.topics, problems=self._metrics.topic_problems, clock=context.clock, log=context.log)
        context.spawn("topics", watch.run(), background=True)
        context.health.require("partitions", self._most_refused)
        context.health.mention("refused_partitions", self._some_refused)
        context.health.mention("expiring_keys", self._keys_expire)
        publishing = context.spawn("publisher", self._publisher.run())
        if self._settings.api_keys_file is not None:
            context.spawn("api keys", self._follow_keys(self._settings.api_keys_file), background=True)
        raise_descriptor_limit(self._settings.connections_max)
        await self._listen()
        try:
            context.health.mark_started()
            await context.stop.wait()
            self._server.is_stopping = True
            await context.clock.sleep(self._settings.pre_stop_seconds)
        finally:
            await self._server.stop()
            await self._publisher.close(PUBLISHER_CLOSE_SECONDS)
        await publishing

    async def _listen(self) -> None:
        try:
            await self._server.start()
        except CannotListen as problem:
            raise RefusedToStart([str(problem)]) from None
        url = f"http://{self._settings.host}:{self._server.port}{EVENTS_PATH}"
        self._context.log.info("taking events", url=url, keys="none" if self._keys is None else "required")

    def _publish_gauges(self) -> None:
        self._metrics.connections_limit.set(self._settings.connections_max)
        self._metrics.in_flight_limit.set(self._budget.bytes_max)
        self._metrics.in_flight_bytes.set_function(lambda: self._budget.in_flight)
        self._publish_expiries()

    def _publish_expiries(self) -> None:
        self._metrics.key_expiry.clear()
        # Of those that share a label the earliest counts.
        for label, expires_ms in reversed([] if self._keys is None else list(self._keys.expiring())):
            self._metrics.key_expiry.labels(label).set(expires_ms / 1000)

    def _keys_expire(self) -> str | None:
        now_ms = self._context.clock.now_ms()
        soon = [] if self._keys is None else [(key, at) for key, at in self._keys.expiring() if at - now_ms < _EXPIRY_TOLD_MS]
        words = (f"{key} {'expired' if at <= now_ms else 'expires'} at {expiry_text(at)}" for key, at in soon[:_KEYS_TOLD])
        return "; ".join(words) + (f"; and {len(soon) - _KEYS_TOLD} more" if len(soon) > _KEYS_TOLD else "") or None

    async def _follow_fields(self) -> None:
        while True:
            await self._context.clock.sleep(_FIELDS_SECONDS)
            self._know_fields()

    def _know_fields(self) -> None:
        """Take what is counted by a version in force, or by one to come. Where nothing is published the settings file says."""
        serving = self._catalogue.timeline.serving(self._context.clock.now_ms())
        if serving and serving != self._serving:
            self._serving = serving
            self._reader.follow(taken_by_any(serving))

    def _some_refused(self) -> str | None:
        refused = self._publisher.refused_partitions()
        if not refused:
            return None
        return "; ".join(
            f"partition {partition}: its events are answered with 503, Kafka has acknowledged nothing for {seconds:.0f} s"
            for partition, seconds in sorted(refused.items())
        )

    def _most_refused(self) -> str | None:
        """Another gateway may do better once this one serves less than half. With fewer refused, being taken out would cost more than it helps."""
        refused = len(self._publisher.refused_partitions())
        return f"{refused} of {self._kafka.partitions} partitions are refused" if 2 * refused > self._kafka.partitions else None

    def _fullness(self) -> str | None:
        share = self._budget.in_flight / self._budget.bytes_max
        return f"{share:.0%} of the bytes that may be in flight are" if share > _FULLNESS_MAX else None

    async def _follow_keys(self, path: Path) -> None:
        """Read the file of keys again whenever it changes, and after SIGHUP. A file that cannot be used changes nothing."""
        assert self._keys is not None, "only a gateway with a file of keys follows it"
        watch = FileWatch(path, self._context.supervisor.reload)
        while True:
            await watch.changed()
            try:
                self._keys.replace(read_keys(path))
                self._publish_expiries()
                self._context.log.info("API keys were read again")
            except BadKeysFile as bad:
                for problem in bad.problems:
                    self._context.log.error("the file of API keys cannot be used; the keys before it stay", problem=problem)
