"""One reporter's real partitions, dispatcher and lanes in virtual time, a Stripe that goes away for hours, and usage that goes on meanwhile.

`python -m benchmarks.drain_world '{"customers": 10000, ...}'` (a DrainOrder) prints what came of it as JSON on its last line. Kafka is in memory.
"""

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from random import Random
from typing import Final

from aiokafka.structs import ConsumerRecord
from prometheus_client import CollectorRegistry
from taximeter_emitter.wire.limits import MINUTE_MS

from benchmarks.tally_load import CATALOGUE, METER, TallyShape, by_partition, tally_of
from benchmarks.virtual_time import VirtualClock, VirtualLoop
from metering.kafka.partition_log import Appended, Appender, LogReader
from metering.kafka.topics import topics_named
from metering.process.logs import get_log
from metering.records.record import Record
from metering.records.tally import encode_tally
from metering.workers.loop_turns import LoopTurns
from metering.workers.partition_worker import WorkerKit
from reporter.dispatch import REPEATS, Dispatcher
from reporter.metrics import ReporterMetrics
from reporter.planning.billing_periods import BillingPeriods
from reporter.sending.lanes import Lanes
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, Retry, TryAgain, Verdict, interrupted
from reporter.settings import ReporterSettings
from reporter.takeover import ReportingTakeover
from reporter.worker import ReportingWorker

FINISHED: Final = '"drain_minutes"'
PARTITIONS: Final = 12
CALL_SECONDS: Final = 0.1
TIMEOUT_SECONDS: Final = 15.0
WARM_UP_MINUTES: Final = 15
TALLY_LAG_SECONDS: Final = 5.0
MIDNIGHT_MS: Final = 1_795_305_600_000
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainOrder:
    """Customers with usage every minute; Stripe takes `calls_per_second` of the account's limit and is away from `away_from_minute` of the
    day for `away_minutes`. `refused_share` of the other calls get 429, however few there are.
    """

    customers: int
    calls_per_second: int
    connections: int
    rows_max: int
    away_from_minute: int
    away_minutes: int
    refused_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainResult:
    """`drain_minutes` from Stripe's return until all usage from before it was settled; `unmerged_minutes`: the rows of that usage by the pace,
    if each were a meter event of its own. `meter_events` were settled in the drain, `calls` made in all.
    """

    drain_minutes: float
    unmerged_minutes: float
    meter_events: int
    rows: int
    calls: int


