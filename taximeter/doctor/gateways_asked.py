"""Asks gateways whether they take events. They keep nothing in Kafka that says so."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import orjson

from taximeter.doctor.doctor_facts import GatewaySeen

READYZ_SECONDS_MAX: Final = 3.0
READYZ_BYTES_MAX: Final = 64 * 1024


async def ask_gateways(addresses: Sequence[str]) -> list[GatewaySeen]:
    """What /readyz of each says, all asked at once. Blocks for a few seconds at most; raises nothing for any answer."""
    timeout = aiohttp.ClientTimeout(total=READYZ_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return list(await asyncio.gather(*(_ask(session, address) for address in addresses)))


async def _ask(session: aiohttp.ClientSession, address: str) -> GatewaySeen:
    try:
        async with session.get(f"{address.rstrip('/')}/readyz", allow_redirects=False) as answer:
            body = await answer.content.read(READYZ_BYTES_MAX)
            status = answer.status
    except TimeoutError:
        return GatewaySeen(address, answers=False, problem=f"no answer within {READYZ_SECONDS_MAX:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return GatewaySeen(address, answers=False, problem=str(error) or type(error).__name__)
    return seen(address, status, body)


def seen(address: str, status: int, body: bytes) -> GatewaySeen:
    """What an answer of /readyz says."""
    try:
        document: Any = orjson.loads(body)
        failing = {name: document["conditions"][name] for name in document["failing"]}
    except (KeyError, TypeError, ValueError):
        return GatewaySeen(address, answers=False, problem=f"HTTP {status} without a service's readiness: is it the admin port?")
    return GatewaySeen(address, problem="; ".join(f"{name}: {problem}" for name, problem in failing.items()))
