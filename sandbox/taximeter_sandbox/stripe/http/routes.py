"""What an endpoint is: a name, a path, the permission it needs, and the two steps in which it answers."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import orjson

from taximeter_sandbox.stripe.http.keys import Permission
from taximeter_sandbox.stripe.http.parameters import Parameters

Lane: TypeAlias = tuple[str, str]  # event name, customer: of one lane, one call is carried out at a time
# What limits a call: an endpoint's own rate; that of meter events; that of the stream, which also takes a session's token for an API key.
Traffic: TypeAlias = Literal["ordinary", "meter_events", "stream"]


class Call(NamedTuple):
    """One request: its parameters, the id in its path (or ""), and what its key and headers say (`idempotency_key` of a POST only).

    `origin` is the address under which the caller reached the simulator, such as `http://127.0.0.1:4010`.
    """

    method: str
    path: str
    identity: str
    parameters: Parameters
    livemode: bool
    api_version: str
    now_ms: int
    idempotency_key: str | None
    request_id: str
    origin: str


class Result(NamedTuple):
    """A successful answer; `event` is the number of the meter event it is about, if it is about one."""

    body: bytes
    event: int | None = None


class Prepared(NamedTuple):
    """A validated call. `commit` takes the simulated time in ms; `lanes` without repetitions."""

    commit: Callable[[int], Result]
    lanes: tuple[Lane, ...] = ()


class Route(NamedTuple):
    """One endpoint."""

    name: str
    method: str
    path: str
    permission: Permission
    prepare: Callable[[Call], Prepared]
    traffic: Traffic = "ordinary"


def json_result(value: object) -> Result:
    """A successful answer that shows an object."""
    return Result(orjson.dumps(value, option=orjson.OPT_INDENT_2))
