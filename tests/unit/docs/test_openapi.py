"""docs/openapi.yaml says what the gateway, the admin port and the webhook endpoint answer: each status and reason, no more and no fewer."""

import ast
import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import aiohttp
import orjson
import pytest
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire import event
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.emitter_names import emitter_name
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.partitioner import partition_of

from console.serving.console_server import USAGE_PATH
from ingest.admission.api_keys import ApiKeys
from ingest.admission.byte_budget import ByteBudget
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.refusals import OF_KEYS, Refusal, RequestRefused
from ingest.requests import batch_bodies, bodies, event_age
from ingest.requests.answers import refused
from ingest.requests.batches_handler import BatchesHandler
from ingest.requests.bodies import MEDIA_TYPES, BodyReader
from ingest.requests.gate import RequestGate
from ingest.requests.handler import EventsHandler
from ingest.requests.intake import EventIntake
from ingest.requests.server import BATCHES_PATH, EVENTS_PATH, GatewayServer
from metering.configuration.key_file import create_key, parse_keys
from metering.process import admin
from metering.process.admin import AdminServer
from metering.process.connections import Fault
from metering.process.health import Health
from metering.process.listener import ListenAddress, ListenerLimits
from metering.process.status_page import StatusPage
from metering.records import batch_decoding
from metering.records.meters import Catalogue, Meter
from metering.stripe import signatures
from metering.stripe.signatures import WebhookEvent
from reporter.webhooks import webhook_server
from reporter.webhooks.webhook_intake import IntakeVerdict
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.manual_clock import ManualClock
from tests.support.openapi import answer_faults, document, official_schema, resolved, response_of, schema_faults
from tests.support.reporter_webhook_server import Receiver, serving, signed
from tests.support.waiting import until_async

GATEWAY: Final = EVENTS_PATH
BATCHES: Final = BATCHES_PATH
OF_BATCHES: Final = {Refusal.FOREIGN_EMITTER, Refusal.NO_EMITTER_SECRET, Refusal.TOO_MANY_EMITTERS}
OF_MAPPINGS: Final = {Refusal.MALFORMED_PROTOBUF}
MAPPED: Final = ("/api/v1/events", "/v1/from/{sender}", "/v1/traces")
WEBHOOKS: Final = webhook_server.WEBHOOKS_PATH
PROBES: Final = ("/livez", "/readyz", "/startupz")


def test_the_document_is_valid_openapi_and_its_examples_are_valid() -> None:
    assert [error.message for error in Draft202012Validator(official_schema()).iter_errors(document())] == []
    found = list(operations())
    assert len({operation["operationId"] for _, _, operation in found}) == len(found)
    for _, _, operation in found:
        for holder in (operation.get("requestBody", {}), *map(resolved, operation["responses"].values())):
            for media_type in holder.get("content", {}).values():
                values = [example["value"] for example in media_type.get("examples", {}).values()]
                for value in [*values, media_type["example"]] if "example" in media_type else values:
                    assert schema_faults(media_type["schema"], value) == []


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in document()["paths"].items():
        for method in item.keys() & {"get", "post"}:
            yield path, method, item[method]


def test_paths_and_media_types_are_the_code_s() -> None:
    served = set(re.findall(r'add_get\("(/\w+)"', source(admin)))
    own = {(GATEWAY, "post"), (BATCHES, "get"), (BATCHES, "post"), (WEBHOOKS, "post"), (USAGE_PATH, "get"), *((path, "post") for path in MAPPED)}
    assert {(path, method) for path, method, _ in operations()} == own | {(path, "get") for path in served}
    assert tuple(document()["paths"][GATEWAY]["post"]["requestBody"]["content"]) == MEDIA_TYPES


