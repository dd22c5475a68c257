"""The gateway's own server over a Kafka in memory, in a thread: what an emitter sees of a gateway, with the faults of both."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.clock import SystemClock

from ingest.admission.api_keys import ApiKeys
from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.requests.batches_handler import BatchesHandler
from ingest.requests.gate import RequestGate
from ingest.requests.server import BATCHES_PATH, GatewayServer
from metering.configuration.key_file import ApiKey
from metering.process.listener import ListenAddress, ListenerLimits
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.waiting import until

_SECONDS = 20.0


class GatewayInThread:
    """`stop` takes it away, `start` brings it back on the same port. `keys` may be replaced while it runs."""

    def __init__(self, kafka: FakeKafka, keys: ApiKeys | None = None, *, acknowledge_seconds: float = 20.0) -> None:
        self.port = 0
        self.keys = keys
        self._kafka = kafka
        self._acknowledge_seconds = acknowledge_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._serving = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._serving.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._serving.wait(_SECONDS)

    def stop(self) -> None:
        loop, stopping, thread = self._loop, self._stopping, self._thread
        if loop is not None and stopping is not None and thread is not None and thread.is_alive():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stopping.set)
            thread.join(_SECONDS)

    def replace_keys(self, *keys: ApiKey) -> None:
        assert self.keys is not None
        self.keys.replace({key.key_id: key for key in keys})

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        metrics, clock, budget = GatewayMetrics.create(CollectorRegistry()), SystemClock(), ByteBudget(10**8)
        publisher = Publisher(
            Batcher("gateway"),
            new_producer=self._kafka.new_producer,
            budget=budget,
            metrics=metrics,
            linger_seconds=0.001,
            acknowledge_seconds=self._acknowledge_seconds,
            heartbeat_seconds=60.0,
            clock=clock,
        )
        gate = RequestGate(keys=self.keys, budget=budget, publisher=publisher, metrics=metrics, body_bytes_max=10**6, read_seconds=5.0, clock=clock)
        batches = BatchesHandler(gate, publisher=publisher, metrics=metrics, clock=clock)
        limits = ListenerLimits(finish_seconds=0.1)
        routes = {BATCHES_PATH: {"GET": batches.get, "POST": batches.post}}
        server = GatewayServer(routes, ListenAddress(host="127.0.0.1", port=self.port), limits, metrics=metrics, clock=clock)
        publishing = asyncio.create_task(publisher.run())
        await server.start()
        self.port = server.port
        self._serving.set()
        await self._stopping.wait()
        await server.stop()
        await publisher.close(0.1)
        await publishing


@contextmanager
def gateway_in_thread(kafka: FakeKafka, keys: ApiKeys | None = None, *, acknowledge_seconds: float = 20.0) -> Iterator[GatewayInThread]:
    gateway = GatewayInThread(kafka, keys, acknowledge_seconds=acknowledge_seconds)
    gateway.start()
    until(lambda: any(producer.is_open for producer in kafka.producers) or kafka.is_away)
    try:
        yield gateway
    finally:
        gateway.stop()
