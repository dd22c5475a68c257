"""What `Emitter.emit` costs the thread that calls it, with Kafka there and away, and what the thread behind it costs.

CPU is that of the process without the calling thread's: batching, Kafka's client. Latencies of the calls are in `more`, in microseconds,
beside those of a `control` that computes for as long and does not emit.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Any, Final

from benchmarks.aggregator import PARTITIONS, service_environment
from benchmarks.emit_caller import SENT
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import make_topics
from benchmarks.watched import WatchedProcess
from metering.kafka.clients import KafkaSettings

# Nothing listens on the discard port.
NOBODY: Final = "127.0.0.1:9"
THERE: Final = "Kafka there"
AWAY: Final = "Kafka away"
EVENTS: Final = 100_000
FINISH_SECONDS: Final = 300.0


@asynccontextmanager
async def begin(work: int, arena: Arena) -> AsyncIterator[Measures]:
    """A topic to send to."""
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    servers = ",".join(kafka.bootstrap_servers)
    yield {THERE: partial(measure, arena, kafka, servers, work), AWAY: partial(measure, arena, kafka, NOBODY, work)}


async def measure(arena: Arena, kafka: KafkaSettings, servers: str, work: int) -> Measurement:
    """One process that emits all events."""
    events = arena.events(EVENTS)
    log = arena.folder / f"emitter-{token_hex(4)}.log"
    command = [sys.executable, "-m", "benchmarks.emit_caller", servers, kafka.topics.events.name, str(events), str(work)]
    with WatchedProcess(command, log, service_environment(kafka, {})) as process:
        await process.until_said(SENT, FINISH_SECONDS)
        found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
        peak = process.peak_rss_bytes
    assert found.pop("sent") == (0 if servers == NOBODY else events), "all events reach Kafka when it is there"
    return Measurement(events, found.pop("sender_cpu_s"), found.pop("wall_s"), peak, found)


_TARGETS: Final = [Target(name, figure, bound) for name in (THERE, AWAY) for figure, bound in (("emit_p50_us", 3.0), ("emit_p999_us", 20.0))]
PATHS: Final[Sequence[Path]] = (Path("emitter-computing", partial(begin, 300), _TARGETS), Path("emitter-alone", partial(begin, 0)))
