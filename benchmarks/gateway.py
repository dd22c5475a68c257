"""The gateway process under HTTP load, acks=all, against a server on the same foundation that only says 202."""

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path as Folder
from secrets import token_hex
from typing import Any, Final

from benchmarks.aggregator import PARTITIONS, service_environment, settings_file
from benchmarks.http_load import MEASURED, MEASURING
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import METERS_FILE
from benchmarks.watched import ProcessFailed, WatchedProcess
from ingest.requests.server import BATCHES_PATH, EVENTS_PATH
from metering.kafka.clients import KafkaSettings

BARE: Final = "bare aiohttp"
GATEWAY: Final = "gateway"
BATCHES: Final = "gateway, batches of emitters"
RECORDS: Final = "gateway, records of a mapping"
RECORDS_PATH: Final = "/v1/from/benchmark"
MAPPING: Final = f"""
[[mappings]]
name = "benchmark"
path = "{RECORDS_PATH}"
id = ["id", "finished"]
source = "benchmark"
customer = "account.id"
time = {{path = "finished", unit = "s"}}
leave_out = [{{status = ["failure"], "usage.total_tokens" = [0]}}]
usage.input_tokens = "usage.prompt_tokens"
usage.output_tokens = "usage.completion_tokens"
dimensions.model = "model"
"""
EVENTS_PER_REQUEST: Final = 100
SECONDS: Final = 6.0
SECONDS_MIN: Final = 0.3
START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02


@asynccontextmanager
async def begin(events_per_request: int, connections: int, arena: Arena) -> AsyncIterator[Measures]:
    """Both servers under the same load, each with processes of its own."""
    load = load_of(events_per_request, connections, arena)
    yield {BARE: partial(measure_bare, arena, load), GATEWAY: partial(measure_gateway, arena, load)}


@asynccontextmanager
async def begin_batches(events_per_request: int, connections: int, arena: Arena) -> AsyncIterator[Measures]:
    """The gateway, once with batches of emitters, which it passes on, and once with as many events as gateway-100 has in a request."""
    batches = [*load_of(events_per_request, connections, arena), "--partitions", str(PARTITIONS)]
    events = load_of(EVENTS_PER_REQUEST, connections, arena)
    yield {BATCHES: partial(measure_gateway, arena, batches, path=BATCHES_PATH), GATEWAY: partial(measure_gateway, arena, events)}


@asynccontextmanager
async def begin_records(events_per_request: int, connections: int, arena: Arena) -> AsyncIterator[Measures]:
    """The gateway, once with events in our own form, and once with records that a mapping makes the same events of."""
    load = load_of(events_per_request, connections, arena)
    records = partial(measure_gateway, arena, [*load, "--records"], path=RECORDS_PATH)
    yield {GATEWAY: partial(measure_gateway, arena, load), RECORDS: records}


def load_of(events_per_request: int, connections: int, arena: Arena) -> list[str]:
    """The options of the load generator."""
    load = ["--events-per-request", str(events_per_request), "--connections", str(connections)]
    return [*load, "--seconds", str(max(SECONDS_MIN, SECONDS * arena.scale)), "--warm-up", str(max(SECONDS_MIN, arena.scale))]


async def measure_bare(arena: Arena, load: Sequence[str]) -> Measurement:
    """A server that says 202 to everything, and keeps nothing."""
    folder = new_folder(arena)
    environment = service_environment(arena.kafka(PARTITIONS), {})
    with WatchedProcess([sys.executable, "-m", "benchmarks.bare_http", str(folder / "port")], folder / "log", environment) as server:
        return await under_load(server, f"http://127.0.0.1:{await number_in(folder / 'port')}/v1/events", load, folder)


