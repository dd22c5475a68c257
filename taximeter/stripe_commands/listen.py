"""`taximeter stripe listen`: show Stripe's events as they come.

It is a small server to which Stripe delivers.
"""

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import orjson
import stripe
from taximeter_emitter.clock import SystemClock

from billing.reply_fields import text_of
from metering.configuration.secrets import Secret
from metering.process.listener import CannotListen, ListenAddress
from metering.stripe.client import ReplyTooLarge
from metering.stripe.signatures import TOLERANCE_S, WEBHOOK_BYTES_MAX, WebhookEvent
from reporter.stripe.notifications import EventsUnavailable, StripeEvents
from reporter.stripe.report_types import REPORT_TYPES
from reporter.webhooks.endpoint import object_id
from reporter.webhooks.error_reports import ReportReader
from reporter.webhooks.webhook_intake import IntakeVerdict, RecentEventIds
from reporter.webhooks.webhook_server import WEBHOOKS_PATH, WebhookRules, WebhookServer
from taximeter.exit_codes import OK, PRECONDITION, USAGE
from taximeter.stripe_commands.arguments import SECRETS_VARIABLE
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection, run_with_stripe

WAITING_MAX: Final = 1_000
_MARK: Final = "taximeter_listen"
_THIN_PREFIXES: Final = ("v1.", "v2.")

_HOW: Final = """\
Stripe cannot reach this machine by itself. Let its command line forward what happens, in another terminal:
    stripe listen --forward-to localhost:{port}{path}
and for thin events, such as the error reports of meters, a second one:
    stripe listen --forward-to localhost:{port}{path} --events {thin}
Each prints a signing secret (whsec_...): give it here as --secret, or in {variable}, separated by commas.
With a public address of your own: --url https://...{path}, which is registered with Stripe for as long as this command runs."""


