"""Stripe's key from a file: a new one is used by the next call, and one that may not be used changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from metering.configuration import file_watch
from metering.configuration.file_watch import FileWatch
from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, load
from metering.stripe.client import StripeHttp, make_client
from metering.stripe.followed_key import FollowedKey
from metering.stripe.settings import StripeSettings

FIRST, SECOND = "sk_test_first1234", "rk_test_second1234"


def followed(file: Path, key: str = FIRST, **variables: str) -> FollowedKey:
    file.write_text(key + "\n")
    settings = load(StripeSettings, environ={"STRIPE_API_KEY_FILE": str(file), **variables}, section="stripe")
    return FollowedKey(settings.api_key)


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[str, list[str]]]:
    """A server, and the keys of the requests that it got."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.json_response({"object": "account", "id": "acct_1"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def test_the_next_call_has_the_new_key_and_a_session_keeps_its_token(tmp_path: Path) -> None:
    key = followed(tmp_path / "key")
    async with recording() as (url, seen):
        http = StripeHttp(connections=1, timeout_s=5)
        client = make_client(http, api_key=key, api_base=url)
        await client.v1.balance.retrieve_async()
        (tmp_path / "key").write_text(SECOND)
        assert key.read_again(production=False)
        await client.v1.balance.retrieve_async()
        await client.raw_request_async("get", "/v1/balance", api_key="token_of_a_session")
        assert not key.read_again(production=False)
        await http.close_async()
    assert seen == [FIRST, SECOND, "token_of_a_session"]


@pytest.mark.parametrize("text", ["sk_live_1234567890", "", "pk_test_1234567890", "sk_test_1 sk_test_2", "\x00\xff", "x" * 5_000])
def test_a_key_that_may_not_be_used_changes_nothing_and_is_not_said(tmp_path: Path, text: str) -> None:
    key = followed(tmp_path / "key")
    (tmp_path / "key").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError) as refused:
        key.read_again(production=False)
    assert key.reveal() == FIRST
    assert not text or text not in str(refused.value)


def test_in_production_a_test_key_is_refused_and_without_a_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    key = followed(tmp_path / "key", "sk_live_1234567890", TAXIMETER_STRIPE_PRODUCTION="true")
    (tmp_path / "key").write_text(FIRST)
    with pytest.raises(SettingsError, match="test key"):
        key.read_again(production=True)
    (tmp_path / "key").unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        key.read_again(production=True)
    assert key.reveal() == "sk_live_1234567890"
    assert FollowedKey(Secret(FIRST)).file is None


async def test_a_file_is_watched_by_its_changes_and_by_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watch, "FILE_LOOK_SECONDS", 0.01)
    file, reload = tmp_path / "key", asyncio.Event()
    file.write_text("a")
    watch = FileWatch(file, reload)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await watch.changed()
    (tmp_path / "next").write_text("b")
    (tmp_path / "next").replace(file)  # of the same size, perhaps at the same time, as an orchestrator does it
    async with asyncio.timeout(5):
        await watch.changed()
        file.unlink()
        await watch.changed()
        reload.set()
        await watch.changed()
    assert not reload.is_set()