async def measure_gateway(arena: Arena, load: Sequence[str], *, path: str = EVENTS_PATH) -> Measurement:
    """The gateway: each request is answered when Kafka has acknowledged its events."""
    folder, kafka = new_folder(arena), arena.kafka(PARTITIONS)
    command = [sys.executable, "-m", "ingest", "--config", str(settings_file(folder, METERS_FILE + MAPPING))]
    with WatchedProcess(command, folder / "log", gateway_environment(kafka, folder)) as gateway:
        port, admin = await number_in(folder / "port"), await number_in(folder / "admin")
        await until_ready(f"http://127.0.0.1:{admin}/readyz", gateway)
        measured = await under_load(gateway, f"http://127.0.0.1:{port}{path}", load, folder)
        await gateway.stop()
    return measured


async def under_load(server: WatchedProcess, url: str, load: Sequence[str], folder: Folder) -> Measurement:
    """What the server used while the load generator measured; latencies in `more`. Raises ProcessFailed when an answer was not 202."""
    log = folder / "load.log"
    with WatchedProcess([sys.executable, "-m", "benchmarks.http_load", "--url", url, *load], log, dict(os.environ)) as generator:
        await generator.until_said(MEASURING)
        start = server.read()
        await generator.until_said(MEASURED)
        end = server.read()
        await generator.until_said('"cpu_seconds"')
        result: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return Measurement(
        events=result["events"],
        cpu_seconds=end.cpu_seconds - start.cpu_seconds,
        wall_seconds=end.moment - start.moment,
        peak_rss_bytes=server.peak_rss_bytes,
        more={
            "requests_per_s": round(result["requests"] / result["seconds"]),
            "p50_ms": round(result["p50_ms"], 1),
            "p99_ms": round(result["p99_ms"], 1),
            "cores": round((end.cpu_seconds - start.cpu_seconds) / (end.moment - start.moment), 2),
        },
    )


def gateway_environment(kafka: KafkaSettings, folder: Folder) -> dict[str, str]:
    """An anonymous gateway on a free port, which it writes down."""
    options = {"PORT": "0", "PORT_FILE": str(folder / "port"), "ANONYMOUS": "true"}
    own = {f"TAXIMETER_GATEWAY_{name}": value for name, value in options.items()}
    return service_environment(kafka, {**own, "TAXIMETER_SERVICE_ADMIN_PORT_FILE": str(folder / "admin")})


async def number_in(file: Folder) -> int:
    """The port that a process wrote down, as soon as it did. Raises ProcessFailed."""
    return await asyncio.to_thread(_wait_for_number, file)


async def until_ready(url: str, process: WatchedProcess) -> None:
    """Returns when the probe says 200. Raises ProcessFailed, or TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        while await asyncio.to_thread(_status, url) != 200:
            process.check()
            await asyncio.sleep(POLL_SECONDS)


def new_folder(arena: Arena) -> Folder:
    """A folder for the files of one measurement."""
    folder = arena.folder / f"gateway-{token_hex(4)}"
    folder.mkdir()
    return folder


def _wait_for_number(file: Folder) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not (file.exists() and file.read_text()):
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{file} was not written within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return int(file.read_text())


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


PATHS: Final[Sequence[Path]] = (
    Path(
        "gateway-100", partial(begin, 100, 16), [Target(GATEWAY, "cpu_s_per_million", 5.0), Target(GATEWAY, "events_per_s", 150_000, at_most=False)]
    ),
    Path("gateway-mapped-100", partial(begin_records, 100, 16), [Target(RECORDS, "ratio", 2.0)]),
    Path("gateway-mapped-1", partial(begin_records, 1, 64), [Target(RECORDS, "ratio", 2.0)]),
    Path("gateway-http-emitter", partial(begin_batches, 500, 16), [Target(BATCHES, "events_per_s", 250_000, at_most=False)]),
    Path("gateway-1", partial(begin, 1, 64), [Target(GATEWAY, "cpu_s_per_million", 90.0), Target(GATEWAY, "requests_per_s", 4_000, at_most=False)]),
)
