"""The console over HTTP: pages for people, sums for programs, and what it refuses. docs/openapi.yaml says what programs get."""

import re
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from audit.tracing.usage_columns import UsageQuestion
from audit.tracing.usage_explained import ExplainedUsage
from console.answering.events_behind import EventLookup, EventsBehind, EventShown, TooManyAsk
from console.folding.usage_changes import FoldChanges, HeldSum, LetterLine, PlanPart, RefusalLine
from console.following.pipeline_view import PipelineView
from console.following.price_following import PriceFollowing
from console.metrics import ConsoleMetrics
from console.serving.console_server import STATIC, USAGE_PATH, ConsoleServer, Sources
from console.serving.page_answers import PageAnswers
from console.serving.readers_access import Access
from console.store.fold_places import LEDGER, FoldPlace
from console.store.store_reading import AnswerTooLong, StoreReading
from metering.configuration.key_file import create_key, parse_keys
from metering.process.listener import ListenAddress
from metering.process.logs import get_log
from tests.support.console_usage import DAY, a_store
from tests.support.manual_clock import ManualClock
from tests.support.openapi import answer_faults

ODD = "a<b>&\"'"
T = TypeVar("T")
REVISION = 7
EVERYBODY = Access()
KEY, NARROW = create_key(tenant="ops"), create_key(tenant="shop", customers=("b",))


class TwoEvents(EventLookup):
    """Answers without a log; a meter `busy` is being asked about."""

    def __init__(self) -> None:
        pass

    async def find(self, question: UsageQuestion) -> EventsBehind:
        if question.meter == "busy":
            raise TooManyAsk("try again")
        events = [
            EventShown("5/0", question.from_ms, "counted", 9, '{"tokens":9}', "{}", ODD),
            EventShown("6/0", question.from_ms, "duplicate", 9, "", "", ""),
        ]
        return EventsBehind(0, ExplainedUsage(rows=9, events=9, compared=True), events)


