"""What the handlers of the control API and the oracle share: JSON in, JSON out, and the reason for a refusal."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(value: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def read_object(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty one. Raises ValueError."""
    body = await request.read()
    document = orjson.loads(body) if body else {}
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


def explained(handler: Handler) -> Handler:
    """Answer 400 with the reason where a handler raises ValueError."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValueError as error:
            return json_response({"error": str(error)}, 400)

    return answer
