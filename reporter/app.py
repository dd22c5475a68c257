"""The reporter process: wiring."""

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from prometheus_client import Gauge
from taximeter_emitter.wire.partitioner import partition_of

from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.following.customers_log import CustomersLog
from metering.following.link_following import LinkFollowing
from metering.following.published_meters import SentMeters, WatchedMeters
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.provision import ensure_topics_unless_stopped
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.records.meters import Catalogue
from metering.stripe.settings import StripeSettings
from metering.workers.loop_turns import LoopTurns
from metering.workers.membership import GroupMember
from metering.workers.partition_group import PartitionGroup
from metering.workers.partition_worker import WorkerKit
from reporter.comparing.comparer import Comparer, ComparingSettings, PartitionShare, StripeSums
from reporter.comparing.ledger_following import LedgerFollowing
from reporter.comparing.metrics import ComparingMetrics
from reporter.dispatch import REPEATS, Dispatcher
from reporter.linking.linking_metrics import LinkingMetrics
from reporter.linking.metadata_following import FollowingRules, MetadataFollowing
from reporter.linking.naming_customers import NamesPort
from reporter.meter_watch import LookTimes, MeterWatch
from reporter.metrics import ReporterMetrics
from reporter.period_reader import PeriodReader
from reporter.planning.billing_periods import BillingPeriods
from reporter.sending.catch_up import CatchUp
from reporter.sending.lanes import Lanes
from reporter.sending.meter_events import MeterEventPort
from reporter.sending.pacing import Pacer
from reporter.settings import ReporterSettings
from reporter.stripe.listed_meters import MetersPort
from reporter.stripe.subscriptions import SubscriptionsPort
from reporter.takeover import ReportingTakeover
from reporter.webhooks.endpoint import Observer, Observers, ReportSource, Webhooks
from reporter.webhooks.report_follower import ReportFollower
from reporter.webhooks.settings import WebhookSettings
from reporter.worker import ReportingWorker

NEXT_PERIOD_END_SECONDS: Final = 15.0
UNITS_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterConfiguration:
    """All that is configured of the reporter."""

    kafka: KafkaSettings
    stripe: StripeSettings
    settings: ReporterSettings
    webhooks: WebhookSettings
    catalogue: Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class StripePorts:
    """The ways to Stripe: where meter events go, and where meters, error reports, subscriptions, sums of usage and names of customers come from.

    `names` is None where links do not follow the metadata of Stripe's customers.
    """

    meter_events: MeterEventPort
    meters: MetersPort
    reports: ReportSource
    subscriptions: SubscriptionsPort
    sums: StripeSums
    names: NamesPort | None = None


