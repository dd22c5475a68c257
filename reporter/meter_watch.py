"""Looks at Stripe's meters: at start, now and then, and soon after something was said of one. Holds a meter that would be refused, and
lets it be tried again when nothing is wrong with it any more. The first look also tells whether Stripe takes the key.

Nothing waits for it. Where the key may not read meters, only Stripe's refusals hold a meter, and time lets it be tried again.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.clock import Clock

from metering.process.logs import Log, RateLimited
from metering.records.ledger_records import Rejection
from metering.records.meters import Meter
from metering.stripe.signatures import WebhookEvent
from reporter.metrics import ReporterMetrics
from reporter.sending.held_meters import HeldMeters
from reporter.sending.known_meters import KnownMeters
from reporter.sending.verdicts import METER_CODES
from reporter.stripe.listed_meters import ListedMeter, MetersPort, MetersUnread, WhyUnread

LOOK_GAP_SECONDS: Final = 1.0  # between two looks, however much is said
REPORT_AGE_MS: Final = 10 * 60_000  # an older error report says nothing of the meter as it is now
ABOUT_METERS: Final = ("billing.meter.", "v1.billing.meter.")


@dataclass(frozen=True, slots=True)
class LookTimes:
    """Seconds between two looks: `every` (0: only at start and while a meter is held), and `after_failure` while Stripe refuses the key."""

    every: float
    after_failure: float


class MeterWatch:
    """Owns the port. `close` ends `run`."""

    def __init__(
        self, held: HeldMeters, *, port: MetersPort, meters: KnownMeters, times: LookTimes, metrics: ReporterMetrics, clock: Clock, log: Log
    ) -> None:
        self._held = held
        self._port = port
        self._meters = meters
        self._times = times
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._warnings = RateLimited(clock, interval_seconds=600.0)
        self._soon = asyncio.Event()
        self._looking: asyncio.Task[object] | None = None
        self.key_problem: str | None = "Stripe has not been asked yet whether it takes the key"

    async def run(self) -> None:
        """Look, wait, and so on. No failure of Stripe's ends it."""
        self._looking = asyncio.current_task()
        while True:
            outcome = await self._look()
            self._metrics.meter_reads.labels(outcome).inc()
            await self._clock.sleep(LOOK_GAP_SECONDS)
            await self._wait(outcome, self._clock.monotonic())

    async def close(self) -> None:
        """End the looking, then close the port."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._port.close()

    def observe(self, event: WebhookEvent) -> None:
        """A webhook: one about a meter is a reason to look. Returns at once."""
        if event.type.startswith(ABOUT_METERS):
            self._soon.set()

    def reported(self, rejection: Rejection) -> None:
        """Stripe refused meter events that it had accepted. Where the meter is the reason it is held, until a look finds it in order."""
        now_ms = self._clock.now_ms()
        if rejection.code not in METER_CODES or max(rejection.window_end_ms, rejection.window_start_ms) < now_ms - REPORT_AGE_MS:
            return
        if rejection.meter in self._meters.by_name:
            self._held.refused(rejection.meter, f"{rejection.code}: {rejection.message}", now_ms, self._clock.monotonic())
        self._soon.set()

    async def _wait(self, outcome: str, since: float) -> None:
        """Until it is time for the next look. A meter may be held meanwhile, so this wakes up now and then."""
        longest = min(self._times.every or math.inf, self._times.after_failure if outcome == WhyUnread.KEY_REFUSED else math.inf)
        while True:
            now = self._clock.monotonic()
            held_s = self._held.wait_s(now)
            left = min(since + longest - now, math.inf if held_s is None else held_s)
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(left, LOOK_GAP_SECONDS)):
                    await self._soon.wait()
                return
            except TimeoutError:
                continue

    async def _look(self) -> str:
        """One look: a label of the metric."""
        self._soon.clear()
        began = self._clock.monotonic()
        try:
            found = await self._port.read()
        except MetersUnread as error:
            self._not_seen(error, began)
            return error.why
        except Exception as error:  # sending goes on; a meter that Stripe refuses is then noticed by its refusals
            self._log.failed("Stripe's meters could not be read", error)
            return WhyUnread.UNAVAILABLE
        self.key_problem = None
        for meter in self._meters.by_name.values():
            self._judge(meter, found, began)
        return "ok"

    def _judge(self, meter: Meter, found: Mapping[str, ListedMeter], began: float) -> None:
        problem = meter_problem(meter, found.get(meter.event_name))
        if problem is None:
            self._held.try_again(meter.event_name, seen_at=began)
        else:
            self._held.still_refused(meter.event_name, problem, self._clock.now_ms(), self._clock.monotonic())

    def _not_seen(self, error: MetersUnread, began: float) -> None:
        refused = error.why is WhyUnread.KEY_REFUSED
        self.key_problem = str(error) if refused else None
        if refused:
            self._warnings.warning(self._log, "Stripe does not accept the key", reason=str(error))
        elif error.why is WhyUnread.FORBIDDEN:
            self._warnings.warning(
                self._log,
                "Stripe does not let this key read meters: a meter that Stripe refuses is noticed late; give it the right",
                reason=str(error),
            )
        else:
            self._warnings.warning(self._log, "Stripe's meters could not be read", reason=str(error))
        for meter, hold in self._held.holds.items():
            if hold.look_at > began:
                continue
            if error.why is WhyUnread.FORBIDDEN:
                self._held.try_again(meter, seen_at=began)
            else:
                self._held.look_later(meter, began)


def meter_problem(meter: Meter, found: ListedMeter | None) -> str | None:
    """Why Stripe would refuse each meter event of this meter, or make something else of them; None if it would not."""
    if found is None:
        return "this account and mode have no meter with this event name"
    if not found.active:
        return "the meter is inactive"
    if (found.formula == "last") != (meter.stripe_formula == "last"):
        return f"the meter's formula at Stripe is {found.formula!r}, and {meter.stripe_formula!r} is needed: write a meter of another event_name"
    if found.customer_key != meter.customer_key:
        return f"the meter reads the customer as {found.customer_key!r}, the settings send it as {meter.customer_key!r}"
    if found.value_key not in {None, meter.value_key}:
        return f"the meter reads the value as {found.value_key!r}, the settings send it as {meter.value_key!r}"
    return None
