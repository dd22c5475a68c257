"""Every field that Stripe's document does not mark as required may be absent or null: each in turn, in every reply that our code reads.

A field is left out whose name stands nowhere in our code: nothing can read it. "Everything optional" at once takes those away, too.
"""

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from taximeter_emitter.retry import RetryPolicy

from audit.next_boundary import find_next_boundary
from billing.catalogue import apply
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp
from reporter.planning.billing_periods import read_subscription
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from reporter.stripe.notifications import StripeEvents
from reporter.stripe.subscriptions import StripeSubscriptions
from taximeter.exit_codes import DISCREPANCY, FAILED, OK
from taximeter.stripe_commands import listen
from tests.support.stripe_mock_command_line import KEY, CommandLine, command_line
from tests.support.stripe_mock_fixtures import EVENT_NAME, IDENTIFIER, METER
from tests.support.stripe_mock_openapi import Document
from tests.support.stripe_mock_process import MockProcess
from tests.support.stripe_mock_recording import Exchange, record

NOW_S = 1_790_000_100
URLS = ("--success-url", "https://alpaca.example/thanks", "--cancel-url", "https://alpaca.example/prices")
COMMANDS = {
    "setup": ("--dry-run",),
    "setup --yes": (),
    "doctor": (),
    "customer create": ("--name", "Acme", "--key", "acme"),
    "customer list": (),
    "customer show": ("cus_1",),
    "subscribe": ("cus_1", "--again", "--anchor", "minute", "--show-client-secret"),
    "checkout": ("--customer", "cus_1", *URLS),
    "send-test-event": ("cus_1",),
    "usage": ("cus_1", "--by", "hour"),
    "preview": ("cus_1",),
}
# Of most replies the doctor looks at the status only.
READ_BY_THE_DOCTOR = frozenset({"GET /v1/billing/meters", "GET /v1/products", "GET /v1/prices"})
ROOT = Path(__file__).parents[3]
READERS = ("billing", "reporter", "audit", "taximeter/stripe_commands", "metering/stripe", "sandbox/taximeter_sandbox/signup_page")
NAMED = frozenset(word for folder in READERS for file in (ROOT / folder).rglob("*.py") for word in re.findall(r"\w+", file.read_text()))

Place = tuple[str, ...]


@dataclass(slots=True)
class Replay:
    """Answers with what was recorded, one kind of field changed: `place` in replies of `operation`, deleted or null."""

    document: Document
    recorded: dict[tuple[str, str], Any] = field(default_factory=dict)
    operation: str = ""
    places: frozenset[Place] = frozenset()
    deleted: bool = True

    def keep(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            if exchange.status == 200:
                self.recorded[exchange.method, exchange.path] = exchange.document

    def all_places(self) -> dict[str, set[Place]]:
        """By operation: every optional field in what was recorded."""
        found: dict[str, set[Place]] = {}
        for (method, path), reply in self.recorded.items():
            operation = self.document.operation(method, path)
            assert operation is not None, (method, path)
            found.setdefault(operation.name, set()).update(self.document.optional_places(operation, reply))
        return found

    def answer(self, method: str, path: str) -> tuple[bytes, int, Mapping[str, str]]:
        reply = self.recorded.get((method, path))
        if reply is None:
            body = {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "Not recorded"}}
            return orjson.dumps(body), 404, {"request-id": "req_1"}
        operation = self.document.operation(method, path)
        if operation is not None and operation.name == self.operation:
            reply = copy.deepcopy(reply)
            for place in self.places:
                _change(reply, place, deleted=self.deleted)
        return orjson.dumps(reply), 200, {"request-id": "req_1"}

    def changes(self, only: frozenset[str] = frozenset()) -> Iterator[str]:
        """Each change in turn, and for each operation all at once; what is yielded names it. `only` limits them to these operations."""
        for operation, places in sorted(self.all_places().items()):
            if only and operation not in only:
                continue
            for chosen in [*(frozenset({place}) for place in sorted(places) if place[-1] in NAMED), frozenset(places)]:
                for self.deleted in (True, False):
                    self.operation, self.places = operation, chosen
                    shown = ".".join(next(iter(chosen))) if len(chosen) == 1 else "everything optional"
                    yield f"{operation}: {shown} {'absent' if self.deleted else 'null'}"


