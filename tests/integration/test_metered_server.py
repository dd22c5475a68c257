"""A model server as a process, with the middleware in it: what its clients received is in Kafka after it was stopped, each call once."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import orjson
import pytest
from taximeter_emitter.wire.batch import Batch

from metering.kafka.clients import KafkaSettings
from tests.support.emitter_batches_received import batches_of, gaps
from tests.support.emitter_model_api import chat_response, chat_stream
from tests.support.repository import ROOT
from tests.support.usage_topic import make_topics, read_events_topic, settings_for
from tests.support.waiting import until

pytestmark = pytest.mark.broker
CALLS = 20


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_every_call_is_one_event_and_a_client_that_leaves_pays_what_it_received(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    (tmp_path / "customers.json").write_bytes(orjson.dumps({hashlib.sha256(b"sk-1").hexdigest(): "cus_1"}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    variables = os.environ | {
        "TAXIMETER_SOURCE": "inference/eu-1",
        "TAXIMETER_BOOTSTRAP_SERVERS": broker,
        "TAXIMETER_TOPIC": kafka.topics.events.name,
        "TAXIMETER_SPOOL_DIR": str(tmp_path / "spool"),
        "TAXIMETER_CUSTOMERS_FILE": str(tmp_path / "customers.json"),
    }
    command = [sys.executable, "-m", "uvicorn", "tests.support.emitter_model_server:app", "--port", str(port), "--lifespan", "off"]
    with subprocess.Popen(command, cwd=ROOT, env=variables) as server:
        try:
            until(lambda: _answers(port))
            received = _call(f"http://127.0.0.1:{port}/v1/chat/completions")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    _check(kafka, received)


def _call(url: str) -> int:
    """Whole answers, whole streams, and one that is left; how many chunks of it were received."""
    headers = {"authorization": "Bearer sk-1", "x-request-id": "the-same"}
    with httpx.Client(headers=headers, timeout=30) as client:
        for _ in range(CALLS):
            assert client.post(url, json={"model": "m"}).json() == chat_response()
        assert client.post(url, json={"model": "m", "stream": True}).content == b"".join(chat_stream({}, "ab" * 100))
        with client.stream("POST", url, json={"model": "m", "stream": True}) as response:
            received = 0
            for line in response.iter_lines():
                received += line.startswith("data:")
                if received == 10:
                    break
        client.post(url, json={"model": "m"})
    return received


def _check(kafka: KafkaSettings, received: int) -> None:
    batches = batches_of(asyncio.run(read_events_topic(kafka)))
    assert gaps(batches) == {}
    events = [event for batch in batches for event in _events(batch)]
    outcomes = Counter((dimensions["outcome"], dimensions["usage_from"]) for dimensions, _ in events)
    assert outcomes == {("ok", "provider"): CALLS + 2, ("aborted", "estimate"): 1}
    (aborted,) = [usage for dimensions, usage in events if dimensions["outcome"] == "aborted"]
    assert received <= aborted["output_tokens"] < 200


def _events(batch: Batch) -> list[tuple[dict[str, str], dict[str, int]]]:
    assert set(batch.customers) <= {"cus_1"}
    return [
        (dict(batch.dimensions[batch.series_dimensions[series]]), {name: column[number] for name, column in batch.usage.items()})
        for number, series in enumerate(batch.at)
    ]
