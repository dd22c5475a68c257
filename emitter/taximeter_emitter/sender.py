"""The emitter's background work: batches to Kafka or a gateway, and to the disk while that is away.

Two tasks on one event loop. One collects what was emitted and writes to disk what has waited too long; the other keeps a producer open
and sends batches in the order of each partition, as often as it takes, always the same bytes. A partition that Kafka does not take keeps no other
waiting.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from taximeter_emitter.buffer.emit_buffer import EmitBuffer
from taximeter_emitter.clock import Clock
from taximeter_emitter.collecting import Collector
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.deadlines import run_together, timeout, wait_for_event
from taximeter_emitter.logs.message_limiter import MessageLimiter
from taximeter_emitter.retry import Backoff, RetryPolicy
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox
from taximeter_emitter.spool.unsent import Unsent
from taximeter_emitter.transports.batch_producer import BatchProducer, BatchRefused, ProducerFactory, ProducerFailed
from taximeter_emitter.transports.in_flight import InFlight

_LOG: Final = logging.getLogger("taximeter.emitter")

_IDLE_SECONDS: Final = 0.5
_ADOPT_SECONDS: Final = 30.0
_CLOSING_PRODUCER_SECONDS: Final = 1.0
_RECONNECT: Final = RetryPolicy(base_seconds=0.2, cap_seconds=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingPace:
    """Times in seconds. `secure`: of a partition without an acknowledgement for this long, batches go to disk as well. `give_up`: when that is so
    of all partitions, for this long, the producer is replaced. `memory_bytes_max`: from half of it on, batches go to disk although Kafka is there."""

    linger: float
    secure: float
    give_up: float
    memory_bytes_max: int


class Sender:
    """All methods run in the emitter's thread, on its loop; the attributes may be read from anywhere. `on_turn` is called each linger."""

    def __init__(
        self,
        pace: SendingPace,
        *,
        buffer: EmitBuffer,
        collector: Collector,
        unsent: Unsent,
        new_producer: ProducerFactory,
        counts: EmitterCounts,
        on_turn: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.connected = False
        self.last_error = ""
        self._pace = pace
        self._buffer = buffer
        self._collector = collector
        self._unsent = unsent
        self._new_producer = new_producer
        self._counts = counts
        self._on_turn = on_turn
        self._clock = clock
        self._warnings = MessageLimiter(clock)
        self._collect_now = asyncio.Event()
        self._send_now = asyncio.Event()
        self._in_flight = InFlight()
        self._failure: BaseException | None = None
        self._away_since = clock.monotonic()
        self._adopt_at = 0.0
        self._producer: BatchProducer | None = None
        self._closing = asyncio.Event()
        self._close_at = 0.0
        self._all_collected = False
        self._looked_at_end = False
        self._put_away = False

    def collect_now(self) -> None:
        """Do not wait for the linger to end."""
        self._collect_now.set()

    def request_close(self, seconds: float) -> None:
        """Send or put away everything within `seconds`. The buffer must be closed before."""
        self._close_at = self._clock.monotonic() + seconds
        self._closing.set()
        self._collect_now.set()
        self._send_now.set()

    async def run(self) -> None:
        """Until closed. Blocks the loop for disk writes only."""
        try:
            await run_together(self._collecting(), self._sending())
            self._collector.collect_rest()
        finally:
            try:
                self._collector.close_batches()
            finally:
                self._unsent.put_away()
                self._on_turn()

    async def _collecting(self) -> None:
        while not self._is_over():
            await wait_for_event(self._collect_now, min(self._pace.linger, self._remaining()))
            self._collect_now.clear()
            closing = self._closing.is_set()
            await self._collector.collect()
            await self._care_for_disk()
            if closing and not self._all_collected and self._collector.is_done:
                self._collector.finish()
                self._all_collected = True
            elif self.connected and self._unsent.is_empty and not closing:
                self._collector.beat()
            self._on_turn()
            self._send_now.set()

    async def _care_for_disk(self) -> None:
        now = self._clock.monotonic()
        away = not self.connected and now - self._away_since > self._pace.secure
        short_of_memory = self._unsent.memory_bytes + self._buffer.bytes_held > self._pace.memory_bytes_max // 2
        if away or short_of_memory:
            self._unsent.secure()
        elif silent := self._in_flight.silent(now, self._pace.secure):
            self._unsent.secure(silent)
        # A process that ends does not wait for a second failure.
        if self._collector.partitions is None and (away or short_of_memory or (self.last_error and self._closing.is_set())):
            await self._collector.keep_unplaced()
        self._unsent.tidy()
        self._buffer.set_behind(self._unsent.memory_bytes)

    async def _sending(self) -> None:
        backoff = Backoff(_RECONNECT, now=self._clock.monotonic(), random=Random())
        while not self._is_over():
            producer = self._producer = self._new_producer()
            wait = 0.0
            try:
                await self._open(producer)
                backoff.reset(self._clock.monotonic())
                await self._send_through(producer)
            except ProducerFailed as failure:
                self.last_error, wait = str(failure), failure.wait_seconds
                self._counts.note_failure(failure.reason)
                self._warn(failure)
                self._give_up_if_all_is_safe()
            finally:
                self._producer = None
                if self.connected:
                    self.connected = False
                    self._away_since = self._clock.monotonic()
                await producer.discard()
                self._unsent.give_back()
                self._in_flight.clear()
            await self._pause(backoff.next_delay(self._clock.monotonic(), at_least=wait) or 0.0)
        self._collect_now.set()

    def _warn(self, failure: ProducerFailed) -> None:
        left_out = self._warnings.admit("producer")
        if left_out is not None:
            _LOG.warning("nothing can be sent, batches wait: %s (%d such messages left out)", failure, left_out)

    def _give_up_if_all_is_safe(self) -> None:
        """A closing emitter does not wait for Kafka when the disk has everything: the next process will send it."""
        if self._all_collected:
            self._unsent.secure()
            self._put_away = not self._unsent.memory_bytes

    async def _pause(self, seconds: float) -> None:
        if self._is_over():
            return
        if self._closing.is_set():
            await self._clock.sleep(min(seconds, self._remaining()))
        else:
            await wait_for_event(self._closing, seconds)

    async def _open(self, producer: BatchProducer) -> None:
        try:
            async with timeout(self._remaining()):
                partitions = await producer.open()
        except TimeoutError:
            raise ProducerFailed("closed before anybody could be reached") from None
        if self._collector.partitions is None:
            self._collector.partitions = partitions
            self._collect_now.set()
        elif partitions != self._collector.partitions:
            raise ProducerFailed(f"the topic has {partitions} partitions; customers were spread over {self._collector.partitions}")
        self.connected = True
        self.last_error = ""
        self._failure = None
        self._in_flight = InFlight(partitions)

    async def _send_through(self, producer: BatchProducer) -> None:
        while not self._is_over():
            if isinstance(self._failure, ProducerFailed):
                raise self._failure
            if self._failure is not None:
                raise ProducerFailed(str(self._failure) or type(self._failure).__name__)
            self._adopt_now_and_then()
            next_up = self._unsent.take(self._in_flight.has_room)
            if next_up is not None:
                await self._append(producer, *next_up)
                continue
            if self._unsent.place(self._collector.partitions or 0):
                await asyncio.sleep(0)
                continue
            if self._in_flight.all_silent(self._clock.monotonic(), self._pace.give_up):
                raise ProducerFailed(f"no acknowledgement for {self._pace.give_up:.0f} s")
            self._send_now.clear()
            await wait_for_event(self._send_now, min(_IDLE_SECONDS, self._remaining()))
        await producer.close(seconds=min(_CLOSING_PRODUCER_SECONDS, self._remaining()))

    async def _append(self, producer: BatchProducer, outbox: Outbox, batch: EncodedBatch) -> None:
        try:
            async with timeout(min(self._pace.give_up, self._remaining())):
                acknowledged = await producer.append(batch.partition, batch.value, secret=outbox.secret)
        except TimeoutError:
            raise ProducerFailed("no more records are taken") from None
        self._in_flight.add(batch.partition, len(batch.value), self._clock.monotonic())
        acknowledged.add_done_callback(partial(self._acknowledged, producer, outbox, batch))

    def _acknowledged(self, producer: BatchProducer, outbox: Outbox, batch: EncodedBatch, future: "asyncio.Future[object]") -> None:
        if producer is not self._producer:
            return
        self._send_now.set()
        failure = None if future.cancelled() else future.exception()
        if isinstance(failure, BatchRefused):
            self._in_flight.settle(batch.partition, len(batch.value), self._clock.monotonic())
            self._unsent.set_aside(outbox, batch, str(failure))
            return
        if future.cancelled() or failure is not None:
            self._failure = failure or ProducerFailed("the producer was closed")
            return
        self._in_flight.settle(batch.partition, len(batch.value), self._clock.monotonic())
        self._unsent.settle(outbox, batch)

    def _adopt_now_and_then(self) -> None:
        """At the first opportunity, because a process may live for a second; at the end once more, when all of its own is sent."""
        now, closing = self._clock.monotonic(), self._closing.is_set()
        last_look = closing and not self._looked_at_end and self._all_collected and self._unsent.is_empty
        if now >= self._adopt_at or last_look or self._unsent.wants_to_adopt:
            self._adopt_at = now + _ADOPT_SECONDS
            self._looked_at_end |= closing
            self._unsent.adopt(self._collector.partitions or 0)

    def _remaining(self) -> float:
        """Seconds until the closing deadline; a day when nobody closes."""
        return max(0.0, self._close_at - self._clock.monotonic()) if self._closing.is_set() else 86_400.0

    def _is_over(self) -> bool:
        if not self._closing.is_set():
            return False
        if self._put_away or self._remaining() <= 0:
            return True
        return self._all_collected and self._unsent.is_empty and self._has_helped()

    def _has_helped(self) -> bool:
        """Whether nothing that dead processes left is still to be sent, as far as anybody knows."""
        return not self._unsent.spools_left and (self._looked_at_end or not self._unsent.has_others())
