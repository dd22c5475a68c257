"""Each example emits events that the aggregator's own reader takes, in the partition of their customer."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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


def is_node_new_enough() -> bool:
    if shutil.which("npm") is None:
        return False
    version = subprocess.check_output(["node", "--version"], text=True).strip()
    return tuple(map(int, version.removeprefix("v").split(".")[:2])) >= (20, 19)


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
def test_a_go_service_emits_to_kafka_and_over_http(kafka: KafkaSettings, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    run("go", "build", "-o", programs, "./...", folder=EXAMPLES / "go", seconds=BUILD_SECONDS, GOFLAGS="-mod=mod")
    broker, topic = kafka.bootstrap_servers[0], kafka.topics.events.name
    single, http = programs / "single_events", programs / "over_http"
    emits_single_events(kafka, lambda customer: run(single, "-brokers", broker, "-topic", topic, "-customer", customer, "-events", "20"))
    emits_over_http(kafka, tmp_path, lambda url, customer: run(http, "-gateway", url, "-customer", customer, "-events", "20"))


@pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed")
def test_a_java_service_emits_to_kafka_and_over_http(kafka: KafkaSettings, tmp_path: Path) -> None:
    project = copied("java", tmp_path)
    run("mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath.txt", folder=project, seconds=BUILD_SECONDS)
    classes = f"{project / 'target/classes'}:{(project / 'classpath.txt').read_text()}"
    broker, topic = kafka.bootstrap_servers[0], kafka.topics.events.name
    emits_single_events(kafka, lambda customer: run("java", "-cp", classes, "example.SingleEvents", broker, topic, customer, "20"))
    emits_over_http(kafka, tmp_path, lambda url, customer: run("java", "-cp", classes, "example.OverHttp", url, customer, "20"))


@pytest.mark.skipif(not is_node_new_enough(), reason="Node 20.19.4 or newer is not installed")
def test_a_node_service_emits_to_kafka_and_over_http(kafka: KafkaSettings, tmp_path: Path) -> None:
    project = copied("node", tmp_path)
    run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", folder=project, seconds=BUILD_SECONDS)
    broker, topic = kafka.bootstrap_servers[0], kafka.topics.events.name
    emits_single_events(kafka, lambda customer: run("node", project / "single_events.mjs", broker, topic, customer, "20"))
    emits_over_http(kafka, tmp_path, lambda url, customer: run("node", project / "over_http.mjs", url, customer, "20"))


@pytest.mark.skipif(shutil.which("cargo") is None, reason="Rust is not installed")
def test_a_rust_service_emits_to_kafka_and_over_http(kafka: KafkaSettings, tmp_path: Path) -> None:
    project = copied("rust", tmp_path)
    run("cargo", "build", "--quiet", "--features", "kafka", folder=project, seconds=BUILD_SECONDS, CFLAGS="-O0")  # nobody waits for this librdkafka
    programs = project / "target/debug"
    broker, topic = kafka.bootstrap_servers[0], kafka.topics.events.name
    emits_single_events(kafka, lambda customer: run(programs / "single_events", broker, topic, customer, "20"))
    emits_over_http(kafka, tmp_path, lambda url, customer: run(programs / "over_http", url, customer, "20"))


def copied(example: str, folder: Path) -> Path:
    """What is built leaves nothing in the repository."""
    project = folder / example
    shutil.copytree(EXAMPLES / example, project, ignore=shutil.ignore_patterns("target", "node_modules"))
    return project


def emits_single_events(kafka: KafkaSettings, emit: Callable[[str], str]) -> None:
    """For some customers, so that a partitioner that is not Kafka's own shows."""
    customers = [f"cus_{number}" for number in range(4)]
    for customer in customers:
        assert emit(customer) == "sent 20\n"
    assert counted(kafka) == dict.fromkeys(customers, 20 * 812)


def emits_over_http(kafka: KafkaSettings, folder: Path, emit: Callable[[str, str], str]) -> None:
    """Also if the first answers are lost or say that the gateway is busy; what it rejects is named."""
    meters, before = '[[meters]]\nevent_name = "tokens"\nsum = ["input_tokens", "output_tokens"]\n', counted(kafka)
    with gateway(kafka, folder / "gateway", meters=meters) as running:
        with unreliable(running.url) as (url, bodies):
            assert emit(url, "cus_1") == "sent 20\n"
        assert len(bodies) == 3
        assert len(set(bodies)) == 1
        with pytest.raises(AssertionError, match="too_long"):
            emit(running.url.removesuffix("/v1/events"), "x" * 200)
    assert counted(kafka) - before == {"cus_1": 20 * 812}


@contextmanager
def unreliable(events_url: str) -> Iterator[tuple[str, list[bytes]]]:
    """A server that loses the answer to the first request, is too busy for the second, and passes the third on; with the bodies that came."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if len(bodies) == 1:
                self.close_connection = True
                return
            status, content = 503, b'{"error": {"code": "busy"}}'
            if len(bodies) > 2:
                answer = httpx.post(events_url, content=bodies[-1], headers={"Content-Type": "application/json"})
                status, content = answer.status_code, answer.content
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()
