"""Spans as a collector sees them, read by a decoder that shares nothing with what encodes them; and a small collector."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from ingest.foreign.otlp_protobuf import _fields, protobuf_spans
from metering.tracing.spans import TraceSpan
from metering.tracing.trace_context import TraceContext


@dataclass(frozen=True)
class SeenSpan:
    """What a collector reads of a span."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent: str
    kind: int
    links: list[tuple[str, str]]
    links_left_out: int
    is_error: bool
    attributes: dict[str, Any]
    seconds: float


def seen(body: bytes) -> list[SeenSpan]:
    """The spans of a request: most of it by the gateway's own reader, which mappings use, and the rest from the fields' numbers."""
    raw = list(_messages(body, 1, 2, 2))
    return [_seen(span, defaultdict(list), message) for span, message in zip(protobuf_spans(body), raw, strict=True)]


def _messages(body: bytes | memoryview, *path: int) -> Iterator[memoryview]:
    for number, value in _fields(memoryview(body)):
        if number == path[0]:
            yield from (_messages(value, *path[1:]) if len(path) > 1 else (value,))


def _seen(span: dict[str, Any], fields: defaultdict[int, list[Any]], message: memoryview) -> SeenSpan:
    for number, value in _fields(message):
        fields[number].append(value)
    links = [dict(_fields(link)) for link in fields[13]]
    return SeenSpan(
        span["name"],
        span["resource"]["service.name"],
        span["trace_id"],
        span["span_id"],
        fields[4][0].hex() if fields[4] else "",
        fields[6][0],
        [(link[1].hex(), link[2].hex()) for link in links],
        sum(fields[14]),
        span["status"] == 2,
        span["attributes"],
        (span["end_ns"] - span["start_ns"]) / 1e9,
    )


@dataclass
class Collector:
    """Takes spans at `url`, and answers with `status`."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def spans(self) -> list[SeenSpan]:
        return [span for body in self.bodies for span in seen(body)]


@contextmanager
def collector() -> Iterator[Collector]:
    """One on a free port, in a thread of its own."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf":
                found.headers.append(dict(self.headers.items()))
                if found.status == 200:
                    found.bodies.append(body)
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SpanList:
    """A SpanSink that keeps them."""

    def __init__(self) -> None:
        self.spans: list[TraceSpan] = []

    def put(self, span: TraceSpan) -> None:
        self.spans.append(span)


CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
"""The example of W3C Trace Context."""
