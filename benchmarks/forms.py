"""The aggregator on the same usage in every form in which other producers write it, each beside plain single events in the same run.

None of these may be a cliff: a form that costs much more than another is one that nobody expects when the first such producer comes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias
from zlib import crc32

import orjson
from confluent_kafka import KafkaException
from taximeter_emitter.wire.partitioner import partition_of

from benchmarks.aggregator import PARTITIONS, Load, measure_aggregator
from benchmarks.measurement import Measurement, Unavailable
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import LoadEvent, LoadRecord, Shape, document_of, events_of, make_topics, produce, produce_in_transactions

EVENTS: Final = 200_000
REPEATED: Final = 0.01
PLAIN: Final = "single"
RATIO_MAX: Final = 1.5
SMALL_SET: Final = 5
# To inflate a set has a cost of its own: 20 to 40 microseconds, so that it matters how large they are.
_COMPRESSED: Final = {"linger.ms": 1_000, "batch.num.messages": 100}
TRANSACTION: Final = 240
TRACE: Final = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

Made: TypeAlias = tuple[dict[str, Any], Sequence[tuple[str, bytes]]]
"""The JSON of an event, and the headers of its record."""


@dataclass(frozen=True, slots=True)
class Form:
    """How producers write an event: by one of `make` each. `producer` are options of librdkafka."""

    make: Sequence[Callable[[LoadEvent], Made]]
    producer: Mapping[str, str | int] = field(default_factory=dict)
    transaction: int = 0  # records of one


def plain(event: LoadEvent) -> Made:
    """The product's own form."""
    return document_of(event), ()


def without(name: str, event: LoadEvent) -> Made:
    """The same without one of its fields."""
    return {key: value for key, value in document_of(event).items() if key != name}, ()


def traced(event: LoadEvent) -> Made:
    """With the header of a tracing library."""
    return document_of(event), (TRACE,)


def structured(event: LoadEvent) -> Made:
    """A CloudEvent in one JSON value."""
    attributes, data = _cloud_event(event)
    return {**attributes, "datacontenttype": "application/json", "data": data}, ()


def binary(event: LoadEvent) -> Made:
    """A CloudEvent whose attributes are headers."""
    attributes, data = _cloud_event(event)
    return data, (*((f"ce_{name}", value.encode()) for name, value in attributes.items()), ("content-type", b"application/json"))


def _cloud_event(event: LoadEvent) -> tuple[dict[str, str], dict[str, Any]]:
    whole = document_of(event)
    attributes = {"specversion": "1.0", "type": "usage", "subject": event.customer, **{name: whole[name] for name in ("id", "source", "time")}}
    return attributes, {"usage": whole["usage"], "dimensions": whole["dimensions"]}


FORMS: Final[Mapping[str, Form]] = {
    PLAIN: Form([plain]),
    "CloudEvents, structured": Form([structured]),
    "CloudEvents, binary": Form([binary]),
    "no source": Form([partial(without, "source")]),
    "no dimensions": Form([partial(without, "dimensions")]),
    "foreign header": Form([traced]),
    "all these, mixed": Form([plain, structured, binary, partial(without, "source"), partial(without, "dimensions"), traced]),
    **{f"compressed, {name}": Form([plain], {**_COMPRESSED, "compression.type": name}) for name in ("zstd", "gzip", "snappy", "lz4")},
    f"sets of {SMALL_SET}": Form([plain], {"batch.num.messages": SMALL_SET}),
    "small transactions": Form([plain], transaction=TRANSACTION),
}


def records_of(form: Form, shape: Shape, partitions: int) -> Iterator[LoadRecord]:
    """The usage of the shape in this form, keyed by customer. What is repeated has the form that it had."""
    for event in events_of(shape):
        make = form.make[crc32(event.event_id.encode()) % len(form.make)]
        document, headers = make(event)
        yield LoadRecord(partition_of(event.customer, partitions), event.customer.encode(), orjson.dumps(document), headers)


@asynccontextmanager
async def begin(arena: Arena) -> AsyncIterator[Measures]:
    """Each variant fills topics of its own when its turn comes."""
    yield {name: partial(measure, arena, form) for name, form in FORMS.items()}


async def measure(arena: Arena, form: Form) -> Measurement | Unavailable:
    """The aggregator process on one form; what it counted is checked."""
    shape = Shape(events=arena.events(EVENTS), repeated=REPEATED)
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    records = records_of(form, shape, PARTITIONS)
    if form.transaction:
        try:
            await asyncio.to_thread(produce_in_transactions, kafka, records, form.transaction)
        except KafkaException as error:
            return Unavailable(error.args[0].str())  # the embedded broker has no transactions
    else:
        await asyncio.to_thread(partial(produce, kafka, records, options=form.producer))
    return replace(await measure_aggregator(arena, Load(kafka, shape.events)), more={})


PATHS: Final[Sequence[Path]] = (Path("aggregator-forms", begin, [Target(name, "ratio", RATIO_MAX) for name in FORMS if name != PLAIN]),)
