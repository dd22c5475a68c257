"""Foreign senders at a gateway process: what they are answered, and what is in the topic then."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_event

from metering.configuration.key_file import create_key
from metering.kafka.clients import KafkaSettings
from tests.support.emitter_batches_received import batches_of, quantities
from tests.support.foreign_bodies import recorded
from tests.support.gateway_process import GatewayProcess, gateway
from tests.support.usage_topic import read_events_topic, settings_for

pytestmark = pytest.mark.broker

CLIENTS: Final = os.environ.get("TAXIMETER_FOREIGN_CLIENTS", sys.executable)
"""A Python that has the clients; LiteLLM's requirements and the gateway's may not fit together."""
SETTINGS: Final = """
[[meters]]
event_name = "input"
sum = ["input_tokens", "tokens"]

[[meters]]
event_name = "cached"
sum = ["cached_input_tokens"]

[[meters]]
event_name = "output"
sum = ["output_tokens"]

[[mappings]]
preset = "litellm"

[[mappings]]
preset = "openmeter"

[[mappings]]
preset = "otlp"
split = ["cached"]

[[mappings]]
name = "strict"
form = "otlp"
answer = "otlp"
refused = "answer"
path = "/strict"
id = "span_id"
source = "strict"
customer = 'attributes."enduser.id"'
usage.tokens = 'attributes."gen_ai.usage.input_tokens"'
"""


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    return settings_for(broker)


@pytest.fixture
def running(kafka: KafkaSettings, tmp_path: Path) -> Iterator[GatewayProcess]:
    with gateway(kafka, tmp_path, meters=SETTINGS, body_bytes_max=200_000) as process:
        yield process


def url(process: GatewayProcess, path: str) -> str:
    return process.url.removesuffix("/v1/events") + path


async def post(process: GatewayProcess, path: str, body: Any, **headers: str) -> tuple[int, bytes]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url(process, path), data=raw, headers=sent) as answer:
        return answer.status, await answer.read()


async def topic(kafka: KafkaSettings) -> tuple[list[Batch], list[Any]]:
    """The batches in the topic, and the letters: JSON that the aggregator sets aside."""
    log = await read_events_topic(kafka)
    batches = [(partition, value) for partition, value in log if value.startswith(b'{"taximeter')]
    return batches_of(batches), [orjson.loads(value) for partition, value in log if (partition, value) not in batches]


def why(letter: Any) -> tuple[str, str]:
    """What the aggregator will say of a letter."""
    with pytest.raises(EventRejected) as caught:
        parse_event(letter, arrival_ms=0)
    return caught.value.reason.value, caught.value.field


def ran(script: str, process: GatewayProcess, *packages: str, **environ: str) -> str:
    """Run a program of a client's user. Skips, by name, where the client is not installed."""
    found = subprocess.run([CLIENTS, "-c", f"import {', '.join(packages)}"], capture_output=True, timeout=120, check=False)
    if found.returncode:
        pytest.skip(f"{', '.join(packages)} is not installed in {CLIENTS}")
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [CLIENTS, "-c", script], env=own | {"GATEWAY": url(process, "")} | environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


async def test_openmeter_clients_are_answered_with_204_and_nothing(running: GatewayProcess, kafka: KafkaSettings) -> None:
    event = {"specversion": "1.0", "type": "prompt", "id": "r-1", "source": "svc", "subject": "cus_1", "data": {"tokens": "5"}}
    one, many = "application/cloudevents+json", "application/cloudevents-batch+json; charset=utf-8"
    assert await post(running, "/api/v1/events", event, Content_Type=one) == (204, b"")
    assert await post(running, "/api/v1/events", [event | {"id": "r-2"}, event | {"id": "r-3"}], Content_Type=many) == (204, b"")
    assert await post(running, "/api/v1/events", []) == (204, b"")
    batches, letters = await topic(kafka)
    assert (quantities(batches, "tokens"), letters) == ([5, 5, 5], [])


async def test_204_is_not_said_of_what_was_refused(running: GatewayProcess, kafka: KafkaSettings) -> None:
    good = {"specversion": "1.0", "type": "prompt", "id": "r-1", "source": "svc", "subject": "cus_1", "data": {"tokens": 5}}
    status, body = await post(running, "/api/v1/events", [good, good | {"id": "r-2", "data": {"tokens": -5}}])
    problem = orjson.loads(body)
    assert (status, problem["accepted"], problem["results"][0]["id"], problem["error"]["reason"]) == (400, 1, "r-2", "negative")
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert (await topic(kafka))[1] == []


