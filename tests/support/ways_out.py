"""Where the batches of emitters go in tests: to Kafka itself, or through a gateway."""

from typing import Any

from taximeter_emitter import Emitter

from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.gateway_in_thread import GatewayInThread


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
