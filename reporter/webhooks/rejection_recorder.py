"""Fetches an error report by its id and writes its rejections to the ledger."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy

from metering.kafka.partition_log import LogUnavailable
from metering.process.logs import Log
from metering.records.ledger_records import Rejection
from reporter.stripe.notifications import EventsPort, EventsUnavailable
from reporter.webhooks.error_reports import ReportReader, is_duplicate, label_of
from reporter.webhooks.metrics import WebhookMetrics
from reporter.webhooks.rejection_log import Recorded, RejectionLog

RECORDING_RETRIES: Final = RetryPolicy(base_seconds=0.5, cap_seconds=5.0, deadline_seconds=60.0, attempts_max=6)


RejectionObserver = Callable[[Rejection], None]
"""Gets each rejection once it is in the ledger; it must return at once."""


class RejectionRecorder:
    """Records reports, with bounded retries. While `stopping`, nothing is retried: the next start finds what is missing."""

    def __init__(
        self,
        *,
        events: EventsPort,
        ledger: RejectionLog,
        reader: ReportReader,
        metrics: WebhookMetrics,
        clock: Clock,
        log: Log,
        stopping: Callable[[], bool],
        observers: Sequence[RejectionObserver] = (),
    ) -> None:
        self._events = events
        self._ledger = ledger
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._stopping = stopping
        self._observers = observers

    async def record(self, event_id: str, recorded: Recorded) -> bool:
        """Write what is not `recorded` of the report. Returns False if that failed; counts and logs the failure. Takes about a minute at most."""
        backoff = Backoff(RECORDING_RETRIES, now=self._clock.monotonic(), random=Random())
        while True:
            try:
                await self._attempt(event_id, recorded)
                return True
            except (EventsUnavailable, LogUnavailable) as error:
                step = "fetch" if isinstance(error, EventsUnavailable) else "ledger"
                lasting = isinstance(error, EventsUnavailable) and error.lasting
                delay = None if lasting or self._stopping() else backoff.next_delay(self._clock.monotonic())
                if delay is None:
                    self._metrics.failures.labels(step).inc()
                    self._log.error("an error report of Stripe's could not be recorded", event=event_id, step=step, reason=str(error))
                    return False
            await self._clock.sleep(delay)

    async def _attempt(self, event_id: str, recorded: Recorded) -> None:
        document = await self._events.fetch(event_id)
        related: Any = document.get("related_object")
        meter_id = related.get("id") if isinstance(related, dict) else None
        meter = await self._events.meter_name(meter_id) if isinstance(meter_id, str) and meter_id else ""
        rejections = self._reader.rejections({**document, "id": event_id}, meter=meter, at_ms=self._clock.now_ms())
        missing = recorded.missing(rejections)
        await self._ledger.append(missing)
        # These are durable; another attempt must not write them again.
        recorded.counts.update({(rejection.code, rejection.partition): rejection.error_count for rejection in missing})
        for rejection in missing:
            self._tell(rejection)
            for observe in self._observers:
                observe(rejection)

    def _tell(self, rejection: Rejection) -> None:
        self._metrics.rejections.labels(label_of(rejection.code)).inc(rejection.error_count)
        if not is_duplicate(rejection.code):
            self._metrics.unnamed.labels(label_of(rejection.code)).inc(rejection.unnamed)
        self._metrics.rejected_at.set(rejection.at_ms / 1000)
        self._log.error(
            "Stripe refused meter events that it had accepted",
            event=rejection.event_id,
            meter=rejection.meter,
            code=rejection.code,
            partition=rejection.partition,
            errors=rejection.error_count,
            unnamed=rejection.unnamed,
            identifiers=", ".join(rejection.identifiers[:5]),
            reason=rejection.message,
        )
