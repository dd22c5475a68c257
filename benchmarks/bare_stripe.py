"""A client of Stripe's meter events and nothing else: `python -m benchmarks.bare_stripe URL FILE MODE CALLS_PER_SECOND`.

FILE has a JSON object a line: the parameters of a call. MODE is `aiohttp`: the reporter's connections alone; `library`: the official
library on top of them; `stream`: the connections alone, 100 events a call. One call at a time for each of 256 connections, and no outcome is kept.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path as Folder
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from benchmarks.simulated_stripe import KEY
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client

STARTED: Final = "started"
FINISHED: Final = "finished"
CONNECTIONS: Final = 256
TIMEOUT_SECONDS: Final = 30.0
EVENTS_PER_CALL: Final = 100
_FORM: Final = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}

Call = Callable[[dict[str, Any]], Awaitable[None]]


def form_of(parameters: dict[str, Any]) -> str:
    """The body of a call of version 1."""
    flat = {name: value for name, value in parameters.items() if name != "payload"}
    return urlencode({**flat, **{f"payload[{name}]": value for name, value in parameters["payload"].items()}})


def by_aiohttp(http: StripeHttp, url: str) -> Call:
    """Encoded here, and the answer is not looked at but for its status."""

    async def call(parameters: dict[str, Any]) -> None:
        headers = {**_FORM, "Idempotency-Key": parameters["identifier"]}
        _, status, _ = await http.request_async("post", f"{url}/v1/billing/meter_events", headers, form_of(parameters))
        assert status == 200, status

    return call


def by_library(http: StripeHttp, url: str) -> Call:
    """As the library has it."""
    meter_events = make_client(http, api_key=Secret(KEY), api_base=url).v1.billing.meter_events

    async def call(parameters: dict[str, Any]) -> None:
        await meter_events.create_async(parameters, {"idempotency_key": parameters["identifier"]})  # type: ignore[arg-type]  # read from a file

    return call


async def by_stream(http: StripeHttp, url: str) -> Call:
    """Bodies of 100 events."""
    asking = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body, status, _ = await http.request_async("post", f"{url}/v2/billing/meter_event_session", asking, b"{}")
    assert status == 200, status
    headers = {"Authorization": f"Bearer {orjson.loads(body)['authentication_token']}", "Content-Type": "application/json"}

    async def call(parameters: dict[str, Any]) -> None:
        _, status, _ = await http.request_async("post", f"{url}/v2/billing/meter_event_stream", headers, orjson.dumps(parameters))
        assert status == 200, status

    return call


def read_calls(file: Folder) -> list[dict[str, Any]]:
    """The parameters of every call."""
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


async def run(url: str, file: Folder, mode: str, calls_per_second: float) -> None:
    """Make every call once, at this pace; say when it begins and when it is through."""
    calls = read_calls(file)
    http = StripeHttp(connections=CONNECTIONS, timeout_s=TIMEOUT_SECONDS)
    call = await by_stream(http, url) if mode == "stream" else by_library(http, url) if mode == "library" else by_aiohttp(http, url)
    loop = asyncio.get_running_loop()
    print(STARTED, flush=True)
    began = loop.time()
    each = iter(enumerate(calls))

    async def work(each: Iterator[tuple[int, dict[str, Any]]]) -> None:
        for number, parameters in each:
            wait = began + number / calls_per_second - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            await call(parameters)

    await asyncio.gather(*(work(each) for _ in range(CONNECTIONS)))
    print(FINISHED, flush=True)
    # What it has used is looked at now; it is ended from outside.
    await asyncio.Event().wait()


if __name__ == "__main__":
    # The reporter's loop, too.
    asyncio.run(run(sys.argv[1], Folder(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