def source(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text()


def reasons_named_in(*modules: ModuleType) -> set[str]:
    """The values of the members of Reason that these modules name."""
    named = (node for module in modules for node in ast.walk(ast.parse(source(module))) if isinstance(node, ast.Attribute))
    return {Reason[node.attr].value for node in named if isinstance(node.value, ast.Name) and node.value.id == "Reason"}


def enums_in(found: Any) -> set[str]:
    """Every value of every enumeration in a schema, with what it refers to."""
    if isinstance(found, list):
        return set().union(*map(enums_in, found))
    if not isinstance(found, dict):
        return set()
    if "$ref" in found:
        return enums_in(resolved(found))
    return set(found.get("enum", ())).union(*map(enums_in, found.values()))


def test_the_gateway_s_statuses_and_reasons_are_the_code_s() -> None:
    of_events = reasons_named_in(event, bodies, event_age)
    assert set(document()["components"]["schemas"]["EventReason"]["enum"]) == of_events
    assert enums_in(document()["components"]["schemas"]["Result"]["properties"]["reason"]) == of_events | OF_KEYS | {Refusal.OUTCOME_UNKNOWN.reason}
    responses = document()["paths"][GATEWAY]["post"]["responses"]
    assert set(responses) == {"202", "207", *(str(refusal.status) for refusal in Refusal)}
    for status in responses.keys() - {"202", "207"}:
        wanted = {refusal.reason for refusal in Refusal if refusal.status == int(status) and refusal not in OF_BATCHES | OF_MAPPINGS}
        if status == "400":  # all were rejected; one of several for its customer
            wanted |= of_events | OF_KEYS
        (media_type,) = responses[status]["content"].values()
        narrowed = media_type["schema"]["allOf"][1]["properties"]["error"]["properties"]["reason"]
        assert enums_in(narrowed) == wanted, status
        assert ("Retry-After" in responses[status].get("headers", {})) == (status in {"429", "503"})


@pytest.mark.parametrize("refusal", Refusal)
def test_each_refusal_of_a_request_is_answered_as_the_document_says(refusal: Refusal) -> None:
    if refusal in {Refusal.FORBIDDEN, Refusal.FOREIGN_EMITTER}:
        return  # of events or batches, never of a request
    paths = [(GATEWAY, ("POST",)), (BATCHES, ("GET", "POST"))]
    if refusal is Refusal.SOURCE_NOT_ALLOWED:
        paths = paths[1:]  # at the other one it is of events
    retry_after = 2.0 if refusal.status in {429, 503} else None
    for path, allowed in paths:
        methods = allowed if refusal is Refusal.METHOD_NOT_ALLOWED else ()
        answer = refused(RequestRefused(refusal, "why", field="header", retry_after=retry_after, allowed=methods))
        assert isinstance(answer.body, bytes)
        if refusal not in OF_MAPPINGS and (path == BATCHES or refusal not in OF_BATCHES):
            assert answer_faults(path, "post", answer.status, answer.headers, answer.body) == []


class Client:
    """Posts to a gateway whose Kafka is in memory, and checks each answer by the document."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def post(self, body: Any, *, method: str = "POST", path: str = GATEWAY, **headers: str) -> tuple[int, str]:
        """The status, and the reason of the error."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession() as session, session.request(method, self._url + path, data=raw, headers=sent) as answer:
            received = await answer.read()
            documented = BATCHES if path == BATCHES else GATEWAY
            assert answer_faults(documented, "post", answer.status, answer.headers, received) == []
            return answer.status, orjson.loads(received).get("error", {}).get("reason", "")

    async def get_batches(self, **headers: str) -> Any:
        """What an emitter is told before it sends."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession() as session, session.get(self._url + BATCHES, headers=sent) as answer:
            received = await answer.read()
            assert answer_faults(BATCHES, "get", answer.status, answer.headers, received) == []
            return orjson.loads(received)


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the publisher waits when nothing happens, and for the acknowledgement of its last words."""
    monkeypatch.setattr("ingest.publishing.publisher._TURN_SECONDS", 0.02)
    monkeypatch.setattr("ingest.publishing.publisher._HEARTBEAT_WAIT_SECONDS", 0.05)


@asynccontextmanager
async def gateway(kafka: FakeKafka, keys: ApiKeys | None = None, room: int = 10**6, read_seconds: float = 20.0) -> AsyncIterator[Client]:
    metrics, clock, budget = GatewayMetrics.create(CollectorRegistry()), SystemClock(), ByteBudget(room)
    publisher = Publisher(
        Batcher("gateway", events_max=50),
        new_producer=kafka.new_producer,
        budget=budget,
        metrics=metrics,
        linger_seconds=0.001,
        acknowledge_seconds=0.2 if kafka.is_silent else 20.0,
        heartbeat_seconds=60.0,
        clock=clock,
    )
    gate = RequestGate(keys=keys, budget=budget, publisher=publisher, metrics=metrics, body_bytes_max=10_000, read_seconds=read_seconds, clock=clock)
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=5)
    events = EventsHandler(gate, reader=reader, intake=EventIntake(gate, publisher, metrics), clock=clock)
    batches = BatchesHandler(gate, publisher=publisher, metrics=metrics, clock=clock)
    running = asyncio.create_task(publisher.run())
    if not kafka.is_away:
        await until_async(lambda: publisher.problem() is None)
    server = GatewayServer(
        {EVENTS_PATH: {"POST": events.post}, BATCHES_PATH: {"GET": batches.get, "POST": batches.post}},
        ListenAddress(host="127.0.0.1", port=0),
        ListenerLimits(finish_seconds=1.0),
        metrics=metrics,
        clock=clock,
    )
    await server.start()
    try:
        yield Client(f"http://127.0.0.1:{server.port}")
    finally:
        await server.stop()
        await publisher.close(1.0)
        await running


