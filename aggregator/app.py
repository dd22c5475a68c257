"""The aggregator process: wiring."""

import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path

from taximeter_emitter.wire.partitioner import partition_of

from aggregator.core.counting_rules import CountingRules
from aggregator.metrics import AggregatorMetrics
from aggregator.reading.readers import quickest_reader
from aggregator.settings import AggregatorSettings
from aggregator.snapshots import IdSnapshots
from aggregator.takeover import CountingTakeover
from aggregator.worker import CountingWorker
from metering.folds.catalogue_timeline import CatalogueTimeline
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.kafka.batches.framed_response import AsParts, native_framer
from metering.kafka.batches.responses import AS_RECORDS
from metering.kafka.clients import FETCH_LIMITS, FetchLimits, KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.provision import ensure_topics_unless_stopped
from metering.kafka.topic_watch import TopicWatch
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.records.meters import Catalogue
from metering.tracing.span_maker import SpanMaker
from metering.workers.loop_turns import LoopTurns
from metering.workers.membership import GroupMember
from metering.workers.partition_group import PartitionGroup
from metering.workers.partition_worker import WorkerKit


class Aggregator:
    """Owns the Kafka clients and the group of partition workers."""

    def __init__(
        self, context: ServiceContext, kafka: KafkaSettings, settings: AggregatorSettings, catalogue: Catalogue, span_maker: SpanMaker | None = None
    ) -> None:
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._topics = kafka.topics
        self._event_reader = quickest_reader()
        instance = settings.instance_id or f"aggregator-{secrets.token_hex(4)}"
        self._metrics = AggregatorMetrics.create(context.registry)
        self._rules = CountingRules(
            topic=self._topics.events.name,
            timeline=CatalogueTimeline(),
            partition_of=partial(partition_of, partitions=kafka.partitions),
            instance=instance,
            deduplication_horizon_ms=round(settings.deduplication_horizon_seconds * 1000),
            make_reader=self._event_reader.make,
        )
        self._snapshots = IdSnapshots(
            Path(settings.state_dir) if settings.state_dir else None,
            topic=self._topics.events.name,
            horizon_ms=self._rules.deduplication_horizon_ms,
            log=context.log,
        )
        self._reader = LogReader(kafka, f"{instance}-reader")
        self._appender = Appender(kafka, f"{instance}-appender")
        self._catalogue = CatalogueFollowing(
            CatalogueLog(self._reader, self._topics.catalogue.name),
            catalogue,
            founder=self._appender,
            metrics=CatalogueMetrics.create(context.registry, "aggregator"),
            clock=context.clock,
            notices=context.log,
        )
        framer = native_framer()
        self._group: PartitionGroup[CountingWorker] = PartitionGroup(
            context,
            kafka,
            GroupMember(
                topic=self._topics.events.name,
                group_id=kafka.group_id("aggregator", settings.group_id),
                instance=instance,
                static_instance_id=settings.instance_id,
                revoke_seconds=settings.flush_seconds,
                stall_seconds=settings.stall_seconds,
                fetch=fetch_limits(settings),
                form=AS_RECORDS if framer is None else AsParts(framer),
            ),
            self._metrics.group,
            start=self._worker,
            by_partition=(self._metrics.tallied_log_time, self._metrics.emitters, self._metrics.emitter_gaps),
        )
        self._kit = WorkerKit(
            topics=self._topics,
            appender=self._appender,
            seek=self._group.seek,
            metrics=self._metrics.group,
            clock=context.clock,
            log=context.log,
            turns=LoopTurns(),
            span_maker=span_maker,
        )

    async def run(self) -> None:
        """Until the context's stop event; then what was read is tallied and the partitions are given up."""
        problems = await ensure_topics_unless_stopped(self._kafka, self._topics, clock=self._context.clock, stop=self._context.stop)
        if problems is None:
            return
        if problems:
            raise RefusedToStart(problems)
        self._metrics.reader_info.labels(self._event_reader.name).set(1)
        self._context.log.info("a reader was chosen", reader=self._event_reader.name)
        self._context.status.provide("set_aside", self._metrics.set_aside.as_json)
        context = self._context
        watch = TopicWatch(self._kafka, self._topics, problems=self._metrics.topic_problems, clock=context.clock, log=context.log)
        context.health.require("topics", watch.problem)
        context.spawn("topics", watch.run(), background=True)
        self._metrics.unflushed_bytes.set_function(lambda: sum(worker.unflushed_bytes for worker in self._group.workers.values()))
        self._metrics.remembered_ids.set_function(lambda: sum(worker.remembered_ids for worker in self._group.workers.values()))
        try:
            if await self._catalogue.begin(context):
                await self._group.run()
        finally:
            await self._reader.close()
            await self._appender.close()
            self._snapshots.close()

    def _worker(self, partition: int, before: CountingWorker | None) -> CountingWorker:
        return CountingWorker(
            partition,
            self._kit,
            settings=self._settings,
            takeover=CountingTakeover(
                self._reader,
                self._rules,
                tallies_topic=self._topics.tallies.name,
                found_at_log_start=self._settings.found_at_log_start,
                snapshots=self._snapshots,
            ),
            snapshots=self._snapshots,
            catalogue=self._catalogue,
            metrics=self._metrics,
            kept=before.release() if before is not None else None,
        )


def fetch_limits(settings: AggregatorSettings) -> FetchLimits:
    """A fetch of a few records costs as much as one of hundreds, and so does each turn over them."""
    wait_ms = round(1000 * min(settings.gather_seconds, settings.flush_seconds / 2))
    return replace(FETCH_LIMITS, bytes_min=FETCH_LIMITS.partition_bytes_max, wait_ms_max=wait_ms)
