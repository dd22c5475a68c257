"""Middleware for a server of OpenAI's or Anthropic's API, such as vLLM. It meters each answer as its bytes pass.

app = UsageMiddleware(app, calls, customer=by_header("x-customer"))
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from taximeter_emitter.integrations.http_exchange import BODY_BYTES_MAX, AnsweredCall, AskedCall, is_metered
from taximeter_emitter.integrations.model_calls import ModelCalls

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
CustomerOf = Callable[[Scope], "str | None"]

_BEARER: Final = "bearer "


def by_header(name: str) -> CustomerOf:
    """The customer is in this header. Only for one that something in front of the server sets, and takes away from what clients send."""
    wanted = name.lower()
    return lambda scope: headers_of(scope).get(wanted)


def by_key(customers: Mapping[str, str]) -> CustomerOf:
    """The customer by the API key that a client sends as `Authorization: Bearer` or `x-api-key`.

    `customers`: by the SHA-256 of the key in hexadecimal, so that no keys need to be kept.
    """

    def customer_of(scope: Scope) -> str | None:
        headers = headers_of(scope)
        given = headers.get("authorization", "")
        key = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else headers.get("x-api-key", "")
        return customers.get(hashlib.sha256(key.encode("latin-1", "replace")).hexdigest()) if key else None

    return customer_of


class UsageMiddleware:
    """Pure ASGI: hands every message on at once, and reads a copy. Requests other than calls of models pass untouched.

    `customer`: says who pays, from the scope when the answer starts, so that what authenticates inside of this has spoken.
    `inject`: ask for the usage of chat streams where the client did not, and take the chunk with it out again.
    Put it inside of what compresses answers.
    """

    def __init__(self, app: Application, calls: ModelCalls, *, customer: CustomerOf, inject: bool = True) -> None:
        self._app = app
        self._calls = calls
        self._customer = customer
        self._inject = inject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI says it."""
        if scope["type"] != "http" or not is_metered(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        served = _ServedCall(self._calls, self._customer, scope, receive, send)
        await served.read_request(inject=self._inject)
        try:
            await self._app(served.scope, served.receive, served.send)
        except Exception:
            served.settle(has_failed=True)
            raise
        finally:
            served.settle(has_failed=False)


class _ServedCall:
    """One request. The client is gone once a disconnect was received; what is sent after it was not delivered."""

    def __init__(self, calls: ModelCalls, customer: CustomerOf, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._calls = calls
        self._customer = customer
        self._receive = receive
        self._send = send
        self._read: list[Message] = []
        self._asked = AskedCall(scope["path"], b"", inject=False)
        self._answered: AnsweredCall | None = None
        self._is_gone = False

    async def read_request(self, *, inject: bool) -> None:
        """Read a JSON body, which the server needs whole, too. A larger one is left to the server, and usage is not asked for."""
        if not headers_of(self.scope).get("content-type", "").startswith("application/json"):
            return
        body = bytearray()
        while len(body) <= BODY_BYTES_MAX:
            message = await self._receive()
            self._read.append(message)
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        else:
            return
        self._asked = asked = AskedCall(self.scope["path"], bytes(body), inject=inject)
        if asked.body is not None:
            self._read = [{"type": "http.request", "body": asked.body, "more_body": False}]
            kept = [(name, value) for name, value in self.scope["headers"] if name.lower() not in {b"content-length", b"transfer-encoding"}]
            self.scope = {**self.scope, "headers": [*kept, (b"content-length", str(len(asked.body)).encode())]}

    async def receive(self) -> Message:
        if self._read:
            message = self._read.pop(0)
        else:
            message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_gone = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._answered = self._started(message)
        answered = self._answered
        if kind != "http.response.body" or answered is None or (self._is_gone and not answered.has_ended):
            await self._send(message)
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if not self._asked.hides_usage:
            await self._send(message)
            answered.saw_body(body)
            if is_last:
                answered.saw_end()
            return
        shown = answered.saw_body(body) + (answered.saw_end() if is_last else b"")
        if shown or is_last:
            await self._send({**message, "body": shown})

    def settle(self, *, has_failed: bool) -> None:
        if self._answered is not None:
            self._answered.settle("error" if has_failed else None)

    def _started(self, message: Message) -> AnsweredCall:
        try:
            customer = self._customer(self.scope)
        except Exception as error:  # what the host gave must not break its answers
            self._calls.note_unreadable(f"customer raised {type(error).__name__}")
            customer = None
        return AnsweredCall(
            self._calls,
            self._calls.call(customer, model=self._asked.model),
            status=message["status"],
            headers=headers_of(message),
            hides_usage=self._asked.hides_usage,
        )


def headers_of(message: Mapping[str, Any]) -> dict[str, str]:
    """Headers by their names in lower case; of several with one name, the last."""
    return {bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1") for name, value in message.get("headers", ())}