class Reporter:
    """Owns the Kafka clients, the dispatcher, the group of partition workers and the webhooks. The ports are closed with it.

    `observers` get each webhook event except error reports.
    """

    def __init__(
        self, context: ServiceContext, configuration: ReporterConfiguration, ports: StripePorts, *, observers: Sequence[Observer] = ()
    ) -> None:
        kafka, stripe, settings = configuration.kafka, configuration.stripe, configuration.settings
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._topics = kafka.topics
        self._instance = settings.instance_id or f"reporter-{secrets.token_hex(4)}"
        self._metrics = metrics = ReporterMetrics.create(context.registry)
        self._sent = asyncio.Event()  # no call is under way, and none will be
        self._reader = LogReader(kafka, f"{self._instance}-reader")
        self._appender = Appender(kafka, f"{self._instance}-appender")
        self._catalogue = CatalogueFollowing(
            CatalogueLog(self._reader, self._topics.catalogue.name),
            configuration.catalogue,
            founder=None,
            metrics=CatalogueMetrics.create(context.registry, "reporter"),
            clock=context.clock,
            notices=context.log,
        )
        customers = CustomersLog(self._reader, self._topics.customers.name)
        self._links = LinkFollowing(customers, clock=context.clock, notices=context.log)
        self._periods = BillingPeriods(links=self._links.links)
        self._watched_meters = WatchedMeters(self._catalogue, configuration.catalogue, context.clock)
        turns = LoopTurns()
        self._dispatcher = Dispatcher(
            lanes=Lanes(
                capacity=settings.sends_max,
                in_flight_max=stripe.events_in_flight,
                retry_delay_s=partial(REPEATS.wait_seconds, random=Random()),
                probe_every_s=settings.probe_seconds,
            ),
            pacer=Pacer(stripe.events_limit),
            port=ports.meter_events,
            meters=SentMeters(self._catalogue, configuration.catalogue),
            metrics=metrics,
            clock=context.clock,
            log=context.log,
            turns=turns,
        )
        self._group: PartitionGroup[ReportingWorker] = PartitionGroup(
            context,
            kafka,
            GroupMember(
                topic=self._topics.tallies.name,
                group_id=kafka.group_id("reporter", settings.group_id),
                instance=self._instance,
                static_instance_id=settings.instance_id,
                revoke_seconds=settings.receipt_seconds * 4,
                stall_seconds=settings.stall_seconds,
            ),
            metrics.group,
            start=self._worker,
            by_partition=(metrics.reported_log_time, metrics.unreported_period_end),
            before_drain=self._sent.wait,
        )
        self._kit = WorkerKit(
            topics=self._topics,
            appender=self._appender,
            seek=self._group.seek,
            metrics=metrics.group,
            clock=context.clock,
            log=context.log,
            turns=turns,
        )
        metrics.invoice_grace.set(stripe.invoice_grace_seconds)
        self._period_reader = PeriodReader(
            self._periods,
            port=ports.subscriptions,
            every_seconds=settings.periods_seconds,
            share=lambda: len(self._group.workers) / self._kafka.partitions,
            metrics=metrics,
            clock=context.clock,
            log=context.log,
        )
        self._meter_watch = MeterWatch(
            self._dispatcher.lanes.held,
            port=ports.meters,
            meters=self._watched_meters,
            times=LookTimes(every=settings.meters_seconds, after_failure=settings.probe_seconds),
            metrics=metrics,
            clock=context.clock,
            log=context.log,
        )
        self._comparer = Comparer(
            LedgerFollowing(kafka, client=f"{self._instance}-comparer", appender=self._appender, clock=context.clock),
            PartitionShare(self._reporting, kafka.partitions),
            port=ports.sums,
            settings=ComparingSettings(
                instance=self._instance,
                reads_per_month=stripe.reads_per_month * settings.reconcile_share,
                reads_per_second=stripe.reads_per_second / 2,
                settle_seconds=settings.reconcile_settle_seconds,
                again_seconds=settings.reconcile_seconds,
            ),
            metrics=ComparingMetrics.create(context.registry),
            clock=context.clock,
            log=context.log,
        )
        # Only what goes by the stream is refused by reports.
        self._reports = (
            ReportFollower(self._reader, self._topics.ledger.name, kafka.partitions, self._meter_watch.reported, context.clock)
            if stripe.streams
            else None
        )
        linking = LinkingMetrics.create(context.registry)
        self._metadata = None if ports.names is None else self._metadata_following(configuration, ports.names, customers, linking)
        self._webhooks = Webhooks(
            context,
            configuration.webhooks,
            kafka=kafka,
            instance=self._instance,
            reports=ports.reports,
            livemode=stripe.production,
            owns_backfill=lambda: 0 in self._group.workers,
            observers=Observers(
                (
                    self._period_reader.observe,
                    self._meter_watch.observe,
                    *(() if self._metadata is None else (self._metadata.observe,)),
                    *observers,
                ),
                (self._meter_watch.reported,),
            ),
        )

    async def run(self) -> None:
        """Until the context's stop event; then the calls under way are waited for and their outcomes written."""
        context = self._context
        try:
            problems = await ensure_topics_unless_stopped(self._kafka, self._topics, clock=context.clock, stop=context.stop)
            if problems is None:
                return
            if problems:
                raise RefusedToStart(problems)
            if not await self._catalogue.begin(context) or not await self._links.begin(context):
                return
            context.health.require("stripe_accepts_the_key", lambda: self._dispatcher.lanes.stopped or self._meter_watch.key_problem)
            context.health.mention("stripe_takes_all_meters", self._dispatcher.lanes.held.problem)
            context.spawn("meters", self._meter_watch.run(), background=True)
            if self._reports is not None:
                context.spawn("error reports", self._reports.run(), background=True)
            context.spawn("dispatch", self._dispatch())
            context.spawn("observe", self._observe(), background=True)
            context.spawn("units that wait", self._observe_units(), background=True)
            context.spawn("billing periods", self._period_reader.run(), background=True)
            context.spawn("comparing", self._comparer.run(), background=True)
            context.spawn("next period end", self._observe_next_period_end(), background=True)
            if self._metadata is not None:
                context.health.mention("links_by_metadata", self._metadata.trouble)
                context.spawn("links by metadata", self._metadata.run(), background=True)
            webhooks = context.spawn("webhooks", self._webhooks.run())
            await self._group.run()
            await webhooks
        finally:
            if self._metadata is not None:
                await self._metadata.close()
            await self._comparer.close()
            await self._period_reader.close()
            await self._meter_watch.close()
            await self._webhooks.close()
            await self._dispatcher.close()
            await self._reader.close()
            await self._appender.close()

    def _metadata_following(
        self, configuration: ReporterConfiguration, port: NamesPort, customers: CustomersLog, metrics: LinkingMetrics
    ) -> MetadataFollowing:
        stripe, webhooks = configuration.stripe, configuration.webhooks
        return MetadataFollowing(
            FollowingRules(
                field=webhooks.customers_field or "",
                every_seconds=webhooks.customers_seconds,
                reads_per_month=stripe.reads_per_month * webhooks.customers_share,
                reads_per_second=stripe.reads_per_second / 5,
                partitions=self._kafka.partitions,
                by=self._instance,
            ),
            port=port,
            log=customers,
            appender=self._appender,
            owned=lambda: tuple(self._group.workers),
            metrics=metrics,
            clock=self._context.clock,
            notices=self._context.log,
        )

    async def _dispatch(self) -> None:
        try:
            await self._dispatcher.run(self._context.stop)
        finally:
            self._sent.set()

    def _note_foreign(self, partition: int) -> None:
        self._metrics.foreign_records.labels("ledger").inc()
        self._context.log.warning("a record that Taximeter did not write is passed over", topic=self._topics.ledger.name, partition=partition)

    def _reporting(self) -> list[int]:
        return [partition for partition, worker in self._group.workers.items() if worker.reporter is not None]

    def _partition_rate(self) -> float:
        """Calls a second that one owned partition may count on."""
        return self._dispatcher.pacer.rate_per_s / max(1, len(self._group.workers))

    async def _observe(self) -> None:
        owned, answered = -1, -1
        catch_up = CatchUp()
        while True:
            workers = self._group.workers
            reporters = [worker.reporter for worker in workers.values() if worker.reporter is not None]
            if owned != len(workers):
                owned = len(workers)
                self._dispatcher.pacer.set_share(owned=owned, total=max(owned, self._kafka.partitions), now=self._context.clock.monotonic())
                self._dispatcher.wake()
            if answered != self._dispatcher.answered:
                answered = self._dispatcher.answered
                self._group.progress.moved()
            unknown = [entry.log_time_ms for reporter in reporters for entry in reporter.ledger.open.values() if entry.unknown]
            self._metrics.oldest_unknown.set(min(unknown) / 1000 if unknown else math.nan)
            waiting, sums = self._dispatcher.lanes.sends, sum(len(reporter.unplanned) for reporter in reporters)
            self._metrics.waiting.set(waiting)
            self._metrics.backlog_rows.set(sums + sum(len(reporter.carried) for reporter in reporters))
            catch_up.look(self._context.clock.monotonic(), answered=self._dispatcher.answered, waiting=waiting)
            self._metrics.catch_up.set(catch_up.seconds(waiting + sums, allowed_per_s=self._dispatcher.pacer.rate_per_s))
            await self._context.clock.sleep(0.5)

    async def _observe_units(self) -> None:
        while True:
            metrics, unreported = self._metrics, Counter[str]()
            reporters = [worker.reporter for worker in self._group.workers.values() if worker.reporter is not None]
            for reporter in reporters:
                unreported.update(reporter.unreported_units())
            for meter in self._watched_meters.by_name:
                metrics.unreported_units.labels(meter).set(unreported[meter])
            self._show_held([reporter.held_usage() for reporter in reporters], metrics.held_units, metrics.carried_since)
            self._show_held([reporter.unlinked() for reporter in reporters], metrics.unlinked_units, metrics.unlinked_since)
            metrics.links.set(len(self._links.links))
            metrics.links_unfollowed.set(self._links.trouble() is not None)
            await self._context.clock.sleep(UNITS_LOOK_SECONDS)

    def _show_held(self, found: Sequence[Mapping[str, tuple[int, int]]], units: Gauge, since: Gauge) -> None:
        """Of each partition: units, and the time in ms of the oldest usage, by meter."""
        for meter in self._watched_meters.by_name:
            here = [partition[meter] for partition in found if meter in partition]
            units.labels(meter).set(sum(amount for amount, _ in here))
            since.labels(meter).set(min((oldest_ms / 1000 for _, oldest_ms in here), default=math.nan))

    async def _observe_next_period_end(self) -> None:
        partitions, workers = self._kafka.partitions, self._group.workers
        while True:
            end = self._periods.next_end_s(
                self._context.clock.now_ms() // 1000,
                lambda billed: any(partition_of(customer, partitions) in workers for customer in self._links.links.customers_of(billed)),
            )
            self._metrics.next_period_end.set(math.nan if end is None else end)
            await self._context.clock.sleep(NEXT_PERIOD_END_SECONDS)

    def _worker(self, partition: int, _before: ReportingWorker | None) -> ReportingWorker:
        return ReportingWorker(
            partition,
            self._kit,
            settings=self._settings,
            takeover=ReportingTakeover(
                self._reader,
                self._topics,
                instance=self._instance,
                rows_max=self._settings.rows_max,
                periods=self._periods,
                on_foreign=self._note_foreign,
            ),
            dispatcher=self._dispatcher,
            periods=self._periods,
            partition_rate=self._partition_rate,
            metrics=self._metrics,
        )
