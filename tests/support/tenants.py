"""A tenant and others that share a gateway, an aggregator and a partition: what they send in turn, and what comes of it for the others."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import Mock

from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry
from taximeter_emitter.buffer.batching import Batcher

from aggregator.core.counting import PartitionCounter
from aggregator.takeover import CountingTakeover
from ingest.admission.api_keys import ApiKeys
from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.refusals import RequestRefused
from ingest.requests.bodies import BodyReader
from ingest.requests.gate import RequestGate
from ingest.requests.handler import EventsHandler
from ingest.requests.intake import EventIntake
from ingest.requests.request_ids import RequestId
from metering.configuration.key_file import CreatedKey, create_key, parse_keys
from metering.folds.catalogue_timeline import always
from metering.records.meters import Catalogue
from tests.support.aggregator_records import EVENTS, METERS, START_MS, TALLIES, rules
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.ids_in_memory import in_memory
from tests.support.metering_memory_log import MemoryLog, finished
from tests.support.waiting import until_async

TENANT: Final = ("cus_a", "cus_a2")
OTHERS: Final = ("cus_b", "cus_c")
STEP_MS: Final = 7_000
CATALOGUE: Final = Catalogue(METERS, ["free"])
KEYS: Final[Mapping[tuple[str, ...], CreatedKey]] = {customers: create_key(tenant="t", customers=customers) for customers in (TENANT, OTHERS)}
_EVENTS_MAX: Final = 700


@dataclass(frozen=True)
class Posted:
    """A request to the gateway, with the key of those who send it: it is bound to these customers. With `copies`, an array of that many bodies."""

    customers: tuple[str, ...]
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    copies: int = 0


@dataclass(frozen=True)
class Written:
    """A record that a Kafka producer writes; whatever is in it, it names only these customers."""

    customers: tuple[str, ...]
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Step:
    """What happens at one moment: requests come in together, records are written, the aggregator counts, writes a tally, or is another one."""

    sent: tuple[Posted | Written, ...] = ()
    counts: bool = False
    flushes: bool = False
    is_replaced: bool = False


class _StepClock:
    """The time of day is that of the step; waiting is real."""

    def __init__(self) -> None:
        self.wall_ms = START_MS

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


Sums = Counter[tuple[str, str, Any, int]]


@dataclass(frozen=True)
class Bills:
    """The rows of the others' customers over all tallies, by what is in a row beside its sums; and the statuses of their requests."""

    units: Sums
    events: Sums
    statuses: list[int]


def bills(script: Sequence[Step], *, without_tenant: bool) -> Bills:
    """Play the script through the gateway and the aggregator. Without the tenant, what it sends is left out; the rest happens at the same times."""
    return asyncio.run(_Play(without_tenant=without_tenant).run(script))


class _Play:
    def __init__(self, *, without_tenant: bool) -> None:
        self._left_out = frozenset(TENANT) if without_tenant else frozenset()
        self._clock = _StepClock()
        self._kafka = FakeKafka(partitions=1)
        metrics, budget = GatewayMetrics.create(CollectorRegistry()), ByteBudget(10**9)
        self._publisher = Publisher(
            Batcher("a gateway whose name nobody knows", events_max=50),
            new_producer=self._kafka.new_producer,
            budget=budget,
            metrics=metrics,
            linger_seconds=0.001,
            acknowledge_seconds=20.0,
            heartbeat_seconds=1e6,
            clock=self._clock,
        )
        gate = RequestGate(
            keys=ApiKeys(parse_keys("".join(key.entry for key in KEYS.values()))),
            budget=budget,
            publisher=self._publisher,
            metrics=metrics,
            body_bytes_max=10**6,
            read_seconds=5.0,
            clock=self._clock,
        )
        reader = BodyReader(CATALOGUE, events_max=_EVENTS_MAX)
        self._handler = EventsHandler(gate, reader=reader, intake=EventIntake(gate, self._publisher, metrics), clock=self._clock)
        self._log = MemoryLog()
        self._log.topics = {EVENTS: [], TALLIES: []}
        about = rules(timeline=always(CATALOGUE), partition_of=lambda _: 0)
        self._takeover = CountingTakeover(self._log, about, tallies_topic=TALLIES, found_at_log_start=False, snapshots=in_memory())
        self._counter: PartitionCounter = finished(self._takeover.take_over(0))
        self._found = Bills(Counter(), Counter(), [])

    async def run(self, script: Sequence[Step]) -> Bills:
        publishing = asyncio.create_task(self._publisher.run())
        await until_async(lambda: self._publisher.problem() is None)
        for number, step in enumerate(script):
            self._clock.wall_ms = START_MS + number * STEP_MS
            await self._send([one for one in step.sent if one.customers[0] not in self._left_out])
            if step.counts:
                self._count()
            if step.flushes:
                self._flush()
            if step.is_replaced:
                self._counter = finished(self._takeover.take_over(0))
        await self._publisher.close(5.0)
        publishing.cancel()  # it looks around twice a second whether it is to end
        self._count()
        self._flush()
        return self._found

    async def _send(self, sent: Sequence[Posted | Written]) -> None:
        posts = [one for one in sent if isinstance(one, Posted)]
        for post, status in zip(posts, await asyncio.gather(*map(self._post, posts)), strict=True):
            if post.customers == OTHERS:
                self._found.statuses.append(status)
        for _, value in self._kafka.log:
            self._log.append(EVENTS, value, at_ms=self._clock.wall_ms)
        self._kafka.log.clear()
        for one in sent:
            if isinstance(one, Written):
                for _ in range(one.times):
                    self._log.append(EVENTS, one.value, at_ms=self._clock.wall_ms, headers=one.headers)

    async def _post(self, post: Posted) -> int:
        payload = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
        payload.feed_data(b"[" + b",".join([post.body] * post.copies) + b"]" if post.copies else post.body)
        payload.feed_eof()
        headers = {**dict(post.headers), "Authorization": f"Bearer {KEYS[post.customers].token}"}
        request = make_mocked_request("POST", "/v1/events", headers=headers, payload=payload)
        with suppress(RequestRefused):
            return (await self._handler.post(request, RequestId("r"))).status
        return 400

    def _count(self) -> None:
        records = [record for record in self._log.topics[EVENTS][self._counter.position :] if record is not None]
        while records:
            records = records[self._counter.count_many(records, 10**9) :]

    def _flush(self) -> None:
        """Write a tally of what was counted. Nobody else writes here, so it is accepted."""
        cut = self._counter.cut()
        offset = self._log.append(TALLIES, cut.value, at_ms=self._clock.wall_ms).offset
        assert self._counter.observe(offset, cut.tally)
        for row in cut.tally.rows:
            if row.customer not in TENANT:
                key = (row.customer, row.meter, row.dimensions, row.window_start_ms)
                self._found.units[key] += row.quantity
                self._found.events[key] += row.events