async def test_what_litellm_would_lose_becomes_a_dead_letter(running: GatewayProcess, kafka: KafkaSettings) -> None:
    payload = recorded("litellm_logger")[0]
    nobody = payload | {"id": "c-2", "metadata": {}}
    broken = payload | {"id": "c-3", "prompt_tokens": "many"}
    status, body = await post(running, "/v1/from/litellm", [payload, nobody, broken])
    answer = orjson.loads(body)
    assert (status, answer["accepted"], answer["set_aside"], answer["left_out"]) == (202, 1, 2, 0)
    assert [(each["status"], each["field"]) for each in answer["results"]] == [("set_aside", "customer"), ("set_aside", "prompt_tokens")]
    batches, letters = await topic(kafka)
    assert quantities(batches, "input_tokens") == [10]
    assert sorted(why(letter) for letter in letters) == [("missing_field", "customer"), ("wrong_type", "usage.input_tokens")]
    assert 'outcome="set_aside"} 2.0' in running.metrics()


async def test_lines_are_taken_whatever_they_are_called(running: GatewayProcess) -> None:
    payload = recorded("litellm_logger")[0]
    lines = b"\n".join([orjson.dumps(payload), b"{no json", orjson.dumps(payload | {"endTime": payload["endTime"] + 1})])
    status, body = await post(running, "/v1/from/litellm", lines, Content_Type="application/json")
    assert (status, orjson.loads(body)["accepted"], orjson.loads(body)["set_aside"]) == (202, 2, 1)


async def test_a_key_sends_for_its_customers_only(kafka: KafkaSettings, tmp_path: Path) -> None:
    key, of_eu = create_key(tenant="acme", name="acme-1", customers=("cus_1",)), create_key(tenant="acme", name="acme-eu", sources=("eu",))
    (tmp_path / "keys.toml").write_text(key.entry + of_eu.entry)
    payload = recorded("litellm_logger")[0]
    with gateway(kafka, tmp_path / "gateway", meters=SETTINGS, api_keys_file=tmp_path / "keys.toml") as process:
        bearer = {"Authorization": f"Bearer {key.token}"}
        assert (await post(process, "/v1/from/litellm", payload))[0] == 401
        status, body = await post(process, "/v1/from/litellm", payload, **bearer)
        assert (status, orjson.loads(body)["results"][0]["reason"]) == (202, "customer_not_allowed")
        status, body = await post(process, "/v1/from/litellm", payload, Authorization=f"Bearer {of_eu.token}")
        assert (status, orjson.loads(body)["results"][0]["reason"]) == (202, "source_not_allowed")
        event = {"specversion": "1.0", "type": "prompt", "id": "r-1", "source": "svc", "subject": "cus_2", "data": {"tokens": 5}}
        assert (await post(process, "/api/v1/events", event, **bearer))[0] == 403
    batches, letters = await topic(kafka)
    assert quantities(batches, "input_tokens") == []
    assert [why(letter) for letter in letters] == [("missing_field", "customer")] * 2
    of_customer, of_source = sorted((letter["dimensions"] for letter in letters), key=len)
    assert of_customer["customer_not_allowed"] == "cus_team"
    assert (of_source["source_not_allowed"], of_source["customer"]) == ("litellm", "cus_team")


async def test_the_openmeter_sdk(running: GatewayProcess, kafka: KafkaSettings) -> None:
    script = """
import os, uuid
from datetime import datetime, timezone
from corehttp.exceptions import HttpResponseError
from openmeter import Client

def event(**data):
    moment = datetime.now(timezone.utc).isoformat()
    return {"id": str(uuid.uuid4()), "source": "svc", "specversion": "1.0", "type": "prompt", "subject": "cus_9", "time": moment, "data": data}

client = Client(endpoint=os.environ["GATEWAY"], token="none")
client.events.ingest_event(event(tokens="123456", model="gpt"))
client.events.ingest_events([event(tokens=5), event(tokens=7)])
try:
    client.events.ingest_event(event(tokens=-1))
except HttpResponseError as error:
    print(error.status_code)
"""
    assert ran(script, running, "openmeter") == "400\n"
    assert quantities((await topic(kafka))[0], "tokens") == [5, 7, 123456]


async def test_the_cloudevents_sdk(running: GatewayProcess, kafka: KafkaSettings) -> None:
    script = """
import os, urllib.request
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent

for number, to in enumerate((to_binary, to_structured)):
    event = CloudEvent({"type": "prompt", "source": "svc", "subject": "cus_1", "id": f"r-{number}"}, {"tokens": number + 1})
    headers, body = to(event)
    request = urllib.request.Request(os.environ["GATEWAY"] + "/api/v1/events", data=body, headers=headers)
    print(urllib.request.urlopen(request).status)
"""
    assert ran(script, running, "cloudevents.http") == "204\n204\n"
    assert quantities((await topic(kafka))[0], "tokens") == [1, 2]


