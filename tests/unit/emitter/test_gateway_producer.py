"""Batches over HTTP, against a server that answers what it is told: what is acknowledged, sent again, waited for, and set aside."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.optional_parts import gateway_producers
from taximeter_emitter.transports.batch_producer import FAILURES, BatchProducer, BatchRefused, ProducerFailed
from taximeter_emitter.transports.gateway_options import GatewayOptions

from tests.support.scripted_gateway import ScriptedGateway, SentRequest, answer, result, scripted_gateway, taken

SECRET, KEY = "5" * 32, "tmk_0123456789ab_secret"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def opened(gateway: ScriptedGateway, **options: Any) -> AsyncIterator[BatchProducer]:
    chosen: dict[str, Any] = {"url": gateway.url, "api_key": KEY} | options
    producer = gateway_producers(GatewayOptions(**chosen), source="s", clock=SystemClock())()
    try:
        assert await producer.open() == 4
        yield producer
    finally:
        await producer.discard()


async def failure_of(gateway: ScriptedGateway, **options: Any) -> ProducerFailed:
    """How a producer fails that sends one batch."""
    with pytest.raises(ProducerFailed) as failed:
        async with opened(gateway, **options) as producer:
            await (await producer.append(0, b"batch", secret=SECRET))
    assert failed.value.reason in FAILURES
    assert KEY not in str(failed.value)
    assert SECRET not in str(failed.value)
    return failed.value


async def test_batches_arrive_in_the_order_of_each_partition_over_few_connections_that_are_kept() -> None:
    async with scripted_gateway() as gateway:
        async with opened(gateway) as producer:
            for _ in range(20):
                waiting = [await producer.append(number % 4, b"%d" % number, secret=SECRET) for number in range(40)]
                await asyncio.gather(*waiting)
        assert gateway.connections <= 4
        arrived = [batch for request in gateway.posted for batch in request.batches]
        for partition in range(4):
            assert [batch for batch in arrived if int(batch) % 4 == partition] == [b"%d" % n for n in range(partition, 40, 4)] * 20
        head = gateway.posted[0].headers
        assert (head["authorization"], head["taximeter-emitter-secret"]) == (f"Bearer {KEY}", SECRET)
        assert head["content-type"] == "application/x-ndjson"


async def test_large_bodies_are_compressed_and_requests_are_bounded() -> None:
    async with scripted_gateway(about=answer(200, {"partitions": 4, "batches_max": 3, "body_bytes_max": 100_000})) as gateway:
        async with opened(gateway) as producer:
            batches = [await producer.append(number % 4, b"%d" % (number % 10) * 40_000, secret=SECRET) for number in range(12)]
            await asyncio.gather(*batches)
        assert all(request.headers["content-encoding"] == "gzip" and len(request.body) < 1_000 for request in gateway.posted)
        assert all(sum(map(len, request.batches)) <= 100_000 and len(request.batches) <= 3 for request in gateway.posted)


async def test_batches_of_two_emitters_never_share_a_request() -> None:
    async with scripted_gateway() as gateway:
        async with opened(gateway) as producer:
            await asyncio.gather(*[await producer.append(n % 2, b"x", secret=SECRET if n % 3 else "6" * 32) for n in range(30)])
            with pytest.raises(BatchRefused, match="no_emitter_secret"):
                await (await producer.append(0, b"x"))
        assert {request.headers["taximeter-emitter-secret"] for request in gateway.posted} == {SECRET, "6" * 32}


async def test_a_refused_batch_is_told_apart_and_the_others_are_taken() -> None:
    def post(request: SentRequest) -> bytes:
        refused = [result(n, "rejected", "customer_not_allowed") for n, batch in enumerate(request.batches) if batch == b"bad"]
        return taken(request, *refused, status=207 if refused else 202)

    async with scripted_gateway(post=post) as gateway, opened(gateway) as producer:
        waiting = [await producer.append(n % 4, b"bad" if n == 5 else b"good", secret=SECRET) for n in range(12)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == [5]
    assert isinstance(outcomes[5], BatchRefused)
    assert str(outcomes[5]) == "customer_not_allowed: why"


async def test_one_batch_for_which_requests_are_refused_as_a_whole_is_found() -> None:
    def post(request: SentRequest) -> bytes:
        return answer(413, {"accepted": 0, "results": [], "error": {"reason": "body_too_large"}}) if b"bad" in request.batches else taken(request)

    async with scripted_gateway(post=post) as gateway, opened(gateway) as producer:
        waiting = [await producer.append(n % 4, b"bad" if n == 5 else b"good", secret=SECRET) for n in range(12)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == [5]
    assert str(outcomes[5]) == "body_too_large"


async def test_a_partition_that_is_not_acknowledged_is_sent_again_and_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taximeter_emitter.transports.gateway_producer._RETRY_AFTER_SECONDS_MAX", 0.02)
    silent = {b"0"}

    def post(request: SentRequest) -> bytes:
        unknown = [result(n, "unknown", "outcome_unknown") for n, batch in enumerate(request.batches) if batch in silent]
        return taken(request, *unknown, status=503 if unknown else 202)

    async with scripted_gateway(post=post) as gateway, opened(gateway) as producer:
        waits = [await producer.append(0, b"0", secret=SECRET), await producer.append(0, b"00", secret=SECRET)]
        for _ in range(20):
            await asyncio.gather(*[await producer.append(n, b"%d" % n, secret=SECRET) for n in (1, 2, 3)])
        assert not waits[0].done()
        silent.clear()
        await asyncio.gather(*waits)
    # From its first failure on it went alone.
    assert all(set(request.batches) <= {b"0"} for request in gateway.posted[1:] if b"0" in request.batches)


@pytest.mark.parametrize(
    ("said", "reason", "words", "wait"),
    [
        (answer(401, {"error": {"reason": "unauthorized"}}), "unauthorized", "401 unauthorized: is the API key right", 10.0),
        (answer(403, body=b"<html>no</html>"), "unauthorized", "403: is the API key right", 10.0),
        (answer(429, {"error": {"reason": "rate_limited"}}, Retry_After="17"), "busy", "429 rate_limited", 17.0),
        (answer(503, {"error": {"reason": "overloaded"}}, Retry_After="99999999999999999999"), "busy", "503 overloaded", 300.0),
        (answer(503, {}, Retry_After="soon"), "busy", "503", 0.0),
        (answer(502, body=b"bad gateway"), "busy", "502", 0.0),
        (answer(301, body=b"", Location=f"http://elsewhere/?{KEY}"), "wrong_answer", "301, a redirect, which is not followed", 0.0),
        (answer(404, {"error": {"reason": "not_found"}}), "wrong_answer", "404 not_found: is that a gateway", 0.0),
        (answer(200, body=b"hello"), "wrong_answer", "200", 0.0),
        (answer(202, {"accepted": 7, "results": []}), "wrong_answer", "202", 0.0),
        (answer(202, {"accepted": 0, "results": [{"index": 9, "status": "unknown"}]}), "wrong_answer", "not of these batches", 0.0),
        (answer(202, {"accepted": 1, "results": []})[:-3], "unreachable", "closed before the answer was complete", 0.0),
        (b"HTTP/1.1 202 Acc", "unreachable", "closed before the answer was complete", 0.0),
        (b"SSH-2.0-OpenSSH", "wrong_answer", "does not speak HTTP", 0.0),
        (b"HTTP/1.1 202 OK\r\nContent-Length: x\r\n\r\n" + b"z" * 300_000, "wrong_answer", "more than", 0.0),
        (None, "unreachable", "closed before the answer was complete", 0.0),
    ],
)
async def test_what_says_nothing_of_single_batches_ends_the_producer_by_name(said: bytes | None, reason: str, words: str, wait: float) -> None:
    async with scripted_gateway(post=lambda _: said, closes=True) as gateway:
        failed = await failure_of(gateway)
    assert (failed.reason, failed.wait_seconds) == (reason, wait)
    assert words in str(failed)


async def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with scripted_gateway(post=lambda _: answer(429, {}, Retry_After=date)) as gateway:
        assert 50 < (await failure_of(gateway)).wait_seconds <= 60


async def test_a_slow_gateway_is_given_up_in_time() -> None:
    async with scripted_gateway(delay_seconds=30.0) as gateway:
        assert "has not answered within 0.1 s" in str(await failure_of(gateway, answer_seconds=0.1))


async def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    once: list[SentRequest] = []

    def post(request: SentRequest) -> bytes | None:
        once.append(request)
        return None if len(once) == 1 else taken(request)

    async with scripted_gateway(post=post) as gateway, opened(gateway) as producer:
        await (await producer.append(0, b"batch", secret=SECRET))
    assert [request.batches for request in once] == [[b"batch"], [b"batch"]]


async def test_answers_in_chunks_and_until_the_connection_closes_are_read() -> None:
    chunked = b'HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n{"accepted":1,"results":[\r\n2\r\n]}\r\n0\r\n\r\n'
    async with scripted_gateway(post=lambda _: chunked) as gateway, opened(gateway) as producer:
        for _ in range(3):
            await (await producer.append(0, b"batch", secret=SECRET))


async def test_a_number_of_partitions_that_changed_ends_the_producer_and_another_wrong_partition_is_refused() -> None:
    def post(request: SentRequest) -> bytes:
        return answer(400, {"accepted": 0, "results": [result(0, "rejected", "wrong_partition")], "partitions": int(request.batches[0])})

    async with scripted_gateway(post=post) as gateway:
        async with opened(gateway) as producer:
            with pytest.raises(BatchRefused, match="wrong_partition"):
                await (await producer.append(0, b"4", secret=SECRET))
        async with opened(gateway) as producer:
            with pytest.raises(ProducerFailed, match="6 partitions now; it had 4"):
                await (await producer.append(0, b"6", secret=SECRET))
            with pytest.raises(ProducerFailed, match="6 partitions now"):
                await producer.append(0, b"4", secret=SECRET)


async def test_nobody_at_the_address_and_a_wrong_answer_to_the_first_question_are_named() -> None:
    async with scripted_gateway() as gateway:
        url = gateway.url
    producer = gateway_producers(GatewayOptions(url=url), source="s", clock=SystemClock())()
    with pytest.raises(ProducerFailed, match=r"no connection to 127\.0\.0\.1"):
        await producer.open()
    with pytest.raises(ProducerFailed, match="closed"):
        await producer.append(0, b"", secret=SECRET)
    async with scripted_gateway(about=answer(200, {"partitions": True})) as gateway:
        with pytest.raises(ProducerFailed, match="answers 200"):
            await gateway_producers(GatewayOptions(url=gateway.url), source="s", clock=SystemClock())().open()


async def test_closing_waits_for_answers_and_only_so_long() -> None:
    async with scripted_gateway(delay_seconds=0.05) as gateway, opened(gateway) as producer:
        done = await producer.append(0, b"batch", secret=SECRET)
        await producer.close(seconds=5.0)
        assert done.done()
    async with scripted_gateway(delay_seconds=30.0) as gateway, opened(gateway) as producer:
        done = await producer.append(0, b"batch", secret=SECRET)
        await producer.close(seconds=0.05)
        assert not done.done()


async def test_a_proxy_of_the_environment_is_used_and_left_out_where_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_gateway() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:pass%20word@"))
        producer = gateway_producers(GatewayOptions(url="http://meter.internal/below/", api_key=KEY), source="s", clock=SystemClock())()
        assert await producer.open() == 4
        await producer.discard()
        (request,) = proxy.requests
        assert request.line == "GET http://meter.internal/below/v1/batches HTTP/1.1"
        assert (request.headers["host"], request.headers["proxy-authorization"]) == ("meter.internal", "Basic dXNlcjpwYXNzIHdvcmQ=")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with scripted_gateway() as gateway, opened(gateway):
            assert [request.line for request in gateway.requests] == ["GET /v1/batches HTTP/1.1"]
        assert len(proxy.requests) == 1


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here")
    about = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "server.pem")]
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *about, *files], check=True, capture_output=True)
    return folder / "server.pem"


async def test_tls_is_checked_with_the_ca_file_that_is_given(tmp_path: Path) -> None:
    signed = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed, tmp_path / "key.pem")
    async with scripted_gateway(ssl=context) as gateway:
        async with opened(gateway, ssl_cafile=signed) as producer:
            await (await producer.append(0, b"batch", secret=SECRET))
        assert "certificate" in str(await failure_of(gateway))
        # The other way round: a server without TLS.
        assert "no secured connection" in str(await failure_of_plain())


async def failure_of_plain() -> ProducerFailed:
    async with scripted_gateway() as plain:
        plain.url = plain.url.replace("http:", "https:")
        return await failure_of(plain, answer_seconds=1.0)