GOOD: Final = {"id": "r-1", "customer": "cus_1", "usage": {"n": 1}}
BAD: Final = {"id": "r-2", "customer": "cus_1", "usage": {"n": -1}}
CLOUD: Final = {"specversion": "1.0", "type": "t", "source": "s", "id": "r-1", "subject": "cus_1", "data": {"usage": {"n": 1}}}
BINARY: Final = {"ce_specversion": "1.0", "ce_type": "t", "ce_source": "s", "ce_id": "r-1", "ce_subject": "cus_1"}


async def test_what_the_gateway_answers_to_events_is_as_the_document_says() -> None:
    async with gateway(FakeKafka()) as client:
        for taken in (GOOD, [GOOD, CLOUD], CLOUD):
            assert await client.post(taken) == (202, "")
        assert await client.post(b"\n".join(map(orjson.dumps, (GOOD, CLOUD))), Content_Type="application/x-ndjson") == (202, "")
        assert await client.post(CLOUD, Content_Type="application/cloudevents+json") == (202, "")
        assert await client.post([CLOUD], Content_Type="application/cloudevents-batch+json") == (202, "")
        assert await client.post({"usage": {"n": 1}}, **BINARY) == (202, "")
        assert await client.post([GOOD, BAD]) == (207, "")
        assert await client.post([BAD, {}, 7]) == (400, "negative")
        assert await client.post({"usage": {}}, **BINARY) == (400, "missing_field")


async def test_what_the_gateway_answers_to_requests_that_it_refuses_is_as_the_document_says() -> None:
    async with gateway(FakeKafka()) as client:
        assert await client.post(b"{") == (400, "malformed_json")
        assert await client.post([]) == (400, "no_events")
        assert await client.post(CLOUD, Content_Type="application/cloudevents-batch+json") == (400, "not_an_array")
        assert await client.post(GOOD, Taximeter_Priority="high") == (400, "unknown_header")
        assert await client.post(GOOD, path="/v2/events") == (404, "not_found")
        assert await client.post(GOOD, method="PUT") == (405, "method_not_allowed")
        assert await client.post([GOOD] * 6) == (413, "too_many_events")
        assert await client.post(b" " * 10_001) == (413, "body_too_large")
        assert await client.post(GOOD, Content_Type="text/plain") == (415, "unsupported_media_type")
        assert await client.post(GOOD, Content_Encoding="br") == (415, "unsupported_content_encoding")
    async with gateway(FakeKafka(), room=10) as client:
        assert await client.post(GOOD) == (503, "overloaded")
    async with gateway(FakeKafka(is_away=True)) as client:
        assert await client.post(GOOD) == (503, "kafka_unavailable")
    async with gateway(FakeKafka(is_silent=True)) as client:
        assert await client.post([GOOD, BAD]) == (503, "outcome_unknown")


