"""The gateway as a process, and clients that misbehave on its sockets."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest

from metering.kafka.clients import KafkaSettings
from tests.support.gateway_process import GatewayProcess, gateway
from tests.support.gateway_requests import event, post
from tests.support.usage_topic import settings_for
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CONNECTIONS = 300


@pytest.fixture(scope="module")
def kafka(broker: str) -> KafkaSettings:
    return settings_for(broker)


@pytest.fixture(scope="module")
def running(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    options: dict[str, Any] = {"connections_max": CONNECTIONS, "connections_per_address_max": 0, "read_seconds": 3.0}
    with gateway(kafka, tmp_path_factory.mktemp("gateway"), **options) as process:
        yield process


async def connect(process: GatewayProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = process.url.split("/")[2].split(":")
    return await asyncio.open_connection(host, int(port))


async def leave(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    connection[1].close()
    with suppress(ConnectionError):
        await connection[1].wait_closed()


def counted(process: GatewayProcess, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", process.metrics(), re.MULTILINE)
    assert found is not None, series
    return float(found[1])


@pytest.mark.parametrize("sent", [b"", HEAD + b"X-Half: ", HEAD + b"Content-Length: 100\r\n\r\n{"], ids=["nothing", "half a head", "half a body"])
async def test_more_slow_clients_than_connections_shut_nobody_out(running: GatewayProcess, sent: bytes) -> None:
    slow = [await connect(running) for _ in range(CONNECTIONS + 100)]
    for _, writer in slow:
        writer.write(sent)
    for number in range(20):
        assert (await post(running.url, orjson.dumps(event(number))))[0] == 202
    assert running.probe("/readyz") == 200
    assert counted(running, "taximeter_gateway_connections") <= CONNECTIONS
    assert counted(running, "taximeter_gateway_connections_limit") == CONNECTIONS
    assert counted(running, 'taximeter_gateway_connections_closed_total{reason="made_way"}') >= 100
    # And they are all given up in time.
    await until_async(lambda: counted(running, "taximeter_gateway_connections") == 0)
    for each in slow:
        await leave(each)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"garbage\r\n\r\n", 400, "malformed_head"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls_on_plain_port"),
        (b"GET /\r\n\r\n", 505, "unsupported_http_version"),
        (HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431, "head_too_large"),
        (HEAD + b"Content-Length: 1e3\r\n\r\n", 400, "malformed_head"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n", 400, "broken_body"),
        (HEAD + b"X-Half", 408, "slow_head"),
    ],
)
async def test_what_is_not_http_is_answered_in_json_and_counted(running: GatewayProcess, sent: bytes, status: int, reason: str) -> None:
    series = f'taximeter_gateway_requests_refused_total{{reason="{reason}"}}'
    before, lines = counted(running, series), running.log.count("\n")
    for _ in range(50):
        reader, writer = await connect(running)
        writer.write(sent)
        if reason == "slow_head" or _ == 0:
            async with asyncio.timeout(30):
                received = await reader.read()
            head, _, body = received.partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"\r\nServer: taximeter\r\n" in head + b"\r\n"
            assert (orjson.loads(body)["error"]["reason"], orjson.loads(body)["accepted"]) == (reason, 0)
        await leave((reader, writer))
        if reason == "slow_head":
            break
    await until_async(lambda: counted(running, series) > before)
    assert "Traceback" not in running.log
    assert running.log.count("\n") - lines < 10
    assert (await post(running.url, orjson.dumps(event(1))))[0] == 202


async def test_a_broken_chunk_after_the_head_gets_one_answer(running: GatewayProcess) -> None:
    reader, writer = await connect(running)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.2)
    writer.write(b"zzz\r\nnot a chunk")
    async with asyncio.timeout(30):
        received = await reader.read()
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"broken_body" in received
    await leave((reader, writer))
