"""The reporter process against the Stripe simulator: real HTTP, a real broker, and a usage.tallies that was written before.

An event of these tables is a meter event. `events_per_s` counts from the assignment of the partitions to the last receipt: with taking over, and
reading and planning all that waits, which fills a core before the first call. `sustained_per_s` counts from the first outcome to the last.

`bare aiohttp` sends the same meter events at the same pace through the reporter's connections and does nothing else; `official library` has the
library above them. Calls take 50 ms in the middle, 200 ms at most times; TLS is not part of it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as Folder
from secrets import token_hex
from typing import Any, Final

import orjson
from aiokafka import TopicPartition
from taximeter_emitter.wire.limits import MINUTE_MS

from benchmarks.aggregator import service_environment, settings_file
from benchmarks.bare_stripe import EVENTS_PER_CALL, FINISHED, STARTED
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.simulated_stripe import KEY, SimulatedStripe
from benchmarks.tally_load import METER, MODEL, TallyShape, by_partition, shape_until_now, tally_records
from benchmarks.targets import Target
from benchmarks.usage_load import make_topics, produce
from benchmarks.watched import Reading, WatchedProcess
from metering.folds.ledger import Ledger
from metering.kafka.clients import KafkaSettings, make_log_reader, started
from metering.records.ledger_records import Receipt, decode_entry
from reporter.stripe.stream_requests import rfc3339

REPORTER: Final = "reporter"
BARE: Final = "bare aiohttp"
LIBRARY: Final = "official library"
PARTITIONS: Final = 12
FINISH_SECONDS: Final = 600.0
REPORT_SECONDS: Final = 0.5
PACE: Final = 1.25  # of the target, so that what is sustained can be above it
CEILING: Final = 0.8  # of the account's limit is what a reporter uses


@dataclass(frozen=True, slots=True)
class Route:
    """One way of sending: how many meter events a second are asked for, and by whom beside the reporter."""

    meter_events: str
    per_second: int
    customers: int
    minutes: int
    bare: Mapping[str, str]

    @property
    def limit_per_s(self) -> int:
        """The calls a second that the reporter is told that the account has."""
        return round(self.per_second * PACE / CEILING)


V1: Final = Route("v1", 1_000, customers=2_000, minutes=8, bare={BARE: "aiohttp", LIBRARY: "library"})
REFUSED: Final[Mapping[str, float]] = {"none refused": 0.0, "0.01 %": 0.0001, "0.1 %": 0.001, "1 %": 0.01, "3 %": 0.03}
REFUSED_MINUTES: Final = 4
SHARE_MIN: Final = 0.7
V2: Final = Route("v2_stream", 10_000, customers=10_000, minutes=16, bare={BARE: "stream"})


@asynccontextmanager
async def begin(route: Route, arena: Arena) -> AsyncIterator[Measures]:
    """Fill usage.tallies, and measure everybody on a simulator of their own."""
    shape = shape_until_now(customers=route.customers, minutes=max(1, round(route.minutes * arena.scale)), partitions=PARTITIONS)
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    await asyncio.to_thread(produce, kafka, tally_records(shape), kafka.topics.tallies.name)
    bare = {name: partial(measure_bare, arena, route, shape, mode) for name, mode in route.bare.items()}
    yield {**bare, REPORTER: partial(measure_reporter, arena, route, shape, kafka)}


async def measure_bare(arena: Arena, route: Route, shape: TallyShape, mode: str) -> Measurement:
    """The same meter events, without anything that makes them right."""
    folder = _new_folder(arena)
    calls = folder / "calls"
    per_call = await asyncio.to_thread(write_calls, calls, shape, mode)
    with SimulatedStripe(folder, shape.names()) as stripe:
        command = [sys.executable, "-m", "benchmarks.bare_stripe", stripe.url, str(calls), mode, str(route.per_second * PACE / per_call)]
        with WatchedProcess(command, folder / "log", service_environment(arena.kafka(), {})) as process:
            start = await process.until_said(STARTED)
            await process.until_said(FINISHED, FINISH_SECONDS)
            return _measured(process, start, shape.rows)


def write_calls(file: Folder, shape: TallyShape, mode: str) -> int:
    """The parameters of every call; returns how many meter events a call has. One customer's minutes are as far apart as they can be."""
    events = [_parameters(shape, number, name, minute) for minute in range(shape.minutes) for number, name in enumerate(shape.names())]
    if mode != "stream":
        file.write_bytes(b"\n".join(map(orjson.dumps, events)))
        return 1
    streamed = [{**event, "timestamp": rfc3339(event["timestamp"])} for event in events]
    bodies = [{"events": streamed[start : start + EVENTS_PER_CALL]} for start in range(0, len(streamed), EVENTS_PER_CALL)]
    file.write_bytes(b"\n".join(map(orjson.dumps, bodies)))
    return EVENTS_PER_CALL


