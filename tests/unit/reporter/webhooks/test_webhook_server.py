"""The endpoint over real HTTP: what it takes, and what it answers to all else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from metering.configuration.secrets import Secret
from metering.process.listener import CannotListen
from metering.stripe.signatures import WebhookEvent
from reporter.webhooks.webhook_intake import IntakeVerdict
from reporter.webhooks.webhook_server import WEBHOOKS_PATH
from tests.support.reporter_webhook_server import LIMIT, Receiver, serving, signed

BODY = orjson.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "livemode": False})


async def call(
    url: str, body: bytes = BODY, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, dict[str, Any], dict[str, str]]:
    given = signed(body) if headers is None else headers
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body, headers=given) as answer:
        return answer.status, orjson.loads(await answer.read()), dict(answer.headers)


async def test_a_signed_event_is_handed_over_and_answered_with_200() -> None:
    receiver = Receiver()
    async with serving(receiver) as url:
        status, document, _ = await call(url + WEBHOOKS_PATH)
    assert (status, document) == (200, {"received": True, "outcome": "accepted"})
    assert [event.id for event in receiver.events] == ["evt_1"]
    assert receiver.counts == {"accepted": 1}


@pytest.mark.parametrize("verdict", [IntakeVerdict.DUPLICATE, IntakeVerdict.OTHER_MODE])
async def test_what_needs_no_processing_is_answered_with_200_and_counted(verdict: IntakeVerdict) -> None:
    receiver = Receiver()
    receiver.answer = lambda _: verdict
    async with serving(receiver) as url:
        assert (await call(url + WEBHOOKS_PATH))[0] == 200
    assert receiver.counts == {verdict.value: 1}


async def test_a_full_queue_is_answered_so_that_stripe_sends_the_event_again() -> None:
    receiver = Receiver()
    receiver.answer = lambda _: IntakeVerdict.QUEUE_FULL
    async with serving(receiver) as url:
        status, _, headers = await call(url + WEBHOOKS_PATH)
    assert status == 503
    assert int(headers["Retry-After"]) > 0
    assert receiver.counts == {"queue_full": 1}


@pytest.mark.parametrize(
    ("reason", "body", "headers"),
    [
        ("no_signature", BODY, {}),
        ("bad_signature", BODY, signed(BODY, secret=Secret("whsec_2"))),
        ("bad_signature", BODY + b" ", signed(BODY)),
        ("too_old", BODY, signed(BODY, age_s=301)),
        ("malformed", b"[]", signed(b"[]")),
    ],
)
async def test_what_is_not_a_genuine_event_is_answered_with_400_and_its_reason(reason: str, body: bytes, headers: dict[str, str]) -> None:
    receiver = Receiver()
    async with serving(receiver) as url:
        status, document, _ = await call(url + WEBHOOKS_PATH, body, headers)
    assert (status, document["error"]) == (400, reason)
    assert "whsec" not in str(document)
    assert receiver.counts == {reason: 1}
    assert receiver.events == []


async def test_the_signature_is_checked_before_the_body_is_looked_at() -> None:
    async with serving(Receiver()) as url:
        _, document, _ = await call(url + WEBHOOKS_PATH, b"{", {})
    assert document["error"] == "no_signature"


async def test_a_body_of_the_largest_size_is_taken_and_a_larger_one_is_not_with_or_without_a_length() -> None:
    receiver = Receiver()
    largest = BODY + b" " * (LIMIT - len(BODY))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (LIMIT // 2)

    async with serving(receiver) as url:
        assert (await call(url + WEBHOOKS_PATH, largest))[0] == 200
        assert (await call(url + WEBHOOKS_PATH, largest + b" "))[0] == 413
        async with aiohttp.ClientSession() as session, session.post(url + WEBHOOKS_PATH, data=chunks()) as answer:
            assert answer.status == 413
    assert receiver.counts == {"accepted": 1, "too_large": 2}


async def test_a_body_that_does_not_come_is_given_up() -> None:
    receiver = Receiver()
    async with serving(receiver, read_seconds=0.2) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(f"POST {WEBHOOKS_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        async with asyncio.timeout(60):
            assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert receiver.counts == {"slow_body": 1}


async def test_other_paths_and_methods_are_404_and_405() -> None:
    receiver = Receiver()
    async with serving(receiver) as url:
        assert (await call(url + "/metrics"))[0] == 404
        status, _, headers = await call(url + WEBHOOKS_PATH, b"", {}, "GET")
    assert (status, headers["Allow"]) == (405, "POST")
    assert receiver.counts == {"not_found": 1, "method_not_allowed": 1}


async def test_a_failure_of_ours_is_a_500_so_that_stripe_sends_the_event_again(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: WebhookEvent) -> IntakeVerdict:
        raise RuntimeError("planned")

    receiver = Receiver()
    receiver.answer = fail
    async with serving(receiver) as url:
        status, document, _ = await call(url + WEBHOOKS_PATH)
    assert (status, document["error"]) == (500, "failed")
    assert "planned" not in str(document)
    assert "webhook request crashed" in caplog.text


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_connection_that_only_waits_makes_way() -> None:
    async with serving(Receiver(), connections_max=1) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert (await call(url + WEBHOOKS_PATH))[0] == 200
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        await close(writer)


async def test_what_is_not_http_is_answered_and_counted() -> None:
    receiver = Receiver()
    async with serving(receiver, read_seconds=0.3) as url:
        for sent, reason in ((b"garbage\r\n\r\n", "malformed_head"), (b"\x16\x03\x01\x02\x00\x01", "tls_on_plain_port"), (b"GET / HT", "slow_head")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(sent)
            async with asyncio.timeout(60):
                answer = await reader.read()
            assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"] == reason
            assert receiver.counts[reason] == 1
            await close(writer)


async def test_the_port_file_names_the_port_and_goes_with_the_server(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    async with serving(Receiver(), port_file=port_file) as url:
        assert url.endswith(f":{port_file.read_text().strip()}")
    assert not port_file.exists()


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = serving(Receiver(), port=taken.getsockname()[1])
        with pytest.raises(CannotListen, match="in use"):
            async with server:
                raise AssertionError("it must not start")
