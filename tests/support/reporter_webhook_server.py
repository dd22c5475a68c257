"""The webhook endpoint over real HTTP, and a receiver that remembers what it was given."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import stripe

from metering.configuration.secrets import Secret
from metering.process.listener import ListenAddress
from metering.stripe.signatures import WebhookEvent
from reporter.webhooks.webhook_intake import IntakeVerdict
from reporter.webhooks.webhook_server import WebhookRules, WebhookServer
from tests.support.manual_clock import ManualClock

SECRET = Secret("whsec_1")
LIMIT = 4096


class Receiver:
    """Remembers what it was given; answers as told."""

    def __init__(self) -> None:
        self.events: list[WebhookEvent] = []
        self.counts = Counter[str]()
        self.answer: Callable[[WebhookEvent], IntakeVerdict] = lambda _: IntakeVerdict.ACCEPTED

    def receive(self, event: WebhookEvent) -> IntakeVerdict:
        self.events.append(event)
        return self.answer(event)

    def count(self, outcome: str) -> None:
        self.counts[outcome] += 1


@asynccontextmanager
async def serving(receiver: Receiver, *, port: int = 0, port_file: Path | None = None, **more: Any) -> AsyncIterator[str]:
    rules: dict[str, Any] = {
        "secrets": [SECRET],
        "tolerance_s": 300,
        "body_bytes_max": LIMIT,
        "read_seconds": 30.0,
        "connections_max": 10,
        **more,
    }
    address = ListenAddress(host="127.0.0.1", port=port, port_file=port_file)
    server = WebhookServer(address, WebhookRules(**rules), receive=receiver.receive, count=receiver.count, clock=ManualClock())
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()


def signed(body: bytes, *, age_s: int = 0, secret: Secret = SECRET) -> dict[str, str]:
    at_s = ManualClock().now_ms() // 1000 - age_s
    header = stripe.WebhookSignature.generate_signature_header(body.decode("latin-1"), secret.reveal(), timestamp=at_s)
    return {"Stripe-Signature": header}
