"""The one loop that calls Stripe: takes attempts from the lanes at the pace allowed, and hands what came of them to their partitions."""

import asyncio
from collections.abc import Awaitable, Mapping
from functools import cache, partial
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import RetryPolicy

from metering.process.logs import Log, RateLimited
from metering.records.ledger_records import Settlement
from metering.records.meters import Meter
from metering.workers.turns import CallsUnderWay, Turns
from reporter.mailbox import Mailbox
from reporter.metrics import ReporterMetrics
from reporter.sending.known_meters import KnownMeters
from reporter.sending.lanes import Attempt, Lanes, MeterSend
from reporter.sending.meter_events import MeterEventPort, payload_of
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, MeterRefused, Refused, Retry, StopTheWorld, TooOld, TryAgain, Verdict

WAIT_SECONDS_MAX: Final = 1.0
REPEATS: Final = RetryPolicy(base_seconds=0.5, cap_seconds=45.0)  # of attempts that may succeed later


class Dispatcher:
    """Sends what is in the lanes, and puts what came of it into the partitions' mailboxes. Owns the port.

    Outcomes of a partition without a mailbox are dropped: its next owner sends under the same identifier, and finds the outcome again.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        pacer: Pacer,
        port: MeterEventPort,
        meters: KnownMeters,
        metrics: ReporterMetrics,
        clock: Clock,
        log: Log,
        turns: Turns,
    ) -> None:
        self.lanes = lanes
        self.pacer = pacer
        self._port = port
        self._meters = meters
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._mailboxes: dict[int, Mailbox] = {}
        self._warnings = RateLimited(clock)
        self._wake = turns.news()
        # To look a label up costs more than to count.
        self._calls_by_outcome = cache(metrics.calls.labels)
        self._calls: CallsUnderWay[Verdict] = turns.calls()
        self._paced: Verdict | None = None
        self._halted: str | None = None
        self._held: frozenset[str] | None = None  # at the last look; None: there was none
        self._behind_ms = 0
        self.answered = 0

    def note_log_time(self, log_time_ms: int) -> None:
        """The broker has just written this time. The age of an intent is counted from it, so our own clock must not be used if it is behind."""
        self._behind_ms = max(0, log_time_ms - self._clock.now_ms())

    def register(self, partition: int, mailbox: Mailbox) -> None:
        """From now on the outcomes of this partition's meter events go into this mailbox."""
        self._mailboxes[partition] = mailbox

    def unregister(self, partition: int, mailbox: Mailbox) -> None:
        """Nothing more goes into this mailbox. The partition's next owner may have registered another one already."""
        if self._mailboxes.get(partition) is mailbox:
            del self._mailboxes[partition]

    @property
    def sent_meters(self) -> Mapping[str, Meter]:
        """By name: those in a version of the catalogue, so that their payload keys and formulas are known."""
        return self._meters.by_name

    def wake(self) -> None:
        """Something was added to the lanes."""
        self._wake.tell()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then waits for the calls under way, whose outcomes still go to their mailboxes."""
        while not stop.is_set():
            seconds = self._dispatch()
            self._hand_out()
            self._observe()
            await self._wake.wait(min(seconds, WAIT_SECONDS_MAX))
        await self._calls.finish()
        self._hand_out()

    async def close(self) -> None:
        """Cancel what is under way and close the connections."""
        await self._calls.cancel()
        await self._port.close()

    def _dispatch(self) -> float:
        """Start every call that may start now; returns seconds until the next one may."""
        while True:
            now = self._clock.monotonic()
            wait = self.lanes.wait_s(now)
            if wait is None or wait > 0:
                return WAIT_SECONDS_MAX if wait is None else wait
            if len(self._calls) >= self.pacer.in_flight_max:
                return WAIT_SECONDS_MAX  # the end of a call wakes us
            wait = self.pacer.take(now)
            if wait > 0:
                return wait
            attempt = self.lanes.next_ready(self._now_ms(), now)
            if attempt is None:
                return WAIT_SECONDS_MAX
            try:
                call = self._attempt(attempt)
            except Exception as error:  # it costs this meter event, which is tried again, and no other
                self._failed(attempt, now, error)
                continue
            self._calls.start(call, partial(self._ended, attempt, now), partial(self._failed, attempt, now))

    def _ended(self, attempt: Attempt, began: float, verdict: Verdict) -> None:
        now = self._clock.monotonic()
        self._metrics.call_seconds.observe(now - began)
        self._calls_by_outcome(_label(verdict)).inc()
        self._heed(attempt.send, verdict, began, now)
        self.lanes.done(attempt, verdict, self._now_ms(), now)
        self._wake.tell()

    def _failed(self, attempt: Attempt, began: float, error: Exception) -> None:
        """Code failed in a way that nobody foresaw. Stripe may have the meter event: it is tried again under the same identifier."""
        if self._warnings.admit("an attempt failed") is not None:
            self._log.failed("code failed over a meter event; it will be tried again", error, identifier=attempt.send.identifier)
        self._ended(attempt, began, TryAgain(Retry.UNEXPECTED, type(error).__name__, maybe_arrived=True))

    def _attempt(self, attempt: Attempt) -> Awaitable[Verdict]:
        send, event = attempt.send, attempt.send.event
        if send.cancels is not None:
            return self._port.cancel(event_name=event.meter, identifier=send.cancels, idempotency_key=attempt.idempotency_key)
        attempt_to = self._port.send if event.value > 0 else self._port.take_back
        return attempt_to(
            event_name=event.meter,
            payload=payload_of(event, self._meters.by_name[event.meter]),
            identifier=send.identifier,
            timestamp_s=event.time_ms // 1000,
            idempotency_key=attempt.idempotency_key,
        )

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._behind_ms

    def _heed(self, send: MeterSend, verdict: Verdict, began: float, now: float) -> None:
        self.answered += isinstance(verdict, Delivered | Refused | TooOld)
        # Events that shared a request share its verdict, and come one after the other: that is one reply, not a hundred.
        if verdict is not self._paced:
            self._paced = verdict
            self._pace(verdict, began, now)
        if isinstance(verdict, Refused):
            self._warnings.warning(self._log, "Stripe refused a meter event", identifier=send.identifier, code=verdict.code, reason=verdict.message)
        elif isinstance(verdict, MeterRefused):
            meter = send.event.meter
            self._warnings.warning(
                self._log,
                "Stripe refused a meter event because of its meter; its usage waits",
                key=f"meter {meter}",
                meter=meter,
                identifier=send.identifier,
                reason=verdict.reason,
            )
        elif isinstance(verdict, TryAgain):
            self._warnings.warning(self._log, "a call to Stripe will be repeated", reason=verdict.reason.value, detail=verdict.detail)

    def _pace(self, verdict: Verdict, began: float, now: float) -> None:
        match verdict:
            case TryAgain(concurrency_limited=True):
                self.pacer.on_concurrency_limited(now, began=began, in_flight=len(self._calls) + 1)
            case TryAgain(rate_limited=True):
                self.pacer.on_rate_limited(now, began=began)
            case Delivered() | Refused() | MeterRefused() | TooOld():
                self.pacer.on_success(now, began=began)
            case _:
                pass

    def _hand_out(self) -> None:
        settled: dict[int, list[Settlement]] = {}
        for entry in self.lanes.take_settlements():
            settled.setdefault(entry.partition, []).append(entry.settlement)
        for partition, settlements in settled.items():
            mailbox = self._mailboxes.get(partition)
            if mailbox is not None:
                mailbox.put(settlements)

    def _observe(self) -> None:
        stopped = self.lanes.stopped
        if stopped != self._halted:
            if stopped is not None:
                self._log.error("nothing is sent any more: Stripe refuses every call", reason=stopped)
            else:
                self._log.info("Stripe accepts calls again")
            self._halted = stopped
        self._metrics.halted.set(0 if stopped is None else 1)
        self._observe_meters()
        self._metrics.in_flight.set(self.lanes.in_flight)
        self._metrics.in_flight_limit.set(min(self.lanes.in_flight_max, self.pacer.in_flight_max))
        self._metrics.rate_limit.set(self.pacer.rate_per_s)

    def _observe_meters(self) -> None:
        holds, told = self.lanes.held.holds, self._held
        if told is not None and holds.keys() == told:
            return
        told = told or frozenset()
        for meter, hold in holds.items():
            if meter not in told:
                self._log.error("nothing of this meter is sent any more, its usage waits: Stripe refuses the meter", meter=meter, reason=hold.reason)
        for meter in told - holds.keys():
            self._log.info("a meter is tried again", meter=meter)
        self._held = frozenset(holds)
        for meter in self._meters.by_name:
            self._metrics.meters_held.labels(meter).set(meter in holds)


def _label(verdict: Verdict) -> str:
    match verdict:
        case Delivered(duplicate):
            return "duplicate" if duplicate else "ok"
        case Refused():
            return "refused"
        case MeterRefused():
            return "meter_refused"
        case TooOld():
            return "too_old"
        case StopTheWorld():
            return "stopped"
        case TryAgain(reason):
            return reason.value
