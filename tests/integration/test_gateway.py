"""The gateway as a process, with real HTTP and a real broker."""

import asyncio
import gzip
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import fingerprint

from metering.configuration.key_file import create_key
from metering.kafka.clients import KafkaSettings
from tests.support.broker import RunningBroker
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.gateway_process import METERS, GatewayProcess, environment, gateway
from tests.support.gateway_requests import JSON, event, post
from tests.support.usage_topic import read_events_topic, settings_for
from tests.support.waiting import until, until_async

pytestmark = pytest.mark.broker

BODY_BYTES_MAX = 100_000
TRIES = 30


@pytest.fixture(scope="module")
def kafka(broker: str) -> KafkaSettings:
    return settings_for(broker)


@pytest.fixture(scope="module")
def running(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway for the tests that leave it as it was."""
    options: dict[str, Any] = {"body_bytes_max": BODY_BYTES_MAX, "events_max": 50, "read_seconds": 1.0}
    with gateway(kafka, tmp_path_factory.mktemp("gateway"), **options) as process:
        yield process


def ids_in(batches: list[Batch]) -> set[bytes]:
    return {batch.ids[start : start + 16] for batch in batches for start in range(0, len(batch.ids), 16)}


async def test_202_means_that_the_events_are_in_the_topic(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    cloud = {"specversion": "1.0", "type": "t", "source": "test", "id": "r-3", "subject": "cus_3", "data": {"usage": {"n": 3}}}
    binary = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "test", "ce-id": "r-5", "ce-subject": "cus_5"}
    with gateway(kafka, tmp_path) as process:
        requests: list[tuple[bytes, dict[str, str]]] = [
            (orjson.dumps(event(0)), {}),
            (orjson.dumps([event(1), event(2)]), {}),
            (orjson.dumps(cloud), {"Content-Type": "application/cloudevents+json"}),
            (orjson.dumps([cloud | {"id": "r-4", "data": {"usage": {"n": 4}}}]), {"Content-Type": "application/cloudevents-batch+json"}),
            (orjson.dumps({"usage": {"n": 5}}), binary),
            (b"\n".join(orjson.dumps(event(number)) for number in (6, 7, 8)), {"Content-Type": "application/x-ndjson"}),
        ]
        accepted = 0
        for body, headers in requests:
            status, answer, _ = await post(process.url, body, headers)
            assert status == 202, answer
            assert answer["rejected"] == answer["unknown"] == 0
            accepted += answer["accepted"]
            # At once, without waiting for anything: that is what 202 says.
            assert quantities(batches_of(await read_events_topic(kafka))) == list(range(accepted))
        status, answer, _ = await post(process.url, gzip.compress(orjson.dumps(event(9))), {"Content-Encoding": "gzip"})
        assert (status, answer["accepted"]) == (202, 1)
        accepted += 1
        assert accepted == 10
        assert process.terminate() == 0
    batches = batches_of(await read_events_topic(kafka))
    assert ids_in(batches) == {fingerprint("test", f"r-{number}") for number in range(10)}
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 10


async def test_good_events_of_a_mixed_request_are_taken_and_the_bad_ones_named(running: GatewayProcess) -> None:
    body = orjson.dumps([event(1), event(2, usage={"n": -1}), event(3), event(4, customer=None)])
    status, answer, _ = await post(running.url, body)
    assert (status, answer["accepted"], answer["rejected"]) == (207, 2, 2)
    assert [(result["index"], result["id"], result["reason"]) for result in answer["results"]] == [(1, "r-2", "negative"), (3, "r-4", "null_value")]
    status, answer, _ = await post(running.url, orjson.dumps([event(2, usage={"n": 1.5})]))
    assert (status, answer["accepted"], answer["error"]["reason"], answer["error"]["field"]) == (400, 0, "not_an_integer", "usage.n")


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{", {}, 400, "malformed_json"),
        (b"[" * 10_000, {}, 400, "malformed_json"),
        (b"[]", {}, 400, "no_events"),
        (orjson.dumps(event(1, usage={"unknown": 1})), {}, 400, "unknown_usage_field"),
        (orjson.dumps(event(1)), {"Taximeter-Priority": "high"}, 400, "unknown_header"),
        (orjson.dumps([event(number) for number in range(51)]), {}, 413, "too_many_events"),
        (b" " * (BODY_BYTES_MAX + 1), {}, 413, "body_too_large"),
        (orjson.dumps(event(1)), {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (orjson.dumps(event(1)), {"Content-Encoding": "zstd"}, 415, "unsupported_content_encoding"),
        (orjson.dumps(event(1)), {"Content-Encoding": "gzip"}, 400, "malformed_content_encoding"),
        (gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, 413, "body_too_large"),
    ],
)
async def test_a_request_that_cannot_be_taken_is_refused_by_name(
    running: GatewayProcess, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    got, answer, _ = await post(running.url, body, headers)
    assert (got, answer["error"]["reason"]) == (status, reason)
    assert answer["accepted"] == 0
    # And nobody else notices.
    assert (await post(running.url, orjson.dumps(event(1))))[0] == 202


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(running: GatewayProcess) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield b" " * 10_000
            await asyncio.sleep(0)

    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(running.url, data=endless(), headers=JSON) as answer:
                assert answer.status == 413
        except aiohttp.ClientConnectionError:
            assert sent > BODY_BYTES_MAX


async def test_a_slow_body_is_given_up_and_does_not_hold_others_back(running: GatewayProcess) -> None:
    host, port = running.url.split("/")[2].split(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
    for _, writer in slow:
        writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    assert (await post(running.url, orjson.dumps(event(1))))[0] == 202
    for reader, writer in slow:
        assert b" 408 " in await reader.readline()
        writer.close()


async def test_a_broken_chunk_is_no_crash(running: GatewayProcess) -> None:
    host, port = running.url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nnot a chunk")
    assert b" 400 " in await reader.readline()
    writer.close()
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    writer.close()
    assert (await post(running.url, orjson.dumps(event(1))))[0] == 202
    assert "request crashed" not in running.log


async def test_other_paths_and_methods_get_an_answer_of_the_same_shape(running: GatewayProcess) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(running.url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
            assert orjson.loads(await answer.read())["error"]["reason"] == "method_not_allowed"
        async with session.post(running.url + "/more") as answer:
            assert orjson.loads(await answer.read())["error"]["reason"] == "not_found"


async def test_each_answer_names_its_request(running: GatewayProcess) -> None:
    for body, status in ((orjson.dumps(event(1)), 202), (b"{", 400), (orjson.dumps([event(1), {}]), 207)):
        got, answer, headers = await post(running.url, body, {"X-Request-Id": "mine-1"})
        assert (got, headers["X-Request-Id"], headers["Server"]) == (status, "mine-1", "taximeter")
        assert answer.get("instance", "urn:taximeter:request:mine-1") == "urn:taximeter:request:mine-1"
    _, _, headers = await post(running.url, b"{", {"X-Request-Id": "not {one}"})
    assert headers["X-Request-Id"] not in {"", "not {one}"}


async def test_what_was_done_is_counted(running: GatewayProcess) -> None:
    await post(running.url, orjson.dumps([event(1), event(2, usage={})]))
    metrics = running.metrics()
    assert "taximeter_gateway_connected 1.0" in metrics
    assert 'taximeter_gateway_http_requests_total{code="207"}' in metrics
    assert "taximeter_gateway_in_flight_bytes 0.0" in metrics


async def test_keys_say_who_may_send_for_whom_and_how_much(broker: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    everybody, bound, slow = create_key(tenant="a"), create_key(tenant="b", customers=("cus_1",)), create_key(tenant="c", events_per_second=2)
    keys.write_text(everybody.entry + bound.entry + slow.entry)
    with gateway(settings_for(broker), tmp_path / "gateway", api_keys_file=keys) as process:

        async def send(token: str, *events: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
            status, answer, headers = await post(process.url, orjson.dumps(list(events)), {"Authorization": f"Bearer {token}"} if token else {})
            return status, answer.get("error", {}).get("reason", ""), headers

        assert (await send(everybody.token, event(1), event(2)))[:2] == (202, "")
        assert (await send(bound.token, event(1)))[:2] == (202, "")
        assert (await send(bound.token, event(2)))[:2] == (403, "customer_not_allowed")
        assert (await send(bound.token, event(1), event(2)))[:2] == (207, "")
        status, reason, headers = await send("", event(1))
        assert (status, reason, headers["Www-Authenticate"][:6]) == (401, "unauthorized", "Bearer")
        assert (await send(f"{everybody.token}0", event(1)))[0] == 401
        assert (await send(slow.token, *(event(number) for number in range(40))))[0] == 202
        status, reason, headers = await send(slow.token, event(1))
        assert (status, reason) == (429, "rate_limited")
        assert int(headers["Retry-After"]) >= 1
        # A revoked key stops working without a restart.
        keys.write_text(bound.entry)
        gone = False
        for _ in range(300):
            gone = (await send(everybody.token, event(1)))[0] == 401
            if gone:
                break
            await asyncio.sleep(0.1)
        assert gone
        secret = everybody.token.split("_")[2]
        assert secret not in process.log
        assert secret not in process.metrics()


@asynccontextmanager
async def load(url: str, accepted: set[int], statuses: list[int], *, stopped: asyncio.Event) -> AsyncIterator[None]:
    """Clients that send until told to stop, and note what was answered with 202. A refused connection is an answer, too."""
    numbers = iter(range(10**9))

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while not stopped.is_set():
                mine = [next(numbers) for _ in range(5)]
                try:
                    async with session.post(url, data=orjson.dumps([event(number) for number in mine]), headers=JSON) as answer:
                        statuses.append(answer.status)
                        if answer.status == 202:
                            accepted.update(mine)
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)

    clients = [asyncio.create_task(client()) for _ in range(8)]
    try:
        yield
    finally:
        stopped.set()
        await asyncio.gather(*clients)


async def test_sigterm_under_load_finishes_every_request_and_says_the_last_word(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    accepted: set[int] = set()
    statuses: list[int] = []
    with gateway(kafka, tmp_path, pre_stop_seconds=0.5) as process:
        async with load(process.url, accepted, statuses, stopped=asyncio.Event()):
            await until_async(lambda: len(accepted) > 500)
            assert await asyncio.to_thread(process.terminate) == 0
    batches = batches_of(await read_events_topic(kafka))
    assert set(statuses) == {202}
    assert set(quantities(batches)) >= accepted
    assert gaps(batches) == {}
    assert finals(batches)
    assert sum(finals(batches).values()) == sum(batch.count for batch in batches)


async def test_what_was_answered_with_202_survives_a_kill_of_the_gateway(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    accepted: set[int] = set()
    with gateway(kafka, tmp_path) as process:
        async with load(process.url, accepted, [], stopped=asyncio.Event()):
            await until_async(lambda: len(accepted) > 500)
            process.process.kill()
            process.process.wait()
    assert set(quantities(batches_of(await read_events_topic(kafka)))) >= accepted


async def test_without_the_broker_requests_get_503_and_afterwards_the_same_ids_are_taken(running_broker: RunningBroker, tmp_path: Path) -> None:
    if running_broker.broker.name in {"external", "docker"}:
        pytest.skip("this broker is not ours to kill")
    kafka = settings_for(running_broker.bootstrap)
    with gateway(kafka, tmp_path, acknowledge_seconds=1.0) as process:
        body = orjson.dumps([event(number) for number in range(10)])
        assert (await post(process.url, body))[0] == 202
        running_broker.broker.kill()
        try:
            status, answer, headers = await post(process.url, body)
            assert (status, answer["accepted"]) == (503, 0)
            assert int(headers["Retry-After"]) >= 1
            until(lambda: process.probe("/readyz") == 503)
            assert process.probe("/livez") == 200
            status, answer, _ = await post(process.url, body)
            assert (status, answer["error"]["reason"]) == (503, "kafka_unavailable")
        finally:
            await asyncio.to_thread(running_broker.broker.restart)
        await asyncio.to_thread(until, lambda: process.probe("/readyz") == 200)
        # A broker that has just come back may still be too slow for the second that it is given: clients try again, with the same ids.
        for _ in range(TRIES):
            status, answer, _ = await post(process.url, body)
            if status != 503:
                break
        assert (status, answer["accepted"]) == (202, 10)
        assert process.terminate() == 0
    batches = batches_of(await read_events_topic(kafka))
    # The same ids, perhaps several times: that is for the aggregator. No others, and every missing number is named.
    assert ids_in(batches) == {fingerprint("test", f"r-{number}") for number in range(10)}
    named = {(batch.emitter, batch.partition): list(batch.abandoned) for batch in batches if batch.abandoned}
    assert all(pair in named.get(key, []) for key, pairs in gaps(batches).items() for pair in pairs)


def test_the_configuration_is_checked_before_anything_starts(kafka: KafkaSettings, tmp_path: Path) -> None:
    def check(**gateway_settings: str) -> subprocess.CompletedProcess[str]:
        environ = environment(kafka, {f"TAXIMETER_GATEWAY_{name.upper()}": value for name, value in gateway_settings.items()})
        command = [sys.executable, "-m", "ingest", "--check-config", "--config", str(tmp_path / "taximeter.toml")]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    (tmp_path / "taximeter.toml").write_text(METERS)
    assert check(anonymous="true").returncode == 0
    refused = check(port="99999", api_keys_file=str(tmp_path / "nowhere"))
    assert refused.returncode == 3
    assert "TAXIMETER_GATEWAY_PORT" in refused.stderr
    refused = check(api_keys_file=str(tmp_path / "nowhere"))
    assert "nowhere cannot be read" in refused.stderr
    assert "anonymous" in check().stderr


def test_sigterm_while_kafka_is_away_ends_the_start(kafka: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "taximeter.toml").write_text(METERS)
    environ = environment(kafka, {"TAXIMETER_GATEWAY_ANONYMOUS": "true", "TAXIMETER_GATEWAY_PORT": "0"})
    environ |= {"TAXIMETER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TAXIMETER_KAFKA_STARTUP_TIMEOUT_SECONDS": "300"}
    command = [sys.executable, "-m", "ingest", "--config", str(tmp_path / "taximeter.toml")]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Kafka is not ready yet" in line:
                break
        process.terminate()
        assert process.wait(60) == 0  # and not after the 300 s that it would wait for Kafka
        assert "Traceback" not in process.stderr.read()


async def test_keys_are_read_again_after_sighup(broker: str, tmp_path: Path) -> None:
    keys, key = tmp_path / "keys.toml", create_key(tenant="a")
    keys.write_text(key.entry)
    with gateway(settings_for(broker), tmp_path / "gateway", api_keys_file=keys) as process:
        process.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: "API keys were read again" in process.log)
        assert (await post(process.url, orjson.dumps(event(1)), {"Authorization": f"Bearer {key.token}"}))[0] == 202
        process.process.send_signal(signal.SIGTERM)
        assert process.terminate() == 0


def test_a_port_that_is_taken_is_a_refusal_to_start(kafka: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "taximeter.toml").write_text(METERS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = environment(kafka, {"TAXIMETER_GATEWAY_ANONYMOUS": "true", "TAXIMETER_GATEWAY_PORT": str(taken.getsockname()[1])})
        command = [sys.executable, "-m", "ingest", "--config", str(tmp_path / "taximeter.toml")]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 4
    assert "cannot listen on" in ended.stderr
