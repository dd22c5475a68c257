"""Both ways out of an emitter: to Kafka itself, and through a gateway."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.gateway_in_thread import gateway_in_thread
from tests.support.ways_out import WayOut


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