@dataclass(slots=True)
class _Listener:
    """What arrived and was not shown yet. More than WAITING_MAX is answered with 503, so Stripe sends it again."""

    queue: asyncio.Queue[WebhookEvent] = field(default_factory=asyncio.Queue)

    def receive(self, event: WebhookEvent) -> IntakeVerdict:
        if self.queue.qsize() >= WAITING_MAX:
            return IntakeVerdict.QUEUE_FULL
        self.queue.put_nowait(event)
        return IntakeVerdict.ACCEPTED

    def count(self, outcome: str) -> None:
        if outcome not in set(IntakeVerdict):
            print(f"taximeter: a request was refused: {outcome}", file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Until Ctrl-C."""
    return run_with_stripe(arguments, lambda connection: _listen(connection, arguments))


async def _listen(connection: StripeConnection, arguments: argparse.Namespace) -> int:
    signing = [Secret(text) for text in (*arguments.secret, *os.environ.get(SECRETS_VARIABLE, "").split(",")) if text.strip()]
    registers = arguments.url is not None or connection.is_simulator
    if not registers and not signing:
        print(_how(arguments.port))
        return PRECONDITION
    # The server logs what it refuses; count() prints it here.
    logging.getLogger("reporter.webhooks.webhook_server").setLevel(logging.CRITICAL)
    listener = _Listener()
    address = ListenAddress(host="127.0.0.1", port=arguments.port)
    rules = WebhookRules(secrets=signing, tolerance_s=TOLERANCE_S, body_bytes_max=WEBHOOK_BYTES_MAX, read_seconds=10.0, connections_max=100)
    server = WebhookServer(address, rules, receive=listener.receive, count=listener.count, clock=SystemClock())
    with _stopped_by_signals() as stop:
        try:
            await server.start()
        except CannotListen as error:
            raise CannotDo(str(error), USAGE) from None
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            if registers:
                url = arguments.url or f"http://127.0.0.1:{server.port}{WEBHOOKS_PATH}"
                signing += await stack.enter_async_context(_registered(connection, url, *_wanted(arguments.events, thin=arguments.thin)))
            else:
                print(_how(server.port), file=sys.stderr)
            print(f"listening on http://127.0.0.1:{server.port}{WEBHOOKS_PATH}; Ctrl-C ends it", file=sys.stderr, flush=True)
            await _show_until(stop, listener.queue, connection, as_json=arguments.json)
    return OK


def _how(port: int) -> str:
    return _HOW.format(port=port or 4242, path=WEBHOOKS_PATH, thin=",".join(REPORT_TYPES), variable=SECRETS_VARIABLE)


def _wanted(events: Sequence[str], *, thin: bool) -> tuple[list[str], list[str]]:
    """The types of snapshot events and of thin ones to register for."""
    thin_types = [kind for kind in events if kind.startswith(_THIN_PREFIXES)]
    snapshots = [kind for kind in events if kind not in thin_types] if events else ["*"]
    return snapshots, list(dict.fromkeys([*thin_types, *(REPORT_TYPES if thin else ())]))


@asynccontextmanager
async def _registered(connection: StripeConnection, url: str, snapshots: list[str], thin: list[str]) -> AsyncIterator[list[Secret]]:
    """Have Stripe post to this address; yields the signing secrets. What was made is always removed at the end.

    Snapshot and thin events need a destination each. Both carry a mark, so that one whose creation was not answered is found as well.
    """
    mark = secrets.token_hex(8)
    about = {"metadata": {_MARK: mark}, "description": "taximeter stripe listen"}
    # Any: the library lists the types of events that it knows, and what is asked for here may be newer.
    endpoint: Any = {"url": url, "enabled_events": snapshots, **about}
    destination: Any = {
        "name": "taximeter stripe listen",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": thin,
        "webhook_endpoint": {"url": url},
        "include": ["webhook_endpoint.signing_secret"],
        **about,
    }
    found: list[Secret] = []
    try:
        if snapshots:
            made: Any = await connection.client.v1.webhook_endpoints.create_async(endpoint)
            found.append(_signing_secret(text_of(made, "secret"), "webhook endpoint"))
        if thin:
            made = await connection.client.v2.core.event_destinations.create_async(destination)
            found.append(_signing_secret(text_of(made, "webhook_endpoint", "signing_secret"), "event destination"))
        yield found
    finally:
        await _remove(connection.client, mark, snapshots=bool(snapshots), thin=bool(thin))


def _signing_secret(text: str, what: str) -> Secret:
    if not text:
        raise CannotDo(f"Stripe made the {what} and did not give its signing secret, without which nothing that arrives can be trusted")
    return Secret(text)


async def _remove(client: stripe.StripeClient, mark: str, *, snapshots: bool, thin: bool) -> None:
    """Remove what has the mark; report what could not be removed."""
    if snapshots:
        with _told("webhook endpoint"):
            endpoints = await client.v1.webhook_endpoints.list_async({"limit": 100})
            for endpoint in endpoints.data:
                if _is_marked(endpoint, mark):
                    await client.v1.webhook_endpoints.delete_async(endpoint.id)
    if thin:
        with _told("event destination"):
            destinations = await client.v2.core.event_destinations.list_async({"limit": 100})
            for destination in destinations.data:
                if _is_marked(destination, mark):
                    await client.v2.core.event_destinations.delete_async(destination.id)


def _is_marked(registered: Any, mark: str) -> bool:
    metadata = getattr(registered, "metadata", None)
    return metadata is not None and _MARK in metadata and metadata[_MARK] == mark


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
        # The type alone: the text may hold what nobody should see.
        print(f"taximeter: the {what} could not be removed ({type(error).__name__}); remove it in Stripe's dashboard", file=sys.stderr)


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """Set by SIGINT and SIGTERM, which interrupt nothing: what is being registered is known, and is removed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _show_until(stop: asyncio.Event, queue: asyncio.Queue[WebhookEvent], connection: StripeConnection, *, as_json: bool) -> None:
    settings = connection.settings
    events = StripeEvents(api_key=settings.api_key, api_base=settings.api_base, timeout_s=settings.timeout_seconds)
    showing = asyncio.create_task(_show(queue, events, as_json=as_json))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (showing, stopping):
            task.cancel()
        await asyncio.wait({showing, stopping})
        await events.close()
    if not showing.cancelled():
        showing.result()


async def _show(queue: asyncio.Queue[WebhookEvent], events: StripeEvents, *, as_json: bool) -> None:
    known = RecentEventIds()
    while True:
        event = await queue.get()
        again = event.id in known
        known.add(event.id)
        details = await _details(event, events) if event.thin else ""
        row = {
            "time": datetime.fromtimestamp(event.created_s, UTC).isoformat().replace("+00:00", "Z"),
            "id": event.id,
            "type": event.type,
            "object": object_id(event),
            "thin": event.thin,
            "livemode": event.livemode,
            "again": again,
            "details": details,
        }
        print(orjson.dumps(row).decode() if as_json else as_text(row), flush=True)


async def _details(event: WebhookEvent, events: StripeEvents) -> str:
    """What a thin event is about; it carries nothing itself."""
    try:
        document = await events.fetch(event.id)
    except EventsUnavailable as error:
        return f"cannot be fetched: {error}"
    if event.type not in REPORT_TYPES:
        return ""
    reader = ReportReader(partitions=1_000_000, instance="", identifiers_of=lambda _: ())
    found = reader.rejections(document, meter="", at_ms=0)
    return "; ".join(f"{each.error_count} x {each.code} {' '.join(each.identifiers[:5])}".rstrip() for each in found)


def as_text(row: Mapping[str, Any]) -> str:
    """One line for a person."""
    marks = [mark for mark, holds in (("thin", row["thin"]), ("live", row["livemode"]), ("again", row["again"])) if holds]
    words = [row["time"][11:19], row["type"], row["object"] or "-", row["id"], f"({', '.join(marks)})" if marks else "", row["details"]]
    return "  ".join(word for word in words if word)