LITELLM: Final = """
import asyncio, litellm

litellm.callbacks = [CALLBACK]
WHO = {"user_api_key_team_id": "cus_team"}
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "user": "cus_user", "metadata": WHO}

async def main():
    await litellm.acompletion(**ASKED, mock_response="hello there")
    async for chunk in await litellm.acompletion(**ASKED, mock_response="hello there", stream=True):
        pass
    try:
        await litellm.acompletion(**ASKED, mock_response=Exception("no"))
    except Exception:
        pass
    await asyncio.sleep(1)
    for logger in litellm.logging_callback_manager.get_custom_loggers_for_type(litellm.integrations.custom_logger.CustomLogger):
        if hasattr(logger, "flush_queue"):
            await logger.flush_queue()
    await asyncio.sleep(1)

asyncio.run(main())
"""


@pytest.mark.parametrize("callback", ["openmeter", "generic_api"])
async def test_litellm_with_two_environment_variables(running: GatewayProcess, kafka: KafkaSettings, callback: str) -> None:
    """A completion, a stream and a failure."""
    environ = {
        "OPENMETER_API_ENDPOINT": url(running, ""),
        "OPENMETER_API_KEY": "none",
        "GENERIC_LOGGER_ENDPOINT": url(running, "/v1/from/litellm"),
        "GENERIC_LOGGER_HEADERS": "Authorization=Bearer none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    ran(LITELLM.replace("CALLBACK", repr(callback)), running, "litellm", **environ)
    batches, letters = await topic(kafka)
    assert {customer for batch in batches for customer in batch.customers} == {"cus_user" if callback == "openmeter" else "cus_team"}
    assert (len(quantities(batches, "input_tokens")), letters) == (2, [])
    assert min(quantities(batches, "output_tokens")) > 0


OTLP: Final = """
import os
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

class Twice(OTLPSpanExporter):
    def export(self, spans):
        results = [super(Twice, self).export(spans) for _ in range(2)]
        print(*(result.name for result in results))
        return results[0]

compression = Compression.Gzip if os.environ["GZIP"] == "yes" else Compression.NoCompression
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Twice(endpoint=os.environ["GATEWAY"] + "/v1/traces", compression=compression)))
tracer = provider.get_tracer("test")
USAGE = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 64, "enduser.id": "cus_1"}
with tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent", **USAGE}):
    for number in range(3):
        with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", **USAGE}) as span:
            span.add_event("prompt", {"text": "not read"})
provider.shutdown()
"""


@pytest.mark.parametrize("packed", ["yes", "no"])
async def test_the_opentelemetry_exporter(running: GatewayProcess, kafka: KafkaSettings, packed: str) -> None:
    """Every span is sent twice, as after an answer that was lost: it has the same identity, so it counts once."""
    assert ran(OTLP, running, "opentelemetry.exporter.otlp.proto.http", GZIP=packed) == "SUCCESS SUCCESS\n"
    batches, letters = await topic(kafka)
    assert (quantities(batches, "input_tokens"), letters) == ([36] * 6, [])
    ids = {batch.ids[place : place + 16] for batch in batches for place in range(0, len(batch.ids), 16)}
    assert len(ids) == 3


async def test_otlp_in_json_and_what_is_refused_of_it(running: GatewayProcess, kafka: KafkaSettings) -> None:
    attributes = [{"key": "enduser.id", "value": {"stringValue": "cus_1"}}, {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "5"}}]
    spans = [{"traceId": "ab" * 16, "spanId": "cd" * 8, "attributes": attributes}, {"traceId": "ab" * 16, "spanId": "ef" * 8}]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    status, answer = await post(running, "/strict", body, Content_Type="application/json")
    partial = orjson.loads(answer)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "1")
    assert "gen_ai.usage.input_tokens" in partial["errorMessage"]
    assert quantities((await topic(kafka))[0], "tokens") == [5]
    assert await post(running, "/strict", {"resourceSpans": []}, Content_Type="application/json") == (200, b"{}")
    status, answer = await post(running, "/strict", b"\x0a\xff", Content_Type="application/x-protobuf")
    assert (status, orjson.loads(answer)["error"]["reason"]) == (400, "malformed_protobuf")


def test_a_bad_mapping_is_reported_at_start_with_everything_else(tmp_path: Path) -> None:
    file = tmp_path / "taximeter.toml"
    bad = '[[mappings]]\npreset = "litelm"\n\n[[mappings]]\nname = "m"\npath = "/v1/events"\nusage.n = 1.5\n\n[gateway]\nport = -1\n'
    file.write_text(f"{SETTINGS}\n{bad}")
    found = subprocess.run([sys.executable, "-m", "ingest", "--config", str(file), "--check-config"], capture_output=True, text=True, check=False)
    assert found.returncode == 3
    for problem in ("there is no preset 'litelm'", "mappings[6].usage.n:", "mappings[6].id:", "port"):
        assert problem in found.stderr, found.stderr