async def test_what_the_gateway_answers_about_keys_is_as_the_document_says() -> None:
    bound, slow = create_key(tenant="a", customers=("cus_1",)), create_key(tenant="b", events_per_second=1)
    of_eu, past = create_key(tenant="a", sources=("eu",)), create_key(tenant="b", name="old", expires_ms=1_000)
    assert re.fullmatch(r"tmk_[0-9a-f]{12}_[0-9a-f]{64}", bound.token)
    theirs, other = {"Authorization": f"Bearer {bound.token}"}, GOOD | {"customer": "cus_2"}
    async with gateway(FakeKafka(), ApiKeys(parse_keys(bound.entry + slow.entry + of_eu.entry + past.entry))) as client:
        assert await client.post(GOOD) == (401, "unauthorized")
        assert await client.post(other, **theirs) == (403, "customer_not_allowed")
        assert await client.post([other, BAD], **theirs) == (400, "customer_not_allowed")
        assert await client.post([GOOD, other], **theirs) == (207, "")
        answers = [await client.post([GOOD] * 5, Authorization=f"Bearer {slow.token}") for _ in range(2)]
        assert answers[-1] == (429, "rate_limited")
        assert await client.post(GOOD, Authorization=f"Bearer {past.token}") == (401, "key_expired")
        eu, other = {"Authorization": f"Bearer {of_eu.token}"}, GOOD | {"source": "us"}
        assert await client.post(GOOD | {"source": "eu"}, **eu) == (202, "")
        assert await client.post(other, **eu) == (403, "source_not_allowed")
        assert await client.post([GOOD | {"source": "eu"}, other, BAD], **eu) == (207, "")
        assert await client.post({name: value for name, value in GOOD.items() if name != "source"}, **eu) == (403, "source_not_allowed")


def test_the_reasons_of_batches_are_the_code_s() -> None:
    found = set(document()["components"]["schemas"]["BatchReason"]["enum"])
    assert found >= reasons_named_in(batch_bodies, batch_decoding) | {refusal.reason for refusal in (Refusal.FORBIDDEN, Refusal.FOREIGN_EMITTER)}
    assert found <= reasons_named_in(batch_bodies, batch_decoding, event) | {
        *(refusal.reason for refusal in (Refusal.FORBIDDEN, Refusal.FOREIGN_EMITTER, Refusal.OUTCOME_UNKNOWN, Refusal.TOO_MANY_EVENTS))
    }
    statuses = document()["paths"][BATCHES]["post"]["responses"].keys()
    assert statuses == {"202", "207", *(str(refusal.status) for refusal in Refusal)}


async def test_what_the_gateway_answers_to_batches_is_as_the_document_says(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, key = "5" * 32, create_key(tenant="a", customers=("cus_1",), sources=("inference/eu 1",))
    good = encode_batch(Batch(emitter_name(secret), partition_of("cus_1", 4), 0, 1, ["cus_1"], [()], [0], [0], 1_000, [0], {"n": [1]}))
    last = encode_batch(Batch(emitter_name(secret), 3, 1, 0, final=True))
    headers = {
        "Taximeter_Source": "inference/eu%201",
        "Taximeter_Emitter_Secret": secret,
        "Authorization": f"Bearer {key.token}",
        "Content_Type": "application/x-ndjson",
    }

    async def post(client: Client, *lines: bytes, **other: str) -> tuple[int, str]:
        return await client.post(b"\n".join(lines), path=BATCHES, **headers | other)

    kafka = FakeKafka()
    async with gateway(kafka, ApiKeys(parse_keys(key.entry), new_emitters_per_day=2)) as client:
        assert await client.get_batches(**headers) == {"partitions": 4, "batches_max": 64, "body_bytes_max": 10_000}
        assert await post(client, good, last) == (202, "")
        assert [value for _, value in kafka.log] == [good, last]
        assert await post(client, good, b"{}") == (207, "")
        assert await post(client, b"{}", b"[") == (400, "bad_batch")
        assert await post(client, good.replace(b"cus_1", b"cus_5")) == (403, "customer_not_allowed")
        assert await post(client, good, Taximeter_Emitter_Secret="6" * 32) == (403, "foreign_emitter")
        assert await post(client, good, Taximeter_Source="inference/us") == (403, "source_not_allowed")
        assert await post(client, good, Taximeter_Emitter_Secret="6") == (400, "no_emitter_secret")
        assert await post(client, good, Authorization="Bearer tmk_wrong") == (401, "unauthorized")
        assert await post(client, good, Content_Type="application/json") == (415, "unsupported_media_type")
        assert await post(client, b"") == (400, "no_events")
        assert await post(client, *[b"{}"] * 65) == (413, "too_many_events")
        assert await client.post(good, path=BATCHES, method="PUT") == (405, "method_not_allowed")
        assert await post(client, gzip.compress(good), Content_Encoding="gzip") == (202, "")
    async with gateway(FakeKafka(is_away=True)) as client:
        assert await post(client, good) == (503, "kafka_unavailable")
    monkeypatch.setattr("ingest.requests.batches_handler.ACKNOWLEDGED_WITHIN_SECONDS", 0.05)
    async with gateway(FakeKafka(silent_partitions={partition_of("cus_1", 4)})) as client:
        assert await post(client, good, b"{}", last) == (503, "outcome_unknown")


async def test_what_the_admin_port_answers_is_as_the_document_says() -> None:
    clock = ManualClock()
    health = Health(clock)
    server = AdminServer(ListenAddress(host="127.0.0.1", port=0), registry=CollectorRegistry(), health=health, status=StatusPage())
    await server.start()

    async def get(path: str, accept: str = "*/*") -> int:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept}) as answer:
            assert answer_faults(path, "get", answer.status, answer.headers, await answer.read()) == []
            return answer.status

    try:
        clock.advance(60)
        assert [await get(path) for path in PROBES] == [503, 503, 503]
        health.beat()
        health.mark_started()
        assert [await get(path) for path in PROBES] == [200, 200, 200]
        for accept in response_of("/metrics", "get", 200)["content"]:
            assert await get("/metrics", f"{accept}; version=1.0.0") == 200
        assert await get("/status") == 200
    finally:
        await server.stop()


