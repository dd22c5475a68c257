"""Puts the events of many requests into shared batches, sends the batches to Kafka, and tells each request what became of its events.

Batches are closed when nothing is on its way to Kafka, when everything on its way has arrived, when they are full, or when they have lingered
long enough. So a lone event does not wait, and batches grow under load.

A batch that fails is not sent again. Its senders learn that its fate is unknown and send the same ids again; the aggregator drops those that
it has. The next heartbeat names the numbers of the batch as abandoned.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final

from taximeter_emitter.buffer.batching import Batcher, EventColumns, PartitionBatch
from taximeter_emitter.buffer.partition_cache import Homes
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy
from taximeter_emitter.transports.kafka_producer import Link, LinkFactory, LinkFailed

from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.abandoned_numbers import AbandonedNumbers
from ingest.publishing.pending_requests import PendingRequest
from ingest.publishing.staging import Staging
from metering.process.logs import RateLimited, get_log

_RECONNECT: Final = RetryPolicy(base_seconds=0.1, cap_seconds=3.0)
_TURN_SECONDS: Final = 0.5
# The link is replaced after this many times the seconds that a request waits for an acknowledgement.
_PATIENCE: Final = 2.0
_HEARTBEAT_WAIT_SECONDS: Final = 5.0
# This many staged events are spread without waiting for more: a partition may have a full batch of them.
_STAGED_EVENTS_MAX: Final = 2_000


class Publisher:
    """The gateway's one emitter. All methods must be called in one event loop."""

    def __init__(
        self,
        batcher: Batcher,
        *,
        new_link: LinkFactory,
        budget: ByteBudget,
        metrics: GatewayMetrics,
        linger_seconds: float,
        acknowledge_seconds: float,
        heartbeat_seconds: float,
        clock: Clock,
    ) -> None:
        self._batcher = batcher
        self._staging = Staging()
        self._new_link = new_link
        self._budget = budget
        self._metrics = metrics
        self._linger_seconds = linger_seconds
        self._acknowledge_seconds = acknowledge_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._log = get_log(__name__, emitter=batcher.emitter)
        self._warnings = RateLimited(clock)
        self._abandoned = AbandonedNumbers()
        self._link: Link | None = None
        self._homes = Homes(0)
        self._problem = "not connected to Kafka yet"
        # Closed batches without an acknowledgement, and when each was closed. The requests that wait for a batch, also for an open one.
        self._under_way: dict[PartitionBatch, float] = {}
        self._waiting: dict[PartitionBatch, list[PendingRequest]] = {}
        self._flush_handle: asyncio.Handle | None = None
        self._appends: set[asyncio.Task[None]] = set()
        self._last_record: dict[int, float] = {}
        self._progress_at = clock.monotonic()
        self._link_lost = asyncio.Event()
        self._stopping = asyncio.Event()

    def problem(self) -> str | None:
        """Why events cannot be taken now; None if they can."""
        if self._link is None:
            return self._problem
        if self._under_way and self._clock.monotonic() - self._progress_at > self._acknowledge_seconds:
            return f"Kafka has acknowledged nothing for {self._acknowledge_seconds:.0f} s"
        return None

    def place(self, parts: Sequence[EventColumns]) -> PendingRequest:
        """Take the events of one request. Must not be called while there is a `problem`."""
        assert self._link is not None, "events are placed only while there is a link"
        request = PendingRequest(asyncio.get_running_loop().create_future())
        if not parts:
            request.start(set())
            return request
        self._staging.add(request, parts)
        if self._staging.count >= _STAGED_EVENTS_MAX:
            self._spread()
            self._send(self._batcher.take_full())
        self._plan_flush()
        return request

    def _spread(self) -> None:
        """Put what is staged into batches."""
        for batch, requests in self._staging.spread(self._batcher, self._homes).items():
            self._waiting.setdefault(batch, []).extend(requests)

    async def settled(self, request: PendingRequest) -> None:
        """Wait until the fate of all batches of the request is known, but at most `acknowledge_seconds`. The request then knows which arrived."""
        # By hand: `asyncio.timeout` costs three times as much, and every request passes here.
        too_late = asyncio.get_running_loop().call_later(self._acknowledge_seconds, request.give_up)
        try:
            await request.settled
        finally:
            too_late.cancel()

    async def run(self) -> None:
        """Keep a link to Kafka until `close`."""
        backoff = Backoff(_RECONNECT, now=self._clock.monotonic(), random=Random())
        while not self._stopping.is_set():
            link = self._new_link()
            try:
                await self._open(link)
                backoff.reset(self._clock.monotonic())
                await self._watch(link)
            except LinkFailed as failure:
                self._problem = str(failure)
                self._warnings.warning(self._log, "no link to Kafka; requests are refused", problem=str(failure))
            finally:
                # `close` still needs a working link when the gateway stops.
                if self._link is not link or not self._stopping.is_set():
                    self._link = None
                    self._metrics.connected.set(0)
                    self._abandon_all()
                    await link.discard()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay(self._clock.monotonic())):
                    await self._stopping.wait()

    async def close(self, seconds: float) -> None:
        """Send everything, then the final number of events to each partition. Takes at most this many seconds; then `run` ends."""
        deadline = self._clock.monotonic() + seconds
        self._stopping.set()
        link = self._link
        if link is None:
            return
        self._flush()
        while self._under_way and self._clock.monotonic() < deadline and not self._link_lost.is_set():
            await self._clock.sleep(0.01)
        self._abandon_all()
        with suppress(LinkFailed):
            await self._send_heartbeats(link, list(self._batcher.next_seq), final=True)
        self._link = None
        for task in self._appends:
            task.cancel()
        await link.close(seconds=max(0.0, deadline - self._clock.monotonic()))

    async def _open(self, link: Link) -> None:
        partitions = await link.open()
        if self._stopping.is_set():
            raise LinkFailed("the gateway is stopping")
        if self._homes.partitions and partitions != self._homes.partitions:
            raise LinkFailed(f"the topic has {partitions} partitions now; customers were spread over {self._homes.partitions}")
        if not self._homes.partitions:
            self._homes = Homes(partitions)
        self._link_lost.clear()
        self._progress_at = self._clock.monotonic()
        self._link = link
        self._metrics.connected.set(1)

    async def _watch(self, link: Link) -> None:
        """Send heartbeats and check that acknowledgements arrive, until the gateway stops. Raises LinkFailed."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_TURN_SECONDS):
                    await self._link_lost.wait()
            if self._link_lost.is_set():
                raise LinkFailed(self._problem)
            now = self._clock.monotonic()
            if self._under_way and now - self._progress_at > _PATIENCE * self._acknowledge_seconds:
                raise LinkFailed(f"no acknowledgement for {now - self._progress_at:.0f} s")
            silent = [p for p in self._batcher.next_seq if now - self._last_record[p] >= self._heartbeat_seconds or self._abandoned.has(p)]
            await self._send_heartbeats(link, silent, final=False)

    async def _send_heartbeats(self, link: Link, partitions: list[int], *, final: bool) -> None:
        sent: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(_HEARTBEAT_WAIT_SECONDS):
                for partition in partitions:
                    abandoned = self._abandoned.of(partition)
                    sent.append(await link.append(partition, self._batcher.heartbeat(partition, final=final, abandoned=abandoned)))
                    self._last_record[partition] = self._clock.monotonic()
                if sent:
                    await asyncio.wait(sent)
        except TimeoutError:
            return
        for partition, future in zip(partitions, sent, strict=True):
            if not future.cancelled() and future.exception() is None:
                self._abandoned.told(partition)

    def _plan_flush(self) -> None:
        if self._flush_handle is not None or (self._batcher.is_empty and not self._staging.count):
            return
        loop = asyncio.get_running_loop()
        # After everything else that the loop has ready, so that requests that arrived together share a batch.
        self._flush_handle = loop.call_later(self._linger_seconds, self._flush) if self._under_way else loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._spread()
        self._send(self._batcher.take_all())

    def _send(self, batches: list[PartitionBatch]) -> None:
        if not batches:
            return
        now = self._clock.monotonic()
        if not self._under_way:
            self._progress_at = now
        for batch in batches:
            self._under_way[batch] = now
            self._last_record[batch.partition] = now
            self._budget.charge(batch.size)
        self._metrics.batches.inc(len(batches))
        link = self._link
        if link is None:
            # The link was lost while the events lingered.
            for batch in batches:
                self._resolve(batch, acknowledged=False)
            return
        task = asyncio.get_running_loop().create_task(self._append(link, batches))
        self._appends.add(task)
        task.add_done_callback(self._appends.discard)

    async def _append(self, link: Link, batches: list[PartitionBatch]) -> None:
        for batch in batches:
            try:
                acknowledged = await link.append(batch.partition, batch.value)
            except LinkFailed as failure:
                self._lose(link, str(failure))
                return
            acknowledged.add_done_callback(partial(self._acknowledged, link, batch))

    def _acknowledged(self, link: Link, batch: PartitionBatch, future: "asyncio.Future[object]") -> None:
        failure = None if future.cancelled() else future.exception()
        if future.cancelled() or failure is not None:
            self._lose(link, str(failure) if failure is not None else "the link was closed")
            return
        if batch in self._under_way:
            self._progress_at = self._clock.monotonic()
            self._metrics.produce_seconds.observe(self._progress_at - self._under_way[batch])
            self._resolve(batch, acknowledged=True)
            if not self._under_way:
                self._flush()

    def _lose(self, link: Link, problem: str) -> None:
        """Note that the link is broken; `run` replaces it."""
        if link is self._link:
            self._problem = problem
            self._link_lost.set()

    def _abandon_all(self) -> None:
        self._spread()
        for batch in [*self._batcher.take_all(), *self._under_way]:
            self._resolve(batch, acknowledged=False)

    def _resolve(self, batch: PartitionBatch, *, acknowledged: bool) -> None:
        if self._under_way.pop(batch, None) is not None:
            self._budget.release(batch.size)
        if not acknowledged:
            self._abandoned.add(batch.partition, batch.first_seq, batch.first_seq + batch.count - 1)
            self._metrics.produce_failures.inc()
        for request in self._waiting.pop(batch, ()):
            request.resolve(batch, acknowledged=acknowledged)
