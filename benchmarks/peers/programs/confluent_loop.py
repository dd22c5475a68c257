"""A confluent-kafka consumer with sums in a dict and ids in a set: what the simplest program costs that gives the same sums.

Both go with the process. What was added since the last time is written and flushed, then the offsets are committed: a crash in between counts
that part twice, and the ids of before the crash are forgotten.

Arguments: bootstrap servers, input topic, output topic, group id, state folder (not used), commit interval in ms.
Output: key customer, value {"window": start in ms, "tokens": what is added}; all of a window are to be summed.
"""

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

WINDOW_MS = 60_000
RECORDS_MAX = 500
POLL_SECONDS = 0.1
FLUSH_SECONDS = 60.0


class Usage(msgspec.Struct, gc=False):
    """The fields that are summed."""

    input_tokens: int
    output_tokens: int


class Event(msgspec.Struct, gc=False):
    """What is read of an event."""

    id: str
    source: str
    customer: str
    time: datetime
    usage: Usage


DECODER = msgspec.json.Decoder(Event)


class Sums:
    """What is to be written, and every id that was seen."""

    def __init__(self) -> None:
        self.added: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._ids: set[tuple[str, str]] = set()

    def add(self, records: Sequence[Message]) -> None:
        """Count the events of these records."""
        added, ids = self.added, self._ids
        for record in records:
            error = record.error()
            if error is not None:
                raise KafkaException(error)
            event = DECODER.decode(record.value() or b"")
            identity = (event.source, event.id)
            if identity in ids:
                continue
            ids.add(identity)
            time_ms = int(event.time.timestamp() * 1000)
            added[event.customer, time_ms - time_ms % WINDOW_MS] += event.usage.input_tokens + event.usage.output_tokens


def write(producer: Producer, topic: str, added: dict[tuple[str, int], int]) -> None:
    """Write what was added and wait until Kafka has it."""
    for (customer, window), tokens in added.items():
        producer.produce(topic, msgspec.json.encode({"window": window, "tokens": tokens}), customer, on_delivery=_delivered)
    if producer.flush(FLUSH_SECONDS):
        raise SystemExit("Kafka did not acknowledge in time")
    added.clear()


def main(servers: str, source: str, target: str, group: str, *, commit_ms: int) -> None:
    """Count until the process is ended."""
    # Generation-2 collections over millions of ids cost more than they free.
    gc.set_threshold(50_000, 50, 1_000)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "group.instance.id": "one",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5, "partitioner": "murmur2_random"})
    consumer.subscribe([source])
    sums, due = Sums(), time.monotonic() + commit_ms / 1000
    last: dict[int | None, Message] = {}
    while True:
        records = consumer.consume(RECORDS_MAX, POLL_SECONDS)
        sums.add(records)
        for record in records:
            last[record.partition()] = record
        if time.monotonic() >= due:
            write(producer, target, sums.added)
            for record in last.values():
                consumer.store_offsets(message=record)
            if last:
                consumer.commit(asynchronous=False)
                last.clear()
            due = time.monotonic() + commit_ms / 1000


def _delivered(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise KafkaException(error)


if __name__ == "__main__":
    main(*sys.argv[1:5], commit_ms=int(sys.argv[6]))
