"""Webhooks in the reporter: takes events, processes them, and asks Stripe for error reports whose notification was lost.

An event is answered with 200 once it waits in memory, and processed later. An orderly stop processes all events that wait. After a crash the
reporter finds error reports by asking Stripe. It cannot find other events, so observers and the hook may miss an event or get it twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.process.descriptors import raise_descriptor_limit
from metering.process.listener import CannotListen, ListenAddress
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.stripe.signatures import WebhookEvent
from reporter.stripe.notifications import LISTED_EVENTS_MAX, EventsPort, EventsUnavailable, ListedReport
from reporter.webhooks.error_reports import IdentifiersOf, ReportReader
from reporter.webhooks.hooks import HookOutcome, HookRunner, load_hook
from reporter.webhooks.metrics import WebhookMetrics
from reporter.webhooks.rejection_log import Recorded, RejectionLog
from reporter.webhooks.rejection_recorder import RejectionObserver, RejectionRecorder
from reporter.webhooks.settings import WebhookSettings
from reporter.webhooks.webhook_intake import IntakeVerdict, Lane, WebhookIntake, label_of, lane_of
from reporter.webhooks.webhook_server import WEBHOOKS_PATH, WebhookRules, WebhookServer

Observer = Callable[[WebhookEvent], None]
"""Gets each event except error reports, in the reporter's event loop; it must return at once."""


@dataclass(frozen=True, slots=True)
class Observers:
    """Who gets each event except error reports, and who each rejection that was written to the ledger."""

    events: Sequence[Observer] = ()
    rejections: Sequence[RejectionObserver] = ()


REPORT_WORKERS: Final = 4
BACKFILL_MS: Final = 72 * HOUR_MS  # as long as Stripe tries to deliver
OVERLAP_MS: Final = HOUR_MS  # events may appear in the list a while after their time
RECHECK_MS: Final = HOUR_MS
OWNER_SECONDS: Final = 1.0
BACKFILL_RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class ReportSource:
    """Where error reports come from: Stripe's events, and who knows the meter events of a request that carried many."""

    events: EventsPort
    identifiers_of: IdentifiersOf


