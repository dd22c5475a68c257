"""What is broken on a game day, which alert must come of it, and within which time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS

from tests.chaos.actions import ROUTES
from tests.chaos.arena import Arena

FOR_EVER: Final = 900
Deed = Callable[[Arena], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`alert` comes within `within_s` of `begin`, and goes within `gone_s` of `end`. `doctor`: what one of the doctor's causes has in it.

    `refuses_later`: Stripe takes some meter events and refuses them afterwards.
    """

    name: str
    row: str
    alert: str
    within_s: float
    gone_s: float
    doctor: str
    begin: Deed
    end: Deed
    refuses_later: bool = False


async def _kafka_away(arena: Arena) -> None:
    arena.busy.add("broker")
    await asyncio.to_thread(arena.brokers.kill, arena.brokers.names[0])


async def _kafka_back(arena: Arena) -> None:
    await asyncio.to_thread(arena.brokers.restart, arena.brokers.names[0])
    arena.busy.discard("broker")


def _outage(mode: str) -> Deed:
    async def begin(arena: Arena) -> None:
        await arena.tell_stripe("/_control/config", {"outage": mode})

    return begin


async def _key_refused(arena: Arena) -> None:
    await arena.tell_stripe("/_control/script", {"route": ROUTES[arena.stripe_api], "kind": "key_revoked", "times": FOR_EVER})


async def _script_forgotten(arena: Arena) -> None:
    await arena.mend_stripe()


def _meter(action: str) -> Deed:
    async def change(arena: Arena) -> None:
        key = arena.installation.stripe.environment()["STRIPE_API_KEY"]
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
            async with session.get(f"{arena.stripe_url}/v1/billing/meters?limit=100") as response:
                meters = (await response.json())["data"]
            meter = next(each["id"] for each in meters if each["event_name"] == "alpaca_audio_seconds")
            async with session.post(f"{arena.stripe_url}/v1/billing/meters/{meter}/{action}") as response:
                await response.read()

    return change


def _dead(*names: str) -> Deed:
    async def begin(arena: Arena) -> None:
        arena.busy.update(names)
        for name in names:
            await asyncio.to_thread(arena.installation.kill, name)

    return begin


def _started(*names: str) -> Deed:
    async def end(arena: Arena) -> None:
        await arena.installation.start(names)
        arena.busy.difference_update(names)

    return end


_STRIPE_BACK: Final = _outage("off")
_SILENT: Final = "Stripe does not answer"

FAULTS: Final = (
    Fault("kafka-away", "Kafka is away", "TaximeterKafkaUnavailable", 60, 60, "Kafka does not answer", _kafka_away, _kafka_back),
    Fault(
        "stripe-reset",
        "Stripe resets every connection",
        "TaximeterStripeUnavailable",
        180,
        180,
        _SILENT,
        _outage("reset"),
        _STRIPE_BACK,
    ),
    Fault("stripe-hang", "Stripe answers nothing", "TaximeterStripeUnavailable", 180, 180, _SILENT, _outage("hang"), _STRIPE_BACK),
    Fault("stripe-500", "Stripe answers 500", "TaximeterStripeUnavailable", 180, 180, _SILENT, _outage("server_error"), _STRIPE_BACK),
    Fault(
        "key-refused",
        "Stripe refuses the key for meter events",
        "TaximeterStripeHalted",
        120,
        120,
        "Stripe refuses every call",
        _key_refused,
        _script_forgotten,
    ),
    Fault(
        "meter-off",
        "a meter is deactivated at Stripe",
        "TaximeterMeterHeld",
        240,
        180,
        "alpaca_audio_seconds",
        _meter("deactivate"),
        _meter("reactivate"),
        refuses_later=True,
    ),
    Fault(
        "aggregator-dead",
        "one of two aggregators is dead",
        "TaximeterRedundancyLost",
        120,
        60,
        "one aggregator runs",
        _dead(AGGREGATORS[0]),
        _started(AGGREGATORS[0]),
    ),
    Fault(
        "reporter-dead",
        "one of two reporters is dead",
        "TaximeterRedundancyLost",
        120,
        60,
        "one reporter runs",
        _dead(REPORTERS[0]),
        _started(REPORTERS[0]),
    ),
    Fault("reporters-dead", "all reporters are dead", "TaximeterServiceDown", 180, 60, "no reporter runs", _dead(*REPORTERS), _started(*REPORTERS)),
    Fault("gateway-dead", "the only gateway is dead", "TaximeterServiceDown", 180, 60, "does not answer", _dead(GATEWAY), _started(GATEWAY)),
)