def test_the_webhook_port_s_statuses_and_reasons_are_the_code_s() -> None:
    reasons = set(re.findall(r'WebhookRefused\(\s*"(\w+)"', source(signatures) + source(webhook_server))) | webhook_server._STATUSES.keys()
    responses = document()["paths"][WEBHOOKS]["post"]["responses"]
    found = {(int(status), reason) for status, answer in responses.items() for reason in enums_in(answer["content"]["application/json"]["schema"])}
    faults = {(fault.status, "failed" if fault is Fault.CRASHED else fault.reason) for fault in Fault}
    assert found == faults | {
        *((int(webhook_server._STATUSES.get(reason, 400)), reason) for reason in reasons),
        *((200 if admission is not IntakeVerdict.QUEUE_FULL else 503, admission.value) for admission in IntakeVerdict),
    }


def answering(admission: IntakeVerdict) -> Callable[[WebhookEvent], IntakeVerdict]:
    return lambda _: admission


async def test_what_the_webhook_port_answers_is_as_the_document_says() -> None:
    receiver, body = Receiver(), orjson.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "livemode": False})

    async def post(url: str, raw: bytes, headers: dict[str, str], method: str = "POST") -> int:
        async with aiohttp.ClientSession() as session, session.request(method, url, data=raw, headers=headers) as answer:
            assert answer_faults(WEBHOOKS, "post", answer.status, answer.headers, await answer.read()) == []
            return answer.status

    async with serving(receiver) as url:
        for admission in IntakeVerdict:
            receiver.answer = answering(admission)
            assert await post(url + WEBHOOKS, body, signed(body)) == (503 if admission is IntakeVerdict.QUEUE_FULL else 200)
        assert await post(url + WEBHOOKS, body, {}) == 400
        assert await post(url + WEBHOOKS, b"[]", signed(b"[]")) == 400
        assert await post(url + WEBHOOKS, body + b" " * 10_000, signed(body)) == 413
        assert await post(url + "/elsewhere", body, signed(body)) == 404
        assert await post(url + WEBHOOKS, b"", {}, "GET") == 405
        receiver.answer = lambda _: IntakeVerdict("planned")
        assert await post(url + WEBHOOKS, body, signed(body)) == 500
    async with serving(receiver, read_seconds=0.05) as url:

        async def endless() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(30)

        async with aiohttp.ClientSession() as session, session.post(url + WEBHOOKS, data=endless()) as answer:
            assert answer_faults(WEBHOOKS, "post", answer.status, answer.headers, await answer.read()) == []
            assert answer.status == 408