class Webhooks:
    """Owns the endpoint, its queues and its Kafka clients. Call `close` in the end; it closes the source of reports too."""

    def __init__(
        self,
        context: ServiceContext,
        settings: WebhookSettings,
        *,
        kafka: KafkaSettings,
        instance: str,
        reports: ReportSource,
        livemode: bool,
        owns_backfill: Callable[[], bool],
        observers: Observers,
    ) -> None:
        self._context = context
        self._settings = settings
        self._events = reports.events
        self._owns_backfill = owns_backfill
        self._observers = observers.events
        self._log = context.log.bind(part="webhooks")
        self._warnings = RateLimited(context.clock, interval_seconds=60.0)
        self._metrics = metrics = WebhookMetrics.create(context.registry)
        metrics.rejected_at.set(float("nan"))
        self._intake = WebhookIntake(livemode=livemode, queue_max=settings.queue_max)
        self._forbidden_told = False
        self._queues: dict[Lane, asyncio.Queue[WebhookEvent]] = {lane: asyncio.Queue() for lane in Lane}
        self._hook = _hook_of(settings)
        self._ledger = RejectionLog(
            reader=LogReader(kafka, f"{instance}-rejections"),
            appender=Appender(kafka, f"{instance}-rejections"),
            topic=kafka.topics.ledger.name,
            partitions=kafka.partitions,
        )
        self._recorder = RejectionRecorder(
            events=reports.events,
            ledger=self._ledger,
            observers=observers.rejections,
            reader=ReportReader(partitions=kafka.partitions, instance=instance, identifiers_of=reports.identifiers_of),
            metrics=metrics,
            clock=context.clock,
            log=self._log,
            stopping=context.stop.is_set,
        )
        self._server = WebhookServer(
            ListenAddress(host=settings.host, port=settings.port, port_file=settings.port_file),
            WebhookRules(
                secrets=settings.signing_secrets,
                tolerance_s=settings.tolerance_seconds,
                body_bytes_max=settings.body_bytes_max,
                read_seconds=settings.read_seconds,
                connections_max=settings.connections_max,
                per_address_max=settings.connections_per_address_max,
            ),
            receive=self._receive,
            count=lambda outcome: metrics.requests.labels(outcome).inc(),
            closed=lambda reason: metrics.connections_closed.labels(reason).inc(),
            clock=context.clock,
        )

    async def run(self) -> None:
        """Run until `context.stop` is set, then process all events that were taken. Raises RefusedToStart if the port cannot be opened."""
        places = {Lane.REPORTS: REPORT_WORKERS, Lane.OTHERS: max(REPORT_WORKERS, self._settings.hook_calls_max)}
        workers = [asyncio.create_task(self._work(lane), name=f"webhooks {lane}") for lane in Lane for _ in range(places[lane])]
        asking = asyncio.create_task(self._ask_again_and_again(), name="webhooks backfill")
        try:
            if self._settings.is_on:
                await self._open()
            await self._context.stop.wait()
            await self._server.stop()
            for queue in self._queues.values():
                await queue.join()
        finally:
            tasks = [*workers, asking]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._server.stop()

    async def close(self) -> None:
        """Close the connections, after `run` has ended or if it never began."""
        if self._hook is not None:
            self._hook.close()
        await self._ledger.close()
        await self._events.close()

    async def _open(self) -> None:
        settings = self._settings
        raise_descriptor_limit(settings.connections_max)
        try:
            await self._server.start()
        except CannotListen as error:
            raise RefusedToStart([f"webhooks cannot be taken: {error}"]) from None
        self._log.info("taking webhooks", url=f"http://{settings.host}:{self._server.port}{WEBHOOKS_PATH}", secrets=len(settings.signing_secrets))

    def _receive(self, event: WebhookEvent) -> IntakeVerdict:
        lane = lane_of(event)
        queue = self._queues[lane]
        verdict = self._intake.admit(event, queue.qsize())
        if verdict is IntakeVerdict.ACCEPTED:
            queue.put_nowait(event)
            self._metrics.events.labels(label_of(event.type)).inc()
            self._metrics.waiting.labels(lane.value).set(queue.qsize())
        return verdict

    async def _work(self, lane: Lane) -> None:
        queue = self._queues[lane]
        while True:
            event = await queue.get()
            self._metrics.waiting.labels(lane.value).set(queue.qsize())
            try:
                await (self._record(event) if lane is Lane.REPORTS else self._pass_on(event))
            except Exception as error:  # one bad event must not stop the others
                self._metrics.failures.labels("unexpected").inc()
                self._intake.forget(event.id)
                self._log.failed("a webhook event could not be processed", error, event=event.id, type=event.type)
            finally:
                queue.task_done()

    async def _record(self, event: WebhookEvent) -> None:
        if not await self._recorder.record(event.id, Recorded()):
            self._intake.forget(event.id)

    async def _pass_on(self, event: WebhookEvent) -> None:
        """Call the observers, then the hook. Only ids are logged: the rest may be personal data."""
        self._log.info("webhook event", event=event.id, type=event.type, object=object_id(event), thin=event.thin)
        for observer in self._observers:
            try:
                observer(event)
            except Exception as error:  # as in _work: the other observers still get the event
                self._metrics.failures.labels("observer").inc()
                self._log.failed("an observer of webhook events failed", error, event=event.id, type=event.type)
        if self._hook is None:
            return
        result = await self._hook.call(event)
        self._metrics.hook_calls.labels(result.outcome.value).inc()
        if result.outcome is not HookOutcome.OK:
            # Only its type: the message may hold anything.
            self._log.error(
                "the webhook hook failed", event=event.id, type=event.type, outcome=result.outcome.value, error=type(result.error).__name__
            )

    async def _ask_again_and_again(self) -> None:
        every = self._settings.backfill_seconds
        clock = self._context.clock
        asked_ms = 0
        if not every:
            return
        while not self._context.stop.is_set():
            if not self._owns_backfill():
                await clock.sleep(OWNER_SECONDS)
                continue
            now_ms = clock.now_ms()
            outcome = await self._backfill(max(now_ms - BACKFILL_MS, asked_ms - OVERLAP_MS), now_ms)
            self._metrics.backfills.labels(outcome).inc()
            if outcome == "ok":
                asked_ms = now_ms
            await clock.sleep(min(every, BACKFILL_RETRY_SECONDS) if outcome in {"incomplete", "unavailable"} else every)

    async def _backfill(self, since_ms: int, now_ms: int) -> str:
        """Record the unknown reports since `since_ms`. Returns one of BACKFILLS. Raises only CancelledError."""
        try:
            listed = [report async for report in self._events.reports(since_ms)]
            if len(listed) >= LISTED_EVENTS_MAX:
                self._warnings.warning(self._log, "not all error reports are looked at; the oldest are left out", looked_at=len(listed))
            complete = await self._recover([report for report in listed if report.id not in self._intake.known], now_ms)
        except EventsUnavailable as error:
            if error.lasting:
                self._warn_once(error)
                return "forbidden"
            self._warnings.warning(self._log, "Stripe was asked for error reports and did not answer", reason=str(error))
            return "unavailable"
        except LogUnavailable as error:
            self._warnings.warning(self._log, "error reports could not be compared with the ledger", reason=str(error))
            return "unavailable"
        except Exception as error:  # the endpoint and the reporter carry on; the next attempt may work
            self._log.failed("asking Stripe for error reports failed", error)
            return "failed"
        return "ok" if complete else "incomplete"

    async def _recover(self, unknown: Sequence[ListedReport], now_ms: int) -> bool:
        if not unknown:
            return True
        recorded = await self._ledger.recorded({report.id for report in unknown}, min(report.created_ms for report in unknown))
        complete = True
        for report in unknown:
            # A webhook may have delivered it meanwhile.
            if report.id in self._intake.known:
                continue
            found = recorded.get(report.id, Recorded())
            self._intake.known.add(report.id)
            # A report is written all at once. Only a recent one can be incomplete, if the process died meanwhile.
            if found.counts and found.at_ms < now_ms - RECHECK_MS:
                continue
            if not await self._recorder.record(report.id, found):
                self._intake.forget(report.id)
                complete = False
            elif not found.at_ms:
                self._metrics.recovered.inc()
        return complete

    def _warn_once(self, error: EventsUnavailable) -> None:
        if self._forbidden_told:
            return
        self._forbidden_told = True
        self._log.warning(
            "Stripe does not let this key list events, so error reports whose notification is lost stay unknown; give it the right to read them",
            reason=str(error),
        )


def _hook_of(settings: WebhookSettings) -> HookRunner | None:
    if settings.hook is None:
        return None
    return HookRunner(load_hook(settings.hook), seconds=settings.hook_seconds, places=settings.hook_calls_max)


def object_id(event: WebhookEvent) -> str:
    """The id of the object that an event is about; "" if the event has none."""
    document = event.document
    data = document.get("data")
    about = document.get("related_object") if event.thin else data.get("object") if isinstance(data, dict) else None
    found = about.get("id") if isinstance(about, dict) else None
    return found[:255] if isinstance(found, str) else ""