async def measure_reporter(arena: Arena, route: Route, shape: TallyShape, kafka: KafkaSettings, *, refused_share: float = 0.0) -> Measurement:
    """From the assignment of the partitions to the last receipt; Stripe's books are compared with the tallies."""
    folder = _new_folder(arena)
    with SimulatedStripe(folder, shape.names(), refused_share=refused_share) as stripe:
        options = {
            "STRIPE_API_KEY": KEY,
            "TAXIMETER_STRIPE_API_BASE": stripe.url,
            "TAXIMETER_STRIPE_METER_EVENTS": route.meter_events,
            "TAXIMETER_STRIPE_CALLS_PER_SECOND": str(route.limit_per_s),
            "TAXIMETER_REPORTER_REPORT_SECONDS": str(REPORT_SECONDS),
            "TAXIMETER_REPORTER_GROUP_ID": kafka.topic_prefix,
        }
        command = [sys.executable, "-m", "reporter", "--config", str(settings_file(folder))]
        with WatchedProcess(command, folder / "log", service_environment(kafka, options)) as process:
            start = await process.until_said('"message":"assigned"')
            outcomes = await until_settled(kafka, shape, process)
            measured = _measured(process, start, len(outcomes), {"sustained_per_s": round(sustained_per_s(outcomes))})
            await process.stop()
        await asyncio.to_thread(stripe.check, shape.units())
    return measured


@asynccontextmanager
async def begin_refused(arena: Arena) -> AsyncIterator[Measures]:
    """The reporter alone; Stripe refuses some of the calls at random with 429, and none for the first variant."""
    yield {name: partial(measure_refused, arena, share) for name, share in REFUSED.items()}


async def measure_refused(arena: Arena, refused_share: float) -> Measurement:
    """`share_of_limit`: what is sustained, of the limit that the reporter was told. It uses 0.8 of that."""
    shape = shape_until_now(customers=V1.customers, minutes=max(1, round(REFUSED_MINUTES * arena.scale)), partitions=PARTITIONS)
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    await asyncio.to_thread(produce, kafka, tally_records(shape), kafka.topics.tallies.name)
    measured = await measure_reporter(arena, V1, shape, kafka, refused_share=refused_share)
    share = measured.more["sustained_per_s"] / V1.limit_per_s
    return replace(measured, more={**measured.more, "share_of_limit": round(share, 3)})


async def until_settled(kafka: KafkaSettings, shape: TallyShape, process: WatchedProcess) -> list[int]:
    """Returns when (Unix ms) each meter event was settled, once the ledger says that every tally is covered and nothing is open.

    Raises ProcessFailed, or TimeoutError.
    """
    topic = kafka.topics.ledger.name
    places = [TopicPartition(topic, number) for number in range(kafka.partitions)]
    ledgers = {place: Ledger() for place in places}
    outcomes: list[int] = []
    tallies = {place: shape.minutes if ours else 0 for place, ours in zip(places, by_partition(shape), strict=True)}
    async with started(make_log_reader(kafka, client_id="benchmarks")) as consumer, asyncio.timeout(FINISH_SECONDS):
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        while any(ledger.open or ledger.chain.end < tallies[place] for place, ledger in ledgers.items()):
            process.check()
            for place, records in (await consumer.getmany(timeout_ms=250)).items():
                for record in records:
                    entry = decode_entry(record.value)
                    if isinstance(entry, Receipt):
                        outcomes += [settlement.at_ms for settlement in ledgers[place].news(entry)]
                    ledgers[place].fold(record.offset, record.timestamp, entry)
    return outcomes


def sustained_per_s(outcomes: Sequence[int]) -> float:
    """How many outcomes a second there were between the first and the last (Unix ms)."""
    return (len(outcomes) - 1) * 1000 / max(1, max(outcomes) - min(outcomes))


def _measured(process: WatchedProcess, start: Reading, events: int, more: Mapping[str, float] | None = None) -> Measurement:
    found = process.used_since(start, events)
    return process.used_since(start, events, {"cores": round(found.cpu_seconds / found.wall_seconds, 3), **(more or {})})


def _parameters(shape: TallyShape, number: int, name: str, minute: int) -> dict[str, Any]:
    return {
        "event_name": METER,
        "payload": {**dict(MODEL), "stripe_customer_id": name, "value": str(shape.quantity(number, minute))},
        "identifier": f"tm-bench-{number}-{minute}",
        "timestamp": (shape.first_minute_ms + minute * MINUTE_MS) // 1000,
    }


def _new_folder(arena: Arena) -> Folder:
    folder = arena.folder / f"reporter-{token_hex(4)}"
    folder.mkdir()
    return folder


def _targets(cpu_s_per_million: float, per_second: int) -> Sequence[Target]:
    return (Target(REPORTER, "cpu_s_per_million", cpu_s_per_million), Target(REPORTER, "sustained_per_s", per_second, at_most=False))


PATHS: Final[Sequence[Path]] = (
    # Half a core at the pace of the target.
    Path("reporter-v1", partial(begin, V1), _targets(0.5e6 / V1.per_second, V1.per_second)),
    Path("reporter-v2", partial(begin, V2), _targets(0.5e6 / V2.per_second, V2.per_second)),
    Path("reporter-refused", begin_refused, [Target(name, "share_of_limit", SHARE_MIN, at_most=False) for name in REFUSED]),
)
