"""The load: seeded usage of a few thousand customers, as the records that an emitter, a gateway or a foreign producer would write.

2,000 customers, some of whom use much more than others; three models; two quantities an event; times spread over the last two minutes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from random import Random
from secrets import token_hex
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson
from confluent_kafka import Producer
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import ensure_topics

CUSTOMERS: Final = 2_000
MODELS: Final = ("alpaca-7b", "alpaca-13b", "alpaca-70b")
METERS_FILE: Final = '[[meters]]\nevent_name = "tokens"\nsum = ["input_tokens", "output_tokens"]\ndimensions = ["model"]\n'
SOURCE: Final = "inference/eu-1"
SPREAD_MS: Final = 120_000
FLUSH_SECONDS: Final = 120.0
_REPEATED_FROM_LAST: Final = 5_000


class LoadRecord(NamedTuple):
    """One record of usage.events to be."""

    partition: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class LoadEvent(NamedTuple):
    """One event, before it has a form."""

    event_id: str
    customer: str
    model: str
    time_ms: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What kind of usage. `repeated`: the share of events that come a second time, with the same id and content. `spread_ms`: how long before
    this moment the first event happened.
    """

    events: int
    repeated: float = 0.0
    seed: int = 1
    customers: int = CUSTOMERS
    spread_ms: int = SPREAD_MS


def events_of(shape: Shape) -> Iterator[LoadEvent]:
    """The events, repeated ones included; their times end at this moment."""
    random = Random(shape.seed)
    draw = random.random
    now_ms = time.time_ns() // 1_000_000
    last: list[LoadEvent] = []
    for number in range(shape.events):
        if last and draw() < shape.repeated:
            yield last[int(draw() * len(last))]
            continue
        tokens = 1 + int(draw() * 4_000)
        customer = f"cus_{int(draw() ** 1.5 * shape.customers):014d}"
        # In order of time, as events are emitted; a little of it is jitter.
        moment = now_ms - shape.spread_ms + shape.spread_ms * number // shape.events - int(draw() * 200)
        event = LoadEvent(f"q-{shape.seed}-{number:09d}", customer, MODELS[tokens % 5 // 2], moment, tokens, tokens >> 2)
        if shape.repeated:
            last.append(event)
            if len(last) >= 2 * _REPEATED_FROM_LAST:
                del last[:_REPEATED_FROM_LAST]
        yield event


def batch_records(shape: Shape, *, partitions: int, size: int, with_ids: bool, emitters: int = 4, first_emitter: int = 0) -> Iterator[LoadRecord]:
    """Batches of `size` events, written by this many emitters in turn, as the SDK and the gateway write them. `first_emitter` is the number of the
    first of them: loads in the same topic have other emitters.
    """
    batchers = [Batcher(f"{first_emitter + number:032x}", events_max=size) for number in range(emitters)]
    for number, event in enumerate(events_of(shape)):
        batcher = batchers[number * emitters // shape.events]
        batcher.add(
            partition_of(event.customer, partitions),
            customer=event.customer,
            dimensions=(("model", event.model),),
            time_ms=event.time_ms,
            usage=(("input_tokens", event.input_tokens), ("output_tokens", event.output_tokens)),
            fingerprint=fingerprint(SOURCE, event.event_id) if with_ids else NO_ID,
        )
        for batch in batcher.take_full():
            yield LoadRecord(batch.partition, None, batch.value)
    for batcher in batchers:
        for batch in batcher.take_all():
            yield LoadRecord(batch.partition, None, batch.value)


def single_records(shape: Shape, *, partitions: int) -> Iterator[LoadRecord]:
    """One JSON event a record, keyed by customer, as any other producer writes them."""
    return map(partial(single_record, partitions), events_of(shape))


def single_record(partitions: int, event: LoadEvent) -> LoadRecord:
    """An event as any other producer writes it."""
    return LoadRecord(partition_of(event.customer, partitions), event.customer.encode(), orjson.dumps(document_of(event)))


def known_series(customers: int = CUSTOMERS) -> Iterator[LoadEvent]:
    """An event of each customer and model that there may be, at this moment: an aggregator that counted them knows all series of a load."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(customers):
        for model in MODELS:
            yield LoadEvent(f"k-{number}-{model}", f"cus_{number:014d}", model, now_ms, 4, 1)


def document_of(event: LoadEvent) -> dict[str, Any]:
    """The event in the product's own JSON form."""
    moment = datetime.fromtimestamp(event.time_ms // 1000, UTC).replace(microsecond=event.time_ms % 1000 * 1000)
    return {
        "id": event.event_id,
        "source": SOURCE,
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "customer": event.customer,
        "usage": {"input_tokens": event.input_tokens, "output_tokens": event.output_tokens},
        "dimensions": {"model": event.model},
    }


async def make_topics(kafka: KafkaSettings) -> None:
    """Create the topics."""
    problems = await ensure_topics(kafka, kafka.topics, clock=SystemClock())
    assert not problems, problems


def produce(
    kafka: KafkaSettings,
    records: Sequence[LoadRecord] | Iterator[LoadRecord],
    topic: str = "",
    *,
    options: Mapping[str, str | int] = MappingProxyType({}),
) -> int:
    """Write records to usage.events, or to the topic named; returns how many there are when all are acknowledged. Blocks.

    `options`: of librdkafka, in place of the usual ones or beside them.
    """
    producer, topic, count = _producer(kafka, options), topic or kafka.topics.events.name, 0
    for count, record in enumerate(records, start=1):
        _write(producer, topic, record)
        if count % 1_000 == 0:
            producer.poll(0)
    left = producer.flush(FLUSH_SECONDS)
    assert not left, f"{left} records were not acknowledged"
    return count


def produce_in_transactions(kafka: KafkaSettings, records: Iterator[LoadRecord], size: int) -> None:
    """Write records to usage.events, so many in each transaction. Blocks."""
    producer = _producer(kafka, {"transactional.id": f"benchmarks-{token_hex(4)}"})
    producer.init_transactions()
    while some := list(islice(records, size)):
        producer.begin_transaction()
        for record in some:
            _write(producer, kafka.topics.events.name, record)
        producer.commit_transaction()


def _producer(kafka: KafkaSettings, options: Mapping[str, str | int]) -> Producer:
    return Producer(
        {
            "bootstrap.servers": ",".join(kafka.bootstrap_servers),
            "enable.idempotence": True,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 256 * 1024,
            "compression.type": kafka.compression,
            **options,
        }
    )


def _write(producer: Producer, topic: str, record: LoadRecord) -> None:
    while True:
        try:
            producer.produce(topic, record.value, record.key, record.partition, headers=list(record.headers))
            return
        except BufferError:
            producer.poll(0.1)
