"""Requests to a running gateway."""

from typing import Any, Final

import aiohttp
import orjson

JSON: Final = {"Content-Type": "application/json"}


def event(number: int, **more: object) -> dict[str, Any]:
    return {"id": f"r-{number}", "source": "test", "customer": f"cus_{number % 17}", "usage": {"n": number}, **more}


async def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=JSON | (headers or {})) as answer:
        return answer.status, orjson.loads(await answer.read()), {name.title(): value for name, value in answer.headers.items()}
