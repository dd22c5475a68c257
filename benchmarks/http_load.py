"""A load generator for the gateway, light enough not to be the limit: prepared requests, keep-alive, one request under way a connection.

`python -m benchmarks.http_load --url URL --events-per-request 100 --connections 16 --seconds 5` prints one JSON object with what it saw.
"""

import argparse
import asyncio
import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson
from taximeter_emitter.wire.emitter_names import SECRET_HEADER, emitter_name

from benchmarks.usage_load import LoadEvent, Shape, batch_records, document_of, events_of
from metering.process.service import fast_event_loop

MEASURING: Final = "measuring"
MEASURED: Final = "measured"
_EVENTS_PREPARED: Final = 20_000
_EVENTS_IN_BATCHES: Final = 60_000
_SECRET: Final = "5" * 32  # of the load's emitter
_ACCEPTED: Final = b"HTTP/1.1 202 "
_LENGTH: Final = b"Content-Length: "


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """Requests answered with 202 in the measured time, and how long they took; `cpu_seconds` are the load generator's own."""

    requests: int
    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float


def prepared_requests(path: str, host: str, *, events_per_request: int) -> list[bytes]:
    """Whole requests, heads included, of events as model servers send them."""
    return _in_requests([document_of(event) for event in events_of(Shape(events=_EVENTS_PREPARED))], path, host, events_per_request)


def prepared_records(path: str, host: str, *, events_per_request: int) -> list[bytes]:
    """The same events as records of another program, which a mapping makes events of."""
    return _in_requests([_record_of(event) for event in events_of(Shape(events=_EVENTS_PREPARED))], path, host, events_per_request)


def _record_of(event: LoadEvent) -> dict[str, Any]:
    """What a proxy in front of models says of a call."""
    return {
        "id": event.event_id,
        "finished": event.time_ms / 1000,
        "status": "success",
        "model": event.model,
        "account": {"id": event.customer},
        "usage": {
            "prompt_tokens": event.input_tokens,
            "completion_tokens": event.output_tokens,
            "total_tokens": event.input_tokens + event.output_tokens,
        },
    }


def _in_requests(documents: Sequence[dict[str, Any]], path: str, host: str, events_per_request: int) -> list[bytes]:
    requests = []
    for start in range(0, len(documents) - events_per_request + 1, events_per_request):
        body = orjson.dumps(documents[start] if events_per_request == 1 else documents[start : start + events_per_request])
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    return requests


def prepared_batches(path: str, host: str, *, events_per_request: int, partitions: int) -> list[bytes]:
    """Whole requests of one compressed batch each, as an emitter sends them. Sent again they are repetitions, which a gateway cannot know."""
    records = batch_records(Shape(events=_EVENTS_IN_BATCHES), partitions=partitions, size=events_per_request, with_ids=False, emitters=1)
    own = f'"emitter":"{emitter_name(_SECRET)}"'.encode()
    requests = []
    for record in records:
        if b'"count":%d,' % events_per_request in record.value[:200]:
            body = gzip.compress(record.value.replace(b'"emitter":"%032x"' % 0, own, 1), 1)
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n"
            requests.append(f"{head}{SECRET_HEADER}: {_SECRET}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return requests


class Connection(asyncio.Protocol):
    """Sends the next prepared request when the answer to the last one is complete."""

    def __init__(self, requests: Sequence[bytes], *, start_at: int) -> None:
        self.latencies: list[float] = []
        self.failed: str | None = None
        self._requests = requests
        self._next = start_at
        self._sent_at = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's streams do not derive from it
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect one answer, note how long it took, and go on."""
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length_at = self._received.index(_LENGTH) + len(_LENGTH)
        length = int(self._received[length_at : self._received.index(b"\r\n", length_at)])
        if len(self._received) < head_end + 4 + length:
            return
        if not self._received.startswith(_ACCEPTED):
            self.failed = self._received[:400].decode(errors="replace")
            self.stop()
            return
        self._received = b""
        self.latencies.append(time.perf_counter() - self._sent_at)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The gateway hung up, or `stop` was called."""
        if self._transport is not None:
            self.failed = self.failed or f"the gateway closed the connection: {exc}"

    def stop(self) -> None:
        """Hang up."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _send(self) -> None:
        if self._transport is not None:
            self._next = (self._next + 1) % len(self._requests)
            self._sent_at = time.perf_counter()
            self._transport.write(self._requests[self._next])


async def drive(url: str, requests: Sequence[bytes], *, events_per_request: int, connections: int, warm_up: float, seconds: float) -> LoadResult:
    """Load the gateway with these requests and measure. Raises RuntimeError when an answer is not 202."""
    parts = urlsplit(url)
    assert parts.hostname is not None, "a URL has a host"
    loop = asyncio.get_running_loop()
    opened = []
    for number in range(connections):
        new = partial(Connection, requests, start_at=number * len(requests) // connections)
        _, protocol = await loop.create_connection(new, parts.hostname, parts.port or 80)
        opened.append(protocol)
    await asyncio.sleep(warm_up)
    for connection in opened:
        connection.latencies.clear()
    print(MEASURING, flush=True)
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    latencies = sorted(latency for connection in opened for latency in connection.latencies)
    print(MEASURED, flush=True)
    for connection in opened:
        connection.stop()
        if connection.failed is not None:
            raise RuntimeError(connection.failed)
    count = len(latencies)
    if not count:
        raise RuntimeError("nothing was answered")
    return LoadResult(
        requests=count,
        events=count * events_per_request,
        seconds=took,
        p50_ms=1000 * latencies[count // 2],
        p99_ms=1000 * latencies[count * 99 // 100],
        cpu_seconds=cpu,
    )


def _prepared(chosen: argparse.Namespace) -> list[bytes]:
    parts, size = urlsplit(chosen.url), chosen.events_per_request
    if chosen.partitions:
        return prepared_batches(parts.path, parts.netloc, events_per_request=size, partitions=chosen.partitions)
    prepare = prepared_records if chosen.records else prepared_requests
    return prepare(parts.path, parts.netloc, events_per_request=size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load; the result as JSON on the last line of stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--events-per-request", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=0, help="send batches of emitters, for a topic with so many partitions")
    parser.add_argument("--records", action="store_true", help="send records for a mapping in place of events")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=fast_event_loop) as runner:
        result = runner.run(
            drive(
                chosen.url,
                _prepared(chosen),
                events_per_request=chosen.events_per_request,
                connections=chosen.connections,
                warm_up=chosen.warm_up,
                seconds=chosen.seconds,
            )
        )
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
