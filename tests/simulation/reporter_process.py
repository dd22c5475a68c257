"""A reporter process: the workers of `reporter.worker` and the one dispatcher of `reporter.dispatch`, with a simulated Kafka and Stripe."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from metering.following.customers_log import CustomersLog
from metering.kafka.partition_log import LogUnavailable
from metering.workers.partition_worker import WorkerKit
from reporter.dispatch import REPEATS, Dispatcher
from reporter.planning.billing_periods import BillingPeriods
from reporter.sending.lanes import Lanes
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import TryAgain, Verdict
from reporter.settings import ReporterSettings
from reporter.takeover import ReportingTakeover
from reporter.worker import ReportingWorker
from tests.simulation.aggregator_process import LATEST_CATALOGUES
from tests.simulation.checker import HOURLY_MAX
from tests.simulation.kafka import Feed, SimulatedAppender, SimulatedReader
from tests.simulation.link_actor import own_name
from tests.simulation.lying_stripe import LyingStripe, MeterLine
from tests.simulation.processes import Process, SimulatedCall, SimulatedTurns
from tests.simulation.silence import GROUP_METRICS, LOGGER, REPORTER_METRICS, ProcessLog
from tests.simulation.world import LEDGER, TALLIES, TOPICS, World

ROWS_MAX: Final = 60
LIMIT_PER_S: Final = 50.0
LEAST_PER_S: Final = (2.0, 40.0)  # 40 is all that is allowed of the limit
STRAY_REFUSALS: Final = 2
LOOK_SECONDS: Final = 10.0
LINKS_LOOK_SECONDS: Final = 15.0
_NEVER: Final = asyncio.Event()


class StripePort:
    """What one process calls Stripe by. `refusals`: replies to it that said that there are too many calls."""

    def __init__(self, stripe: LyingStripe) -> None:
        self.refusals = 0
        self._stripe = stripe

    def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> SimulatedCall[Verdict]:
        """See MeterEventPort."""
        line = _line(event_name, payload, timestamp_s)
        self._stripe.billed.setdefault(identifier, set()).add(payload["stripe_customer_id"])
        return self._counted(partial(self._stripe.call, line, identifier, idempotency_key))

    def take_back(
        self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str
    ) -> SimulatedCall[Verdict]:
        """See MeterEventPort."""
        line = _line(event_name, payload, timestamp_s)
        self._stripe.billed.setdefault(identifier, set()).add(payload["stripe_customer_id"])
        return self._counted(partial(self._stripe.take_back, line, identifier, idempotency_key))

    def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> SimulatedCall[Verdict]:
        """See MeterEventPort."""
        assert event_name
        return self._counted(partial(self._stripe.cancel, identifier, idempotency_key))

    async def close(self) -> None:
        """Nothing is open."""

    def _counted(self, begin: Callable[[Callable[[Verdict], None]], None]) -> SimulatedCall[Verdict]:
        def counting(deliver: Callable[[Verdict], None]) -> None:
            def count(verdict: Verdict) -> None:
                self.refusals += isinstance(verdict, TryAgain) and verdict.rate_limited
                deliver(verdict)

            begin(count)

        return SimulatedCall(counting)


def _line(event_name: str, payload: Mapping[str, str], timestamp_s: int) -> MeterLine:
    return MeterLine(own_name(payload["stripe_customer_id"]), event_name, int(payload["value"]), timestamp_s * 1000)


class ReporterProcess(Process):
    """One operating-system process: a worker for each partition it owns, and one dispatcher."""

    def __init__(self, world: World, name: str, stripe: LyingStripe, periods: BillingPeriods, links: CustomersLog | None) -> None:
        super().__init__(world, name)
        rng = world.rng
        least_per_s = rng.pick(LEAST_PER_S)
        # By the rate at its least these still allow HOURLY_MAX hourly sums, so that the checker knows what is merged no further.
        self._settings = ReporterSettings(
            report_seconds=rng.pick((0.5, 3.0, 10.0)),
            receipt_seconds=rng.pick((0.05, 0.5, 3.0)),
            drain_target_seconds=rng.pick((0.05, 0.5, 25.0)),
            hourly_drain_seconds=rng.pick((HOURLY_MAX * world.partitions / least_per_s, 25.0)),
            rows_max=ROWS_MAX,
        )
        self._periods = periods
        self._takeover = ReportingTakeover(SimulatedReader(world), TOPICS, instance=name, rows_max=ROWS_MAX, periods=periods)
        log = ProcessLog(LOGGER, {}, world, name)
        turns = SimulatedTurns(self)
        self._port = StripePort(stripe)
        self.pacer = Pacer(LIMIT_PER_S, rate_min_per_s=least_per_s)
        self._dispatcher = Dispatcher(
            lanes=Lanes(capacity=5_000, in_flight_max=6, retry_delay_s=partial(REPEATS.wait_seconds, random=rng), probe_every_s=30.0),
            pacer=self.pacer,
            port=self._port,
            meters=LATEST_CATALOGUES[0],
            metrics=REPORTER_METRICS,
            clock=self,
            log=log,
            turns=turns,
        )
        self._feeds: dict[int, Feed] = {}
        self._kit = WorkerKit(
            topics=TOPICS,
            appender=SimulatedAppender(world),
            seek=lambda partition, position: self._feeds[partition].seek(position),
            metrics=GROUP_METRICS,
            clock=self,
            log=log,
            turns=turns,
            random=rng,
        )
        self.workers: dict[int, ReportingWorker] = {}
        self.start("dispatch", self._dispatcher.run(_NEVER))
        self.start("meters", self._look_at_meters(stripe))
        self._links = links
        if links is not None:
            self.start("links", self._follow_links(links))

    def assign(self, partition: int) -> None:
        """Own a partition."""
        self._stop_feed(partition)
        feed = self._feeds[partition] = Feed(self, TALLIES, partition)
        self.workers[partition] = feed.worker = worker = ReportingWorker(
            partition,
            self._kit,
            settings=self._settings,
            takeover=self._takeover,
            dispatcher=self._dispatcher,
            periods=self._periods,
            partition_rate=lambda: self.pacer.rate_per_s / self.world.partitions,
            metrics=REPORTER_METRICS,
        )
        self.start(f"partition {partition}", worker.run())

    def revoke(self, partition: int) -> None:
        """Write the outcomes that are known, and stop."""
        if partition in self.workers:
            self._stop_feed(partition)
            self.workers[partition].drain()

    def owns(self, partition: int) -> bool:
        """Whether a worker runs this partition and was not told to let it go."""
        return self.runs(f"partition {partition}") and self._feeds[partition].worker is not None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to report."""
        return len(self.workers) == self.world.partitions and all(self._has_reported(worker) for worker in self.workers.values())

    def kill(self) -> None:
        """kill -9."""
        for partition in self._feeds:
            self._stop_feed(partition)
        super().kill()

    @property
    def is_slow_without_cause(self) -> bool:
        """Whether it calls at less than its pace, although hardly any call was refused because there are too many."""
        return self._port.refusals <= STRAY_REFUSALS and self.pacer.rate_per_s < self.pacer.ceiling_per_s

    async def _look_at_meters(self, stripe: LyingStripe) -> None:
        """What the watch over meters does: a held one is tried again when it is active, or now and then where the key may not look."""
        held, blind = self._dispatcher.lanes.held, self.world.chance(0.3)
        while True:
            await self.sleep(LOOK_SECONDS)
            now = self.monotonic()
            for meter, hold in held.holds.items():
                if hold.look_at > now:
                    continue
                if blind or stripe.is_active(meter):
                    held.try_again(meter, seen_at=now)
                else:
                    held.still_refused(meter, "inactive", self.now_ms(), now)

    async def _follow_links(self, links: CustomersLog) -> None:
        """What LinkFollowing does."""
        while True:
            with suppress(LogUnavailable):
                await links.read_on()
            await self.sleep(LINKS_LOOK_SECONDS)

    def _has_reported(self, worker: ReportingWorker) -> bool:
        reporter = worker.reporter
        return (
            reporter is not None
            and not reporter.ledger.open
            and not len(reporter.unplanned)
            and not len(reporter.carried)
            and reporter.ledger.chain.next_offset == len(self.world.logs[LEDGER, worker.partition])
            and reporter.tally_position == len(self.world.logs[TALLIES, worker.partition])
        )

    def _stop_feed(self, partition: int) -> None:
        if partition in self._feeds:
            self._feeds[partition].stop()
