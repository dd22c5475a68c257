"""Look at an installation from where it runs: the key, the clock, what Stripe has. Changes nothing at Stripe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import stripe
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import RetryPolicy

from billing.calls import CALL_RETRIES, NotPossible, calling
from billing.catalogue.account import Account
from billing.catalogue.account_reading import read_account, read_meters
from billing.catalogue.pricing import Wanted
from billing.checkup.checks import (
    Check,
    Destination,
    TimedReply,
    check_catalogue,
    check_clock,
    check_destinations,
    check_key_kind,
    check_permission,
    check_reception,
    check_version,
)
from billing.checkup.permissions import INDISPENSABLE, PERMISSIONS, Permission
from metering.configuration.secrets import Secret
from metering.stripe.client import ReplyTooLarge

KNOCK_SECONDS: Final = 10.0
# Someone who asks whether Stripe can be reached should not wait a minute for a no.
FIRST_CALL: Final = RetryPolicy(base_seconds=0.5, cap_seconds=2.0, deadline_seconds=10.0, attempts_max=3)
DESTINATIONS_MAX: Final = 100  # Stripe allows 16 of each kind
_UNANSWERED: Final = (aiohttp.ClientError, TimeoutError, ReplyTooLarge, stripe.APIConnectionError)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where webhooks are taken, and which event types are needed there."""

    url: str
    thin_types: Sequence[str]
    snapshot_types: Sequence[str]


async def examine(
    client: stripe.StripeClient, wanted: Wanted, clock: Clock, *, key: Secret, production: bool, webhook: Webhook | None = None
) -> list[Check]:
    """Every check, in a fixed order. When Stripe cannot be reached, or does not take the key, that is the last one.

    Blocks for as long as Stripe takes to answer some 25 calls, each tried again for a minute at most. Raises what the library raises for
    replies that make no sense.
    """
    checks = [check_key_kind(key, production=production)]
    first = next(permission for permission in PERMISSIONS if permission.name == "billing_meter_read")
    try:
        reply = await _ask(client, clock, first, FIRST_CALL)
    except _UNANSWERED as error:
        way_out = "check the network, api_base in [stripe] and https://status.stripe.com; nothing else was checked"
        return [*checks, Check("Stripe", "failed", f"cannot be reached: {type(error).__name__}", way_out)]
    if reply.status >= 500:
        seen = f"answers {reply.status}: {reply.message}"
        return [*checks, Check("Stripe", "failed", seen, "see https://status.stripe.com and try again; nothing else was checked")]
    if reply.status == 401:
        return [*checks, Check("Stripe", "failed", f"does not take the key: {reply.message}", "use another key; nothing else was checked")]
    checks += [Check("Stripe", "ok", "answers"), check_clock(reply), check_version(reply, client_version())]
    for permission in PERMISSIONS:
        checks.append(check_permission(permission, await _ask(client, clock, permission, CALL_RETRIES)))
    checks += await _catalogue(client, wanted)
    if webhook is not None:
        checks.append(check_reception(webhook.url, *await knock(webhook.url)))
        checks += await _destinations(client, webhook)
    return checks


async def ask_to_report(client: stripe.StripeClient, clock: Clock) -> TimedReply:
    """The reply to a meter event that is no one's and that Stripe refuses: whether it would take ours. Blocks and raises as `examine` does."""
    return await _ask(client, clock, next(each for each in PERMISSIONS if each.name in INDISPENSABLE), FIRST_CALL)


def client_version() -> str:
    """The API version that the library is made for."""
    return stripe.api_version


async def knock(url: str) -> tuple[int | None, str]:
    """The status of a POST without signature, or None and why there is none. Reads no body, follows no redirect; blocks for 10 s at most."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=KNOCK_SECONDS)) as session,
            session.post(url, data=b"{}", headers={"Content-Type": "application/json"}, allow_redirects=False) as response,
        ):
            return response.status, ""
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return None, str(error) or type(error).__name__


async def _ask(client: stripe.StripeClient, clock: Clock, permission: Permission, policy: RetryPolicy) -> TimedReply:
    """The reply, a refusal too. Raises what _UNANSWERED lists; temporary failures are tried again."""
    sent = clock.now_ms()

    async def call() -> Any:
        nonlocal sent
        sent = clock.now_ms()
        return await client.raw_request_async(permission.method, permission.path, **permission.parameters)

    try:
        answer = await calling(call, policy=policy)
    except stripe.APIConnectionError:
        raise
    except stripe.StripeError as error:
        status, message, code, headers = error.http_status or 0, error.user_message or str(error), error.code or "", error.headers
    else:
        status, message, code, headers = answer.code, "", "", answer.headers
    small = {str(name).lower(): str(value) for name, value in (headers or {}).items()}
    return TimedReply(status, message, code, small, sent / 1000, clock.now_ms() / 1000)


async def _catalogue(client: stripe.StripeClient, wanted: Wanted) -> list[Check]:
    try:
        return check_catalogue(wanted, await read_account(client, wanted))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, NotPossible) as error:
        problem = Check("products and prices", "warning", f"cannot be read: {_words(error)}", "see the permissions above")
    try:
        # A key of the reporter's may read meters and nothing else.
        meters = Account(await read_meters(client))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, NotPossible) as error:
        return [Check("meters", "warning", f"cannot be read: {_words(error)}", "see the permissions above")]
    return [*check_catalogue(Wanted(wanted.meters), meters), problem]


async def _destinations(client: stripe.StripeClient, webhook: Webhook) -> list[Check]:
    try:
        endpoints = await calling(lambda: client.v1.webhook_endpoints.list_async({"limit": DESTINATIONS_MAX}))
        thin = await calling(lambda: client.v2.core.event_destinations.list_async({"include": ["webhook_endpoint.url"], "limit": DESTINATIONS_MAX}))
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
        return [Check("event destinations", "warning", f"cannot be read: {_words(error)}", "see the permissions above")]
    known = [*_endpoints(row.to_dict() for row in endpoints.data), *_event_destinations(row.to_dict() for row in thin.data)]
    return check_destinations(webhook.url, known, thin_types=webhook.thin_types, snapshot_types=webhook.snapshot_types)


def _endpoints(rows: Iterable[Mapping[str, Any]]) -> list[Destination]:
    return [Destination(row["id"], row["url"], row["status"] == "enabled", thin=False, event_types=frozenset(row["enabled_events"])) for row in rows]


def _event_destinations(rows: Iterable[Mapping[str, Any]]) -> list[Destination]:
    return [
        Destination(
            id=row["id"],
            url=(row.get("webhook_endpoint") or {}).get("url") or "",
            enabled=row["status"] == "enabled",
            thin=row["event_payload"] == "thin",
            event_types=frozenset(row["enabled_events"]),
        )
        for row in rows
    ]


def _words(error: Exception) -> str:
    return (error.user_message if isinstance(error, stripe.StripeError) else None) or str(error) or type(error).__name__