def _change(value: Any, place: Place, *, deleted: bool) -> None:
    first, *rest = place
    if first == "*":
        for element in value if isinstance(value, list) else ():
            _change(element, tuple(rest), deleted=deleted)
    elif isinstance(value, dict) and first in value:
        if rest:
            _change(value[first], tuple(rest), deleted=deleted)
        elif deleted:
            del value[first]
        else:
            value[first] = None


def replaying(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing goes over the network."""

    async def asking(_: StripeHttp, method: str, url: str, *_rest: Any, **_named: Any) -> tuple[bytes, int, Mapping[str, str]]:
        return replay.answer(method.upper(), urlsplit(url).path)

    monkeypatch.setattr(StripeHttp, "request_async", asking)


@pytest.fixture
def commands(metered_mock: MockProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(metered_mock.url, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_fails_by_name_or_not_at_all(commands: CommandLine, document: Document, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(apply, "KEYS", RetryPolicy(attempts_max=1))
    replay = Replay(document)
    exchanges = record(monkeypatch)
    arguments = [*name.split(), *COMMANDS[name]]
    commands.run(*arguments)
    replay.keep(exchanges)
    assert replay.recorded
    replaying(replay, monkeypatch)
    tried = 0
    for change in replay.changes(READ_BY_THE_DOCTOR if name == "doctor" else frozenset()):
        tried += 1
        try:
            answer = commands.run(*arguments)
        except Exception as error:  # the property: none gets here
            raise AssertionError(f"{change}: {error!r}") from error
        assert answer.code in {OK, FAILED, DISCREPANCY}, f"{change}: {answer.err}"
        assert answer.code != FAILED or "taximeter: " in answer.err, change
    assert tried > 0


def test_what_listen_registers_fails_by_name_or_not_at_all(commands: CommandLine, document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay(document)
    exchanges = record(monkeypatch)
    arguments = ("listen", "--port", "0", "--events", "invoice.paid")
    commands.run_until(lambda: bool(exchanges), *arguments)
    replay.keep(exchanges)
    replaying(replay, monkeypatch)

    async def at_once(*_: object, **__: object) -> None:
        """Nothing is shown: what is looked at is how it begins and ends."""

    monkeypatch.setattr(listen, "_show_until", at_once)
    for change in replay.changes():
        answer = commands.run(*arguments)
        assert answer.code in {OK, FAILED}, f"{change}: {answer.err}"
        assert answer.code == OK or "signing secret" in answer.err, change


async def _meter_event(url: str) -> object:
    port = StripeMeterEvents(api_key=Secret(KEY), api_base=url, connections=1, timeout_s=10)
    try:
        return await port.send(event_name=EVENT_NAME, payload={"value": "1"}, identifier=IDENTIFIER, timestamp_s=NOW_S, idempotency_key="k")
    finally:
        await port.close()


async def _adjustment(url: str) -> object:
    port = StripeMeterEvents(api_key=Secret(KEY), api_base=url, connections=1, timeout_s=10)
    try:
        return await port.cancel(event_name=EVENT_NAME, identifier=IDENTIFIER, idempotency_key="k")
    finally:
        await port.close()


async def _subscriptions(url: str) -> object:
    port = StripeSubscriptions(api_key=Secret(KEY), api_base=url, timeout_s=10)
    try:
        page = await port.page()
        return [read_subscription(each) for each in page.subscriptions], await find_next_boundary(port, NOW_S, 3600)
    finally:
        await port.close()


async def _meter_name(url: str) -> object:
    port = StripeEvents(api_key=Secret(KEY), api_base=url, timeout_s=10)
    try:
        return await port.meter_name(METER)
    finally:
        await port.close()


@pytest.mark.parametrize("read", [_meter_event, _adjustment, _subscriptions, _meter_name])
def test_an_adapter_of_the_reporter_reads_the_same_without_them(
    metered_mock: MockProcess, document: Document, monkeypatch: pytest.MonkeyPatch, read: Callable[[str], Awaitable[object]]
) -> None:
    """None of them looks at a field that may be absent, but for what a price bills and when a subscription ended."""

    async def reading() -> object:
        return await read(metered_mock.url)

    replay = Replay(document)
    exchanges = record(monkeypatch)
    before = asyncio.run(reading())
    replay.keep(exchanges)
    replaying(replay, monkeypatch)
    for change in replay.changes():
        found = asyncio.run(reading())
        matters = any(word in change for word in ("recurring", "everything optional"))
        assert matters or found == before, f"{change}: {found}"