class BrokenReading(StoreReading):
    """Raises whatever the test wants."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, seconds=1)
        self.error: Exception | None = None

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        if self.error is not None:
            raise self.error
        return await super().ask(question)


def filled(path: Path) -> None:
    store = a_store(path, (ODD, "tokens", (("model", ODD),), 0, 10), ("b", "tokens", (), 1, 100))
    changes = FoldChanges(
        plans=[PlanPart("f" * 32, 0, 2, "take_out", ODD, "sent twice", 5_000, -40)],
        refused=[RefusalLine(3, 0, "b", "tokens", 5_000, 7, "rejected", ODD, 6_000)],
        letters=[LetterLine(0, 4, 0, 5_000, "wrong_type", "usage", ODD, 1, "src", "b")],
        held=[HeldSum("b", "tokens", 12, 5_000)],
    )
    store.write(FoldPlace(LEDGER, 0, 1), None, changes)
    store.close()


@asynccontextmanager
async def serving(path: Path, access: Access = EVERYBODY, *, read: bool = True) -> AsyncIterator[tuple[str, BrokenReading]]:
    filled(path)
    reading, view, clock = BrokenReading(path), PipelineView(1), ManualClock(DAY * 86_400_000 + 5_000_000)
    if read:
        view.caught_up |= {("tallies", 0), ("ledger", 0), ("deadletters", 0)}
    view.partitions[0].troubles["ledger"] = ODD
    pages = PageAnswers(reading, view, TwoEvents(), PriceFollowing(None, clock, get_log(__name__)), clock)
    server = ConsoleServer(
        ListenAddress(host="127.0.0.1", port=0),
        access,
        Sources(reading, pages, lambda: REVISION),
        metrics=ConsoleMetrics.create(CollectorRegistry()),
        clock=clock,
    )
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}", reading
    finally:
        await server.stop()
        reading.close()


PAGES = (
    "/",
    "/customers",
    "/customer?id=b",
    "/customer?id=b&by=hour&from=2024-10-04",
    "/set-aside",
    "/set-aside?reason=wrong_type",
    "/refused",
    "/plans",
)


async def test_pages_say_what_there_is_and_nothing_in_them_can_run(tmp_path: Path) -> None:
    async with serving(tmp_path / "usage") as (url, _), aiohttp.ClientSession() as session:
        found = {}
        for path in (*PAGES, "/customer/events?id=b&meter=tokens"):
            async with session.get(url + path) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
                found[path] = await answer.text()
                assert ODD not in found[path]
                assert re.findall(r"<script(?![^>]* src=)|style=|javascript:| on\w+=", found[path]) == []
        assert "a&lt;b&gt;&amp;&quot;&#x27;" in found["/customers"]
        assert "100" in found["/customer?id=b"]
        assert "wrong_type" in found["/set-aside"]
        assert "rejected" in found["/refused"]
        assert "ffffffff" in found["/plans"]
        assert "they make this sum" in found["/customer/events?id=b&meter=tokens"]


async def test_a_page_is_renewed_only_when_there_is_something_new(tmp_path: Path) -> None:
    async with serving(tmp_path / "usage") as (url, _), aiohttp.ClientSession(headers={"HX-Request": "true"}) as session:
        for seen, status in (("7", 204), ("6", 200)):
            async with session.get(f"{url}/customers?seen={seen}") as answer:
                assert answer.status == status
        async with session.get(f"{url}/?seen=7") as answer:  # the ends of the logs are not of the store
            assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/customers?form=1", "form"),
        ("/customer", "id"),
        ("/customer?id=b&by=year", "by"),
        ("/customer?id=b&from=never", "from"),
        ("/plans?x=1", "x"),
        ("/customer/events?id=b&meter=busy", "try again"),
        ("/customers?begins=a&begins=b", "comes twice"),
    ],
)
async def test_a_page_that_cannot_be_shown_says_why(tmp_path: Path, path: str, said: str) -> None:
    async with serving(tmp_path / "usage") as (url, _), aiohttp.ClientSession() as session, session.get(url + path) as answer:
        assert answer.status == 400
        assert said in await answer.text()


async def test_until_the_log_is_read_the_numbers_are_called_incomplete(tmp_path: Path) -> None:
    async with serving(tmp_path / "usage", read=False) as (url, _), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/customers") as answer:
            assert "The numbers grow still" in await answer.text()
        async with session.get(f"{url}{USAGE_PATH}") as answer:
            assert (await answer.json())["complete"] is False


async def test_what_programs_get_is_as_the_document_says(tmp_path: Path) -> None:
    async with serving(tmp_path / "usage", Access(parse_keys(KEY.entry + NARROW.entry))) as (url, reading), aiohttp.ClientSession() as session:

        async def get(query: str, token: str = KEY.token) -> int:
            async with session.get(f"{url}{USAGE_PATH}{query}", headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer_faults(USAGE_PATH, "get", answer.status, answer.headers, await answer.read()) == []
                return answer.status

        assert [await get(query) for query in ("", "?group_by=customer,model,day&limit=1", "?from=x", "?form=1")] == [200, 200, 400, 400]
        assert [await get(query, NARROW.token) for query in ("", "?customer=a", "?customer=b")] == [403, 403, 200]
        assert await get("", "tmk_no") == 401
        for error, status in ((AnswerTooLong("ask for less"), 503), (sqlite3.OperationalError("disk I/O error"), 500)):
            reading.error = error
            assert await get("") == status


async def test_without_a_key_nothing_is_shown_but_what_pages_look_like(tmp_path: Path) -> None:
    async with serving(tmp_path / "usage", Access(parse_keys(KEY.entry + NARROW.entry))) as (url, _), aiohttp.ClientSession() as session:
        for path in PAGES:
            async with session.get(url + path) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        for name in STATIC:
            async with session.get(f"{url}/static/{name}") as answer:
                assert answer.status == 200
        basic = f"Basic {b64encode(f'any:{NARROW.token}'.encode()).decode()}"
        for path, status in (("/", 403), ("/customer?id=b", 200), ("/customer?id=a", 403), ("/customers", 403)):
            async with session.get(url + path, headers={"Authorization": basic}) as answer:
                assert answer.status == status
