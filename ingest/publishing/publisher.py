"""Puts the events of many requests into shared batches, sends the batches to Kafka, and tells each request what became of its events.

Batches are closed when nothing is on its way to Kafka, when everything on its way has arrived, when they are full, or when they have lingered
long enough. So a lone event does not wait, and batches grow under load.

Each partition has a queue of its own. One that Kafka does not acknowledge takes no more events after a while: they have an unknown fate at once,
and all other events go on. Its next acknowledgement ends that.

A batch that fails is not sent again. Its senders learn that its fate is unknown and send the same ids again; the aggregator drops those that
it has. The next heartbeat names the numbers of the batch as abandoned.

The batches of emitters pass as they are, beside the gateway's own. Their numbers are their emitters', who send them again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf
from random import Random
from typing import Final

from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy
from taximeter_emitter.transports.batch_producer import BatchProducer, ProducerFactory, ProducerFailed

from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.abandoned_numbers import AbandonedNumbers
from ingest.publishing.emitter_batches import BatchUnderWay, EmitterBatch
from ingest.publishing.partition_lanes import PartitionLanes
from ingest.publishing.pending_requests import PendingRequest
from ingest.publishing.staging import Staging
from ingest.tracing.append_spans import NO_HEADERS, REQUEST_SPAN, AppendSpans
from metering.process.logs import RateLimited, get_log
from metering.tracing.trace_context import TraceContext

_RECONNECT: Final = RetryPolicy(base_seconds=0.1, cap_seconds=3.0)
_TURN_SECONDS: Final = 0.5
# The producer is replaced after this many times the seconds that a request waits for an acknowledgement.
_PATIENCE: Final = 2.0
_HEARTBEAT_WAIT_SECONDS: Final = 5.0
# What a partition may hold of the budget while it does not move: all of them together, half of it.
_SHARE_OF_BUDGET: Final = 2
# This many staged events are spread without waiting for more: a partition may have a full batch of them.
_STAGED_EVENTS_MAX: Final = 2_000


class Publisher:
    """The gateway's one emitter. All methods must be called in one event loop.

    `spans`: set before the first request where requests are traced.
    """

    def __init__(
        self,
        batcher: Batcher,
        *,
        new_producer: ProducerFactory,
        budget: ByteBudget,
        metrics: GatewayMetrics,
        linger_seconds: float,
        acknowledge_seconds: float,
        heartbeat_seconds: float,
        clock: Clock,
    ) -> None:
        self.spans: AppendSpans | None = None
        self._batcher = batcher
        self._staging = Staging()
        self._new_producer = new_producer
        self._budget = budget
        self._metrics = metrics
        self._linger_seconds = linger_seconds
        self._acknowledge_seconds = acknowledge_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._log = get_log(__name__, emitter=batcher.emitter)
        self._warnings = RateLimited(clock)
        self._abandoned = AbandonedNumbers()
        self._producer: BatchProducer | None = None
        self._partition_cache = PartitionCache(0)
        self._problem = "not connected to Kafka yet"
        self._lanes = PartitionLanes(0, patience_seconds=acknowledge_seconds, bytes_max=0)
        # The requests that wait for a batch, also for an open one.
        self._waiting: dict[BatchUnderWay, list[PendingRequest]] = {}
        self._flush_handle: asyncio.Handle | None = None
        self._appending: asyncio.Task[None] | None = None
        self._last_record: dict[int, float] = {}
        self._beating: dict[int, asyncio.Future[object]] = {}
        self._producer_lost = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def partitions(self) -> int:
        """How many partitions the topic has; 0 until Kafka was reached."""
        return self._partition_cache.partitions

    def problem(self) -> str | None:
        """Why no events at all can be taken now; None if some can."""
        if self._producer is None:
            return self._problem
        refused = self._lanes.refused(self._clock.monotonic())
        if refused and len(refused) == self._lanes.partitions:
            return f"Kafka has acknowledged nothing for {min(refused.values()):.0f} s"
        return None

    def refused_partitions(self) -> dict[int, float]:
        """The partitions whose events are not taken now, each with the seconds for which Kafka has acknowledged nothing of it."""
        return {} if self._producer is None else self._lanes.refused(self._clock.monotonic())

    def place(self, parts: Sequence[EventColumns]) -> PendingRequest:
        """Take the events of one request. Must not be called while there is a `problem`."""
        assert self._producer is not None, "events are placed only while there is a producer"
        request = PendingRequest(asyncio.get_running_loop().create_future())
        if self.spans is not None:
            request.span = REQUEST_SPAN.get()
        if not parts:
            request.start(set())
            return request
        self._staging.add(request, parts)
        if self._staging.count >= _STAGED_EVENTS_MAX:
            self._spread()
            self._send(self._batcher.take_full())
        self._plan_flush()
        return request

    def pass_on(self, batches: Sequence[EmitterBatch]) -> PendingRequest:
        """Send batches of an emitter as they are, of each partition in this order; what is of a refused partition fails at once.

        Must not be called while there is a `problem`.
        """
        assert self._producer is not None, "batches are passed on only while there is a producer"
        request = PendingRequest(asyncio.get_running_loop().create_future())
        if self.spans is not None:
            request.span = REQUEST_SPAN.get()
        request.start(batches)
        refused = self._lanes.refused(self._clock.monotonic())
        for batch in batches:
            if batch.partition in refused:
                request.resolve(batch, acknowledged=False)
            else:
                self._waiting[batch] = [request]
        self._send([batch for batch in batches if batch.partition not in refused])
        return request

    def _spread(self) -> None:
        """Put what is staged into batches; what is of a refused partition fails."""
        refused = self._lanes.refused(self._clock.monotonic())
        for batch, requests in self._staging.spread(self._batcher, self._partition_cache, refused).items():
            if batch.partition in refused and not batch.count:
                for request in requests:
                    request.resolve(batch, acknowledged=False)
            else:
                self._waiting.setdefault(batch, []).extend(requests)

    async def settled(self, request: PendingRequest, *, seconds_max: float = inf) -> None:
        """Wait until the fate of all batches of the request is known, but at most `acknowledge_seconds`, or `seconds_max` if that is less.

        The request then knows which arrived.
        """
        # By hand: `asyncio.timeout` costs three times as much, and every request passes here.
        too_late = asyncio.get_running_loop().call_later(min(self._acknowledge_seconds, seconds_max), request.give_up)
        try:
            await request.settled
        finally:
            too_late.cancel()

    async def run(self) -> None:
        """Keep a producer open until `close`."""
        backoff = Backoff(_RECONNECT, now=self._clock.monotonic(), random=Random())
        while not self._stopping.is_set():
            producer = self._new_producer()
            try:
                await self._open(producer)
                backoff.reset(self._clock.monotonic())
                await self._watch(producer)
            except ProducerFailed as failure:
                self._problem = str(failure)
                self._warnings.warning(self._log, "no connection to Kafka; requests are refused", problem=str(failure))
            except Exception as error:  # what a client library did not foresee costs its producer, and not the gateway
                self._problem = f"the producer failed ({type(error).__name__})"
                self._warnings.warning(self._log, "the producer failed in an unforeseen way, and is replaced", reason=repr(error))
            finally:
                # `close` still needs a working producer when the gateway stops.
                if self._producer is not producer or not self._stopping.is_set():
                    self._producer = None
                    self._metrics.connected.set(0)
                    self._abandon_all()
                    await producer.discard()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay(self._clock.monotonic())):
                    await self._stopping.wait()

    async def close(self, seconds: float) -> None:
        """Send everything, then the final number of events to each partition. Takes at most this many seconds; then `run` ends."""
        deadline = self._clock.monotonic() + seconds
        self._stopping.set()
        producer = self._producer
        if producer is None:
            return
        self._flush()
        while self._lanes and self._clock.monotonic() < deadline and not self._producer_lost.is_set():
            await self._clock.sleep(0.01)
        self._abandon_all()
        with suppress(ProducerFailed):
            await self._send_heartbeats(producer, list(self._batcher.next_seq), final=True)
        if self._beating:
            await asyncio.wait(self._beating.values(), timeout=min(_HEARTBEAT_WAIT_SECONDS, max(0.0, deadline - self._clock.monotonic())))
        self._producer = None
        if self._appending is not None:
            self._appending.cancel()
        await producer.close(seconds=max(0.0, deadline - self._clock.monotonic()))

    async def _open(self, producer: BatchProducer) -> None:
        partitions = await producer.open()
        if self._stopping.is_set():
            raise ProducerFailed("the gateway is stopping")
        if self._partition_cache.partitions and partitions != self._partition_cache.partitions:
            raise ProducerFailed(f"the topic has {partitions} partitions now; customers were spread over {self._partition_cache.partitions}")
        if not self._partition_cache.partitions:
            self._partition_cache = PartitionCache(partitions)
        share = self._budget.bytes_max // (_SHARE_OF_BUDGET * partitions)
        self._lanes = PartitionLanes(partitions, patience_seconds=self._acknowledge_seconds, bytes_max=share)
        self._beating.clear()
        self._producer_lost.clear()
        self._producer = producer
        self._metrics.connected.set(1)

    async def _watch(self, producer: BatchProducer) -> None:
        """Send heartbeats and check that acknowledgements arrive, until the gateway stops. Raises ProducerFailed."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_TURN_SECONDS):
                    await self._producer_lost.wait()
            if self._producer_lost.is_set():
                raise ProducerFailed(self._problem)
            now = self._clock.monotonic()
            if self._lanes.all_silent(now, _PATIENCE * self._acknowledge_seconds):
                raise ProducerFailed(f"no acknowledgement for {_PATIENCE * self._acknowledge_seconds:.0f} s")
            self._note_refused()
            silent = [p for p in self._batcher.next_seq if now - self._last_record[p] >= self._heartbeat_seconds or self._abandoned.has(p)]
            await self._send_heartbeats(producer, silent, final=False)

    def _note_refused(self) -> None:
        refused = self.refused_partitions()
        self._metrics.refused_partitions.set(len(refused))
        if refused:
            self._warnings.warning(self._log, "Kafka does not acknowledge these partitions; their events are refused", partitions=sorted(refused))

    async def _send_heartbeats(self, producer: BatchProducer, partitions: list[int], *, final: bool) -> None:
        """Give a heartbeat of each partition to the client, unless it does not move, or an earlier one is still under way."""
        for partition in partitions:
            if self._lanes.has_room(partition) and (final or partition not in self._beating):
                abandoned = self._abandoned.of(partition)
                heard = await producer.append(partition, self._batcher.heartbeat(partition, final=final, abandoned=abandoned))
                self._beating[partition] = heard
                heard.add_done_callback(partial(self._heard, partition))
                self._last_record[partition] = self._clock.monotonic()

    def _heard(self, partition: int, heartbeat: "asyncio.Future[object]") -> None:
        if self._beating.get(partition) is heartbeat:
            del self._beating[partition]
            if not heartbeat.cancelled() and heartbeat.exception() is None:
                self._abandoned.told(partition)

    def _plan_flush(self) -> None:
        if self._flush_handle is not None or (self._batcher.is_empty and not self._staging.count):
            return
        loop = asyncio.get_running_loop()
        moving = self._lanes.is_moving(self._clock.monotonic())
        # After everything else that the loop has ready, so that requests that arrived together share a batch.
        self._flush_handle = loop.call_later(self._linger_seconds, self._flush) if moving else loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._spread()
        self._send(self._batcher.take_all())

    def _send(self, batches: Sequence[BatchUnderWay]) -> None:
        if not batches:
            return
        now = self._clock.monotonic()
        for batch in batches:
            self._lanes.add(batch, now)
            if isinstance(batch, PartitionBatch):
                self._last_record[batch.partition] = now
            self._budget.charge(batch.size)
        self._metrics.batches.inc(len(batches))
        if self._producer is None:
            # The producer was lost while the events lingered.
            for batch in batches:
                self._resolve(batch, acknowledged=False)
        else:
            self._hand_over(self._producer)

    def _hand_over(self, producer: BatchProducer) -> None:
        if self._appending is None or self._appending.done():
            self._appending = asyncio.get_running_loop().create_task(self._append(producer))

    async def _append(self, producer: BatchProducer) -> None:
        while producer is self._producer and (batch := self._lanes.next(self._clock.monotonic())) is not None:
            headers = NO_HEADERS if self.spans is None else self.spans.begin(batch, self._spans_of(batch))
            named = batch.headers if isinstance(batch, EmitterBatch) else NO_HEADERS
            try:
                acknowledged = await producer.append(batch.partition, batch.value, headers=[*headers, *named])
            except ProducerFailed as failure:
                self._lose(producer, str(failure))
                return
            except Exception as error:  # nobody waits for this task, and its batches would wait until they are given up
                self._warnings.warning(self._log, "a batch could not be handed over; the producer is replaced", reason=repr(error))
                self._lose(producer, f"a batch could not be handed over ({type(error).__name__})")
                return
            acknowledged.add_done_callback(partial(self._acknowledged, producer, batch))

    def _spans_of(self, batch: BatchUnderWay) -> list[TraceContext]:
        return [request.span for request in self._waiting.get(batch, ()) if request.span is not None]

    def _acknowledged(self, producer: BatchProducer, batch: BatchUnderWay, future: "asyncio.Future[object]") -> None:
        failure = None if future.cancelled() else future.exception()
        if future.cancelled() or failure is not None:
            self._lose(producer, str(failure) if failure is not None else "the producer was closed")
            return
        if batch in self._lanes:
            now = self._clock.monotonic()
            self._lanes.acknowledge(batch, now)
            self._resolve(batch, acknowledged=True)
            if self._lanes.any_waiting:
                self._hand_over(producer)
            if not self._lanes.is_moving(now):
                self._flush()

    def _lose(self, producer: BatchProducer, problem: str) -> None:
        """Note that the producer is broken; `run` replaces it."""
        if producer is self._producer:
            self._problem = problem
            self._producer_lost.set()

    def _abandon_all(self) -> None:
        self._spread()
        for batch in [*self._batcher.take_all(), *self._lanes.given_up()]:
            self._resolve(batch, acknowledged=False)

    def _resolve(self, batch: BatchUnderWay, *, acknowledged: bool) -> None:
        if self.spans is not None:
            self.spans.end(batch, acknowledged=acknowledged)
        added = self._lanes.remove(batch)
        if added is not None:
            self._budget.release(batch.size)
            if acknowledged:
                self._metrics.produce_seconds.observe(self._clock.monotonic() - added)
        if not acknowledged:
            if isinstance(batch, PartitionBatch):
                self._abandoned.add(batch.partition, batch.first_seq, batch.first_seq + batch.count - 1)
            self._metrics.produce_failures.inc()
        for request in self._waiting.pop(batch, ()):
            request.resolve(batch, acknowledged=acknowledged)
