"""What a gateway says of itself while nothing can be acknowledged: it must be unready, and may acknowledge nothing."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from taximeter_sandbox.demo.installation import GATEWAY

from tests.chaos.arena import Arena

ACCEPTED: Final = "taximeter_gateway_events_accepted_total"
_ON_ITS_WAY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
_READY_SECONDS: Final = 90.0
_CALL: Final = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class Sight:
    """`accepted`: events that Kafka has acknowledged to this process; `problem`: what its readiness says is wrong, None when it is ready."""

    accepted: int
    problem: str | None


async def sight_of_gateway(arena: Arena) -> Sight | None:
    """What it says now; None if it does not answer."""
    url = arena.installation.admin_urls.get(GATEWAY)
    if url is None:
        return None
    try:
        async with aiohttp.ClientSession(timeout=_CALL) as session:
            async with session.get(f"{url}/readyz") as response:
                problem = None if response.status == 200 else await response.text()
            async with session.get(f"{url}/metrics", headers={"Accept": "text/plain"}) as response:
                page = await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return Sight(int(sum(sample.value for sample in samples if sample.name == ACCEPTED)), problem)


async def see_nothing_acknowledged(arena: Arena, seconds: float, unready_within: float) -> None:
    """Watch the gateway this long, under load and held by the caller. It must become unready within the given time, if that is shorter.

    Two kinds of crash: it acknowledged an event, or was ready all the time.
    """
    began = time.monotonic()
    await asyncio.sleep(_ON_ITS_WAY_SECONDS)
    first = last = await sight_of_gateway(arena)
    unready = False
    while time.monotonic() - began < seconds:
        await asyncio.sleep(_LOOK_SECONDS)
        seen = await sight_of_gateway(arena)
        if seen is not None:
            first, last = first or seen, seen
            unready = unready or seen.problem is not None
    if first is None or last is None:
        arena.crashes.append("the gateway did not answer its probes while two brokers of three were away")
        return
    if last.accepted != first.accepted:
        arena.crashes.append(f"the gateway acknowledged {last.accepted - first.accepted} events while two brokers of three were away")
    if seconds > unready_within:
        arena.counts["below min.insync.replicas: the gateway unready"] += unready
        if not unready:
            arena.crashes.append(f"the gateway was ready all the {seconds:.0f} s in which two brokers of three were away")


async def until_gateway_is_ready(arena: Arena) -> None:
    """Wait until the gateway, held by the caller, is ready again. Not to become so is a crash."""
    deadline = time.monotonic() + _READY_SECONDS
    seen = await sight_of_gateway(arena)
    while seen is None or seen.problem is not None:
        if time.monotonic() > deadline:
            arena.crashes.append(f"the gateway is not ready {_READY_SECONDS:.0f} s after all brokers were in sync again: {seen}")
            return
        await asyncio.sleep(_LOOK_SECONDS)
        seen = await sight_of_gateway(arena)
