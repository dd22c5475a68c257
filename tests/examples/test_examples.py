"""Each example emits events that the aggregator's own reader takes, in the partition of their customer."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.partitioner import partition_of
from taximeter_sandbox.brokers.readiness import free_port

from aggregator.reading.decoding import read
from metering.kafka.clients import KafkaSettings
from metering.records.record import Record
from tests.support.gateway_process import gateway
from tests.support.repository import ROOT
from tests.support.usage_topic import make_topics, read_events_topic, settings_for

EXAMPLES = ROOT / "examples"
BUILD_SECONDS = 300.0
RUN_SECONDS = 120.0


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    settings = settings_for(broker)
    asyncio.run(make_topics(settings))
    return settings


def run(*command: str | Path, seconds: float = RUN_SECONDS, folder: Path = ROOT, **environment: str) -> str:
    environ = {**os.environ, **environment}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environ, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(kafka: KafkaSettings) -> Counter[str]:
    """Input tokens by customer, from every record of the topic; none may be refused, or be in another customer's partition."""
    found: Counter[str] = Counter()
    for partition, value in asyncio.run(read_events_topic(kafka)):
        event = read(Record(offset=0, timestamp=2**41, key=None, value=value))
        customers: Sequence[str]
        if isinstance(event, Batch):
            customers, quantities = [event.customers[series] for series in event.at], event.usage.get("input_tokens", ())
        else:
            customers, quantities = [event.customer], [dict(event.usage)["input_tokens"]]
        for customer, quantity in zip(customers, quantities, strict=True):
            assert partition_of(customer, kafka.partitions) == partition
            found[customer] += quantity
    return found


def test_a_script_emits_each_line_of_a_file(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    rows = [f"q-{number},cus_{number % 3},{number},1\n" for number in range(30)]
    file.write_text("id,customer,input_tokens,output_tokens\n" + "".join(rows))
    output = run(sys.executable, EXAMPLES / "script/emit_usage.py", file, kafka.bootstrap_servers[0], kafka.topics.events.name)
    assert output == "sent 30, refused 0, lost 0\n"
    assert counted(kafka) == {f"cus_{customer}": sum(range(customer, 30, 3)) for customer in range(3)}


def test_a_web_service_emits_for_each_answer(kafka: KafkaSettings, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers[0],
        "TAXIMETER_TOPIC": kafka.topics.events.name,
        "TAXIMETER_SPOOL_DIR": str(tmp_path / "spool"),
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(EXAMPLES / "fastapi_service"), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, **environ}, stderr=subprocess.DEVNULL) as process:
        try:
            answer = ask(port)
            assert answer.json() == {"answer": "WHAT IS A TOKEN"}
        finally:
            process.terminate()
            assert process.wait(60) in (0, -15)
    assert counted(kafka) == {"cus_7": 4}


def ask(port: int) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
        answer = client.post(f"http://127.0.0.1:{port}/answers", json={"prompt": "what is a token"}, headers={"X-Customer": "cus_7"}, timeout=30.0)
    answer.raise_for_status()
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_file_of_json_lines_goes_to_the_gateway(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    events = [{"id": f"q-{number}", "source": "shell", "customer": f"cus_{number % 3}", "usage": {"input_tokens": number}} for number in range(12)]
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    meters = '[[meters]]\nevent_name = "tokens"\nsum = ["input_tokens"]\n'
    with gateway(kafka, tmp_path / "gateway", meters=meters) as running:
        for _ in range(2):  # as after a failure: the ids are the same
            answer = json.loads(run(EXAMPLES / "http/send_ndjson.sh", file, running.url.removesuffix("/v1/events")))
            assert answer["accepted"] == 12
    assert counted(kafka) == {f"cus_{customer}": 2 * sum(range(customer, 12, 3)) for customer in range(3)}


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_a_go_service_emits_single_events(kafka: KafkaSettings, tmp_path: Path) -> None:
    program = tmp_path / "single-events"
    run("go", "build", "-o", program, ".", folder=EXAMPLES / "go", seconds=BUILD_SECONDS, GOFLAGS="-mod=mod")
    emits_single_events(
        kafka,
        lambda customer: run(
            program, "-brokers", kafka.bootstrap_servers[0], "-topic", kafka.topics.events.name, "-customer", customer, "-events", "20"
        ),
    )


@pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed")
def test_a_java_service_emits_single_events(kafka: KafkaSettings, tmp_path: Path) -> None:
    project = tmp_path / "java"
    shutil.copytree(EXAMPLES / "java", project, ignore=shutil.ignore_patterns("target"))
    run("mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath.txt", folder=project, seconds=BUILD_SECONDS)
    classes = f"{project / 'target/classes'}:{(project / 'classpath.txt').read_text()}"
    emits_single_events(
        kafka,
        lambda customer: run("java", "-cp", classes, "example.SingleEvents", kafka.bootstrap_servers[0], kafka.topics.events.name, customer, "20"),
    )


def emits_single_events(kafka: KafkaSettings, emit: Callable[[str], str]) -> None:
    """For some customers, so that a partitioner that is not Kafka's own shows."""
    customers = [f"cus_{number}" for number in range(4)]
    for customer in customers:
        assert emit(customer) == "sent 20\n"
    assert counted(kafka) == dict.fromkeys(customers, 20 * 812)