class AwayStripe:
    """Takes every meter event once, in virtual time, but for `refused_share` of the calls; while it is away, calls run into their time-out."""

    def __init__(self, refused_share: float) -> None:
        self.away = False
        self._refused_share = refused_share
        self._random = Random(1)
        self.calls = 0
        self.units: Counter[str] = Counter()
        self._identifiers: set[str] = set()

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        """One attempt."""
        del event_name, timestamp_s, idempotency_key
        self.calls += 1
        if self.away:
            await asyncio.sleep(TIMEOUT_SECONDS)
            return interrupted(Retry.TIMEOUT, "away")
        await asyncio.sleep(CALL_SECONDS)
        if self._random.random() < self._refused_share:
            return TryAgain(Retry.RATE_LIMITED, "noise", rate_limited=True)
        if identifier in self._identifiers:
            return Delivered(duplicate=True)
        self._identifiers.add(identifier)
        self.units[payload["stripe_customer_id"]] += int(payload["value"])
        return Delivered()

    def take_back(
        self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str
    ) -> Awaitable[Verdict]:
        """Nobody adjusts anything here."""
        raise NotImplementedError

    def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Awaitable[Verdict]:
        """Nobody corrects anything here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


class Offsets:
    """How many records each partition of a topic has. What is in them only their writer needs."""

    def __init__(self) -> None:
        self.ends: Counter[tuple[str, int]] = Counter()


class NoReader(LogReader):
    """Nobody else writes: there is never anything to read."""

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """From the first record to the end."""
        return 0, self._offsets.ends[topic, partition]

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[ConsumerRecord[bytes, bytes]], None]:
        """None."""
        assert start >= end, f"{topic}/{partition} has records that its owner does not know"
        nothing: Sequence[Sequence[ConsumerRecord[bytes, bytes]]] = ()
        for records in nothing:
            yield records


class CountingAppender(Appender):
    """Appends without keeping."""

    def __init__(self, offsets: Offsets, clock: VirtualClock) -> None:
        self._offsets = offsets
        self._clock = clock

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        """At the end."""
        del value, key, headers
        await asyncio.sleep(0.005)
        offset = self._offsets.ends[topic, partition]
        self._offsets.ends[topic, partition] += 1
        return Appended(offset, self._clock.now_ms())


class DrainWorld:
    """One run."""

    def __init__(self, order: DrainOrder, loop: VirtualLoop) -> None:
        self._order = order
        self._return_minute = WARM_UP_MINUTES + order.away_minutes
        first_ms = MIDNIGHT_MS + (order.away_from_minute - WARM_UP_MINUTES) * MINUTE_MS
        self._shape = TallyShape(customers=order.customers, minutes=0, partitions=PARTITIONS, until_ms=first_ms)
        self._customers = by_partition(self._shape)
        self._clock = VirtualClock(loop, first_ms)
        self._stripe = AwayStripe(order.refused_share)
        self._stop = asyncio.Event()
        self._fed = 0
        self._workers: list[ReportingWorker] = []
        self._positions = [0] * PARTITIONS
        self._metrics = ReporterMetrics.create(CollectorRegistry())
        self._pacer = Pacer(order.calls_per_second)
        self._dispatcher = self._make_dispatcher()
        offsets = Offsets()
        self._workers = [self._make_worker(partition, offsets) for partition in range(PARTITIONS)]

    async def run(self) -> DrainResult:
        """Warm up, outage, drain; then all that is left is sent, and every customer's units are compared. Raises AssertionError."""
        order = self._order
        tasks = [asyncio.ensure_future(self._dispatcher.run(self._stop)), *(asyncio.ensure_future(worker.run()) for worker in self._workers)]
        feeding = [asyncio.ensure_future(self._feed(partition)) for partition in range(PARTITIONS)]
        await asyncio.sleep(WARM_UP_MINUTES * 60)
        self._stripe.away = True
        await asyncio.sleep(order.away_minutes * 60)
        self._stripe.away = False
        before, began = self._settled(), self._clock.monotonic()
        await self._until_settled(self._return_minute)
        drained, sent = self._clock.monotonic() - began, self._settled() - before
        self._stop_feeding()
        await asyncio.gather(*feeding)
        await self._until_settled(self._fed)
        assert self._stripe.units == replace(self._shape, minutes=self._fed).units(), "Stripe has something else than was counted"
        self._stop.set()
        for worker in self._workers:
            worker.drain()
        await asyncio.gather(*tasks)
        rows = order.customers * order.away_minutes
        return DrainResult(
            drain_minutes=round(drained / 60, 2),
            unmerged_minutes=round(rows / self._pacer.ceiling_per_s / 60, 2),
            meter_events=sent,
            rows=rows,
            calls=self._stripe.calls,
        )

    async def _feed(self, partition: int) -> None:
        """The poll loop's part for one partition: each minute's tally soon after the minute, as far as the worker wants it."""
        worker, customers = self._workers[partition], self._customers[partition]
        while not self._fed:
            minute = self._positions[partition]
            if self._clock.monotonic() < (minute + 1) * 60 + TALLY_LAG_SECONDS or not worker.wants_records:
                await asyncio.sleep(POLL_SECONDS)
                continue
            self._hand_in(worker, customers, minute)
        while self._positions[partition] < self._fed:
            if worker.wants_records:
                self._hand_in(worker, customers, self._positions[partition])
            await asyncio.sleep(POLL_SECONDS)

    def _hand_in(self, worker: ReportingWorker, customers: Sequence[tuple[int, str]], minute: int) -> None:
        tally = tally_of(self._shape, customers, partition=worker.partition, minute=minute)
        worker.hand_in([Record(minute, tally.log_time_ms, None, encode_tally(tally))])
        self._positions[worker.partition] = minute + 1

    def _stop_feeding(self) -> None:
        """At the minute that the first partition has reached: all the others reach it, too."""
        self._fed = max(self._positions)

    async def _until_settled(self, minute: int) -> None:
        while not all(self._is_settled(worker, minute) for worker in self._workers):  # noqa: ASYNC110  # nothing tells, and virtual time is cheap
            await asyncio.sleep(POLL_SECONDS)

    def _is_settled(self, worker: ReportingWorker, minute: int) -> bool:
        """Whether all tallies before this minute are covered, and no meter event with usage from before it is open."""
        reporter = worker.reporter
        if worker.stopped is not None:
            raise worker.stopped
        if reporter is None or reporter.ledger.chain.end < minute:
            return False
        before_ms = self._shape.until_ms + minute * MINUTE_MS
        return all(time_ms >= before_ms for _, time_ms in reporter.open_usage())

    def _settled(self) -> int:
        return sum(sum(worker.reporter.ledger.settled.values()) for worker in self._workers if worker.reporter is not None)

    def _partition_rate(self) -> float:
        return self._pacer.rate_per_s / PARTITIONS

    def _seek(self, partition: int, position: int) -> None:
        self._positions[partition] = position

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            lanes=Lanes(
                capacity=ReporterSettings().sends_max,
                in_flight_max=self._order.connections,
                retry_delay_s=partial(REPEATS.wait_seconds, random=Random(1)),
                probe_every_s=30.0,
            ),
            pacer=self._pacer,
            port=self._stripe,
            meters=CATALOGUE,
            metrics=self._metrics,
            clock=self._clock,
            log=get_log("drain"),
            turns=LoopTurns(),
        )

    def _make_worker(self, partition: int, offsets: Offsets) -> ReportingWorker:
        settings, topics, periods = ReporterSettings(rows_max=self._order.rows_max), topics_named("drain"), BillingPeriods()
        return ReportingWorker(
            partition,
            WorkerKit(
                topics=topics,
                appender=CountingAppender(offsets, self._clock),
                seek=self._seek,
                metrics=self._metrics.group,
                clock=self._clock,
                log=get_log("drain"),
                turns=LoopTurns(),
            ),
            settings=settings,
            takeover=ReportingTakeover(NoReader(offsets), topics, instance="drain", rows_max=settings.rows_max, periods=periods),
            dispatcher=self._dispatcher,
            periods=periods,
            partition_rate=self._partition_rate,
            metrics=self._metrics,
        )


async def drain(order: DrainOrder) -> DrainResult:
    """One run; to be awaited in a VirtualLoop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return await DrainWorld(order, loop).run()


def run(order: DrainOrder) -> DrainResult:
    """One run, in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(drain(order))


if __name__ == "__main__":
    assert METER in CATALOGUE.by_name
    # That calls to a Stripe which is away are repeated is what happens here all the time.
    logging.disable(logging.WARNING)
    print(json.dumps(asdict(run(DrainOrder(**json.loads(sys.argv[1]))))), flush=True)
    # What it has used is looked at now; it is ended from outside.
    time.sleep(3600)
