"""Both ways out of an emitter: to Kafka itself, and through a gateway."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from taximeter_emitter import Emitter

from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.gateway_in_thread import GatewayInThread, gateway_in_thread


class WayOut:
    """`kafka` is where everything ends. `go_away` and `come_back`: what the emitter speaks to."""

    def __init__(self, kafka: FakeKafka, gateway: GatewayInThread | None) -> None:
        self.kafka = kafka
        self._gateway = gateway
        self._made: list[Emitter] = []

    def emitter(self, **options: Any) -> Emitter:
        """Another emitter; it is closed in the end."""
        chosen: dict[str, Any] = {"linger_ms": 5, "give_up_seconds": 0.5, "source": "test"} | options
        if self._gateway is None:
            emitter = Emitter(bootstrap_servers="unused:1", new_producer=self.kafka.new_producer, **chosen)
        else:
            emitter = Emitter(self._gateway.url, **chosen)
        self._made.append(emitter)
        return emitter

    def go_away(self) -> None:
        if self._gateway is None:
            self.kafka.is_away = True
            self.kafka.break_producers()
        else:
            self._gateway.stop()

    def come_back(self) -> None:
        if self._gateway is None:
            self.kafka.is_away = False
        else:
            self._gateway.start()

    def close(self) -> None:
        for emitter in self._made:
            emitter.close(0.5)


@pytest.fixture(params=["kafka", "gateway"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[WayOut]:
    # How long things wait when nothing happens.
    monkeypatch.setattr("taximeter_emitter.sender._IDLE_SECONDS", 0.05)
    monkeypatch.setattr("taximeter_emitter.background._RESTART_SECONDS", 0.05)
    monkeypatch.setattr("taximeter_emitter.emitter._SECURE_SECONDS", 0.1)
    monkeypatch.setattr("taximeter_emitter.transports.gateway_producer._RETRY_AFTER_SECONDS_MAX", 0.05)
    monkeypatch.setattr("ingest.requests.batches_handler.ACKNOWLEDGED_WITHIN_SECONDS", 0.1)
    monkeypatch.setattr("ingest.publishing.publisher._TURN_SECONDS", 0.02)
    kafka = FakeKafka()
    with ExitStack() as stack:
        gateway = stack.enter_context(gateway_in_thread(kafka)) if request.param == "gateway" else None
        found = WayOut(kafka, gateway)
        stack.callback(found.close)
        yield found
