"""Bodies that are encoded here and not by the library."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from metering.stripe.client import StripeHttp
from reporter.stripe.prepared_bodies import PreparedHttp, prepared


async def test_a_prepared_body_goes_out_with_the_request_of_its_block_and_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Any]] = []

    async def request_async(_: StripeHttp, __: str, url: str, ___: Mapping[str, str], post_data: Any = None) -> tuple[bytes, int, Mapping[str, str]]:
        await asyncio.sleep(0)
        sent.append((url, post_data))
        return b"{}", 200, {}

    monkeypatch.setattr(StripeHttp, "request_async", request_async)
    http = PreparedHttp(connections=1, timeout_s=1.0)

    async def send(number: int) -> None:
        with prepared(str(number).encode()):
            await http.request_async("post", f"/{number}", {}, "the library's")
        await http.request_async("post", "/after", {}, "the library's")

    await asyncio.gather(*(send(number) for number in range(20)))
    await http.close_async()
    assert sorted(sent[:20]) == sorted((f"/{number}", str(number).encode()) for number in range(20))
    assert set(sent[20:]) == {("/after", "the library's")}
