"""The aggregator process against a bare consumer of the same topic: numbered batches, batches with ids, small batches, single events."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path as Folder
from secrets import token_hex
from types import MappingProxyType
from typing import Final

from aiokafka import TopicPartition

from benchmarks.bare_reader import ASSIGNED, FINISHED
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import METERS_FILE, LoadRecord, Shape, batch_records, make_topics, produce, single_records
from benchmarks.watched import WatchedProcess
from metering.kafka.clients import KafkaSettings, make_log_reader, started
from metering.records.tally import EventCounts, decode_tally

BARE: Final = "bare aiokafka"
AGGREGATOR: Final = "aggregator"
PARTITIONS: Final = 12
FLUSH_SECONDS: Final = 1.0
FINISH_SECONDS: Final = 120.0
FOREIGN: Final = ("TAXIMETER_", "KAFKA_")


@dataclass(frozen=True, slots=True)
class Load:
    """A filled usage.events, the number of events in it, and how many bytes the values of its records have (0: nobody looked)."""

    kafka: KafkaSettings
    events: int
    value_bytes: int = 0

    @property
    def more(self) -> Mapping[str, float]:
        """What is said of the load beside the cost."""
        return {"bytes_per_event": round(self.value_bytes / self.events, 1)} if self.value_bytes else {}


@lru_cache(maxsize=1)
def made(make: Callable[[Shape], Iterator[LoadRecord]], shape: Shape) -> Sequence[LoadRecord]:
    """The records of a load, kept for the next round of the path: to make them takes longer than to count them."""
    return list(make(shape))


@asynccontextmanager
async def begin(make: Callable[[Shape], Iterator[LoadRecord]], shape: Shape, arena: Arena) -> AsyncIterator[Measures]:
    """Fill a topic of its own and measure both readers on it."""
    shape = replace(shape, events=arena.events(shape.events))
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    records = await asyncio.to_thread(made, make, shape)
    await asyncio.to_thread(produce, kafka, records)
    load = Load(kafka, shape.events, sum(len(record.value) for record in records))
    yield {BARE: partial(measure_bare, arena, load), AGGREGATOR: partial(measure_aggregator, arena, load)}


@asynccontextmanager
async def begin_plain(shape: Shape, arena: Arena) -> AsyncIterator[Measures]:
    """Single events, read by the aggregator as it is without the native distribution."""
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    shape = replace(shape, events=arena.events(shape.events))
    await asyncio.to_thread(produce, kafka, single_records(shape, partitions=PARTITIONS))
    yield {AGGREGATOR: partial(measure_aggregator, arena, Load(kafka, shape.events), without_native(arena.folder / "without-native"))}


def without_native(folder: Folder) -> Mapping[str, str]:
    """An environment in which the native distribution cannot be imported, wherever it is installed."""
    folder.mkdir(exist_ok=True)
    (folder / "taximeter_native.py").write_text('raise ImportError("left out")\n')
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


async def measure_bare(arena: Arena, load: Load) -> Measurement:
    """Read every record of the topic once, with the settings of the services, and do nothing with it."""
    log = arena.folder / f"bare-{token_hex(4)}.log"
    servers = ",".join(load.kafka.bootstrap_servers)
    arguments = ["benchmarks.bare_reader", servers, load.kafka.topics.events.name, str(load.kafka.partitions)]
    with WatchedProcess([sys.executable, "-m", *arguments], log, service_environment(load.kafka, {})) as process:
        start = await process.until_said(ASSIGNED)
        await process.until_said(FINISHED, FINISH_SECONDS)
        return process.used_since(start, load.events)


async def measure_aggregator(
    arena: Arena, load: Load, environment: Mapping[str, str] = MappingProxyType({}), *, meters: str = METERS_FILE
) -> Measurement:
    """From the assignment of the partitions to the last tally; what it counted is checked. `environment`: beside the usual one.

    `meters`: those of its settings file.
    """
    folder = arena.folder / f"aggregator-{token_hex(4)}"
    folder.mkdir()
    command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder, meters))]
    options = {"TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(FLUSH_SECONDS), "TAXIMETER_AGGREGATOR_GROUP_ID": load.kafka.topic_prefix, **environment}
    with WatchedProcess(command, folder / "log", service_environment(load.kafka, options)) as process:
        # The first of its log lines about partitions; taking them over is measured as part of the work.
        start = await process.until_said('"message":"assigned"')
        await until_tallied(load, process)
        measured = process.used_since(start, load.events, load.more)
        await process.stop()
    return measured


async def until_tallied(
    load: Load, process: WatchedProcess, *, seconds: float = FINISH_SECONDS, on_poll: Callable[[Sequence[EventCounts]], None] = lambda _: None
) -> None:
    """Returns when the tallies account for every event; `on_poll` gets what those of each poll count. Raises ProcessFailed, or TimeoutError."""
    topic = load.kafka.topics.tallies.name
    places = [TopicPartition(topic, number) for number in range(load.kafka.partitions)]
    accounted = 0
    async with started(make_log_reader(load.kafka, client_id="benchmarks")) as consumer, asyncio.timeout(seconds):
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        while accounted < load.events:
            process.check()
            batches = (await consumer.getmany(timeout_ms=250)).values()
            counts = [decode_tally(record.value).events for records in batches for record in records]
            accounted += sum(events.total for events in counts)
            on_poll(counts)
    assert accounted == load.events, f"the tallies account for {accounted} events, and there are {load.events}"


def settings_file(folder: Folder, meters: str = METERS_FILE) -> Folder:
    """A settings file with these meters."""
    path = folder / "taximeter.toml"
    path.write_text(meters)
    return path


def service_environment(kafka: KafkaSettings, options: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service on these topics that is given nothing else."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **own,
        "TAXIMETER_SERVICE_LOG_STYLE": "json",
        "TAXIMETER_SERVICE_ADMIN_PORT": "0",
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(kafka.bootstrap_servers),
        "TAXIMETER_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "TAXIMETER_KAFKA_PARTITIONS": str(kafka.partitions),
        "TAXIMETER_KAFKA_REPLICATION_FACTOR": "1",
        **options,
    }


def _batches(size: int, *, with_ids: bool, emitters: int = 4) -> Callable[[Shape], Iterator[LoadRecord]]:
    return partial(batch_records, partitions=PARTITIONS, size=size, with_ids=with_ids, emitters=emitters)


def _at_most(cpu_s_per_million: float) -> Target:
    return Target(AGGREGATOR, "cpu_s_per_million", cpu_s_per_million)


# Long enough that what a process does once (it learns each series, its tables grow) is a small part.
_BATCHES: Final = Shape(events=2_000_000)
_SINGLE: Final = Shape(events=1_000_000, repeated=0.01)
_SINGLE_PLAIN: Final = replace(_SINGLE, events=300_000)

PATHS: Final[Sequence[Path]] = (
    Path("aggregator-numbered-500", partial(begin, _batches(500, with_ids=False), _BATCHES), [_at_most(0.25)]),
    Path("aggregator-ids-500", partial(begin, _batches(500, with_ids=True), _BATCHES), [_at_most(0.6)]),
    Path("aggregator-ids-500-repeats", partial(begin, _batches(500, with_ids=True), replace(_BATCHES, repeated=0.01))),
    Path("aggregator-batches-20", partial(begin, _batches(20, with_ids=False, emitters=40), _BATCHES), [_at_most(0.45)]),
    Path(
        "aggregator-single",
        partial(begin, partial(single_records, partitions=PARTITIONS), _SINGLE),
        [_at_most(1.8), Target(AGGREGATOR, "ratio", 1.6)],
    ),
    Path("aggregator-single-plain", partial(begin_plain, _SINGLE_PLAIN), [_at_most(4.5)]),
)
