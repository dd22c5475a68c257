"""Keeps what is known of billing periods up to date: reads all subscriptions now and then, and learns from webhooks between.

Nothing waits for it. Without it, and until it has read, usage is reported by the clock's windows alone.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy

from metering.process.logs import Log
from metering.stripe.signatures import WebhookEvent
from reporter.metrics import ReporterMetrics
from reporter.planning.billing_periods import BillingPeriods, read_subscription
from reporter.stripe.subscriptions import SubscriptionsPort, SubscriptionsUnavailable

EVENT_TYPES: Final = frozenset({"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted"})
CALLS_PER_SECOND: Final = 2.0  # of all reporters together: a sandbox allows 25 for everything
PAUSE_SECONDS_MAX: Final = 4.0
PAGES_READ_MAX: Final = 10_000
FAILURES_MAX: Final = 6
READING_RETRIES: Final = RetryPolicy(base_seconds=4.0, cap_seconds=60.0, attempts_max=FAILURES_MAX)  # of one reading


class PeriodReader:
    """Fills `periods`. `share` says which part of the account's calls this process may make (0 to 1). Owns the port."""

    def __init__(
        self,
        periods: BillingPeriods,
        *,
        port: SubscriptionsPort,
        every_seconds: float,
        share: Callable[[], float],
        metrics: ReporterMetrics,
        clock: Clock,
        log: Log,
    ) -> None:
        self._periods = periods
        self._port = port
        self._every_seconds = every_seconds
        self._share = share
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._refused = False
        self._full = False
        self._reading: asyncio.Task[Any] | None = None

    def observe(self, event: WebhookEvent) -> None:
        """Learn from a webhook about a subscription; any other is passed over. Returns at once, and raises nothing for any document."""
        data = event.document.get("data")
        subscription = data.get("object") if isinstance(data, Mapping) else None
        if event.type in EVENT_TYPES and not event.thin and isinstance(subscription, Mapping):
            self._learn(subscription)

    async def run(self) -> None:
        """Until `close`: read everything, wait. Returns at once when `every_seconds` is 0. No failure of Stripe's ends it."""
        self._reading = asyncio.current_task()
        while self._every_seconds > 0:
            try:
                outcome = await self._read_all()
            except Exception as error:  # usage is reported without it
                self._log.failed("billing periods could not be read", error)
                outcome = "failed"
            self._metrics.period_reads.labels(outcome).inc()
            await self._clock.sleep(self._every_seconds)

    async def close(self) -> None:
        """End the reading, then close the port."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._port.close()

    async def _read_all(self) -> str:
        """One reading: a label of the metric. A page that fails is asked for again, and what was read stays known in any case."""
        after: str | None = None
        subscriptions = 0
        backoff = Backoff(READING_RETRIES, now=self._clock.monotonic(), random=Random())
        for _ in range(PAGES_READ_MAX + FAILURES_MAX):
            try:
                page = await self._port.page(after)
            except SubscriptionsUnavailable as error:
                delay = None if error.lasting else backoff.next_delay(self._clock.monotonic())
                if delay is None:
                    self._warn(error)
                    return "refused" if error.lasting else "failed"
                await self._clock.sleep(delay)
                continue
            for subscription in page.subscriptions:
                self._learn(subscription)
            subscriptions += len(page.subscriptions)
            after = page.after
            if after is None:
                self._refused = False
                self._log.info("read billing periods", subscriptions=subscriptions, customers=len(self._periods))
                return "ok"
            await self._clock.sleep(min(PAUSE_SECONDS_MAX, 1 / (CALLS_PER_SECOND * max(0.01, self._share()))))
        self._log.warning("billing periods were read in part: there are too many subscriptions", subscriptions=subscriptions)
        return "failed"

    def _learn(self, subscription: Mapping[str, Any]) -> None:
        try:
            found = read_subscription(subscription)
        except Exception as error:  # one subscription that nobody foresaw hides no other
            self._log.failed("a subscription could not be read", error, subscription=str(subscription.get("id"))[:64])
            return
        if found is None:
            return
        self._periods.learn(found)
        self._metrics.period_customers.set(len(self._periods))
        if self._periods.refused and not self._full:
            self._full = True
            self._log.warning("billing periods of further customers are not kept: there are too many", customers=len(self._periods))

    def _warn(self, error: SubscriptionsUnavailable) -> None:
        if not error.lasting:
            self._log.warning("billing periods could not be read", reason=str(error))
        elif not self._refused:
            self._refused = True
            self._log.warning("Stripe does not let this key read subscriptions; meter events follow the clock's windows alone", reason=str(error))
