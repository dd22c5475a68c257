"""A model server under uvicorn, as a process of its own: streams slowly, stops when its client is gone, and meters itself as vLLM would."""

import asyncio
from typing import Any

import orjson
from taximeter_emitter.integrations.vllm import VllmMiddleware

from tests.support.emitter_model_api import chat_response, chat_stream


async def serve(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    asked = orjson.loads((await receive())["body"])
    kind = b"text/event-stream" if asked.get("stream") else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    pieces = chat_stream(asked, "ab" * 100) if asked.get("stream") else [orjson.dumps(chat_response())]
    gone = asyncio.ensure_future(receive())
    for piece in pieces:
        await asyncio.sleep(0.01 if asked.get("stream") else 0)
        if gone.done():
            return
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    gone.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class LazyApp:
    """The middleware is made when the server has started, as vLLM makes it, and not when this module is imported."""

    def __init__(self) -> None:
        self._app: VllmMiddleware | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._app = self._app or VllmMiddleware(serve)
        await self._app(scope, receive, send)


app = LazyApp()
