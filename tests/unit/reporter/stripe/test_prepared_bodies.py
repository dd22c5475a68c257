"""Bodies that are encoded here and not by the library."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.stripe.client import StripeHttp
from reporter.stripe.meter_events_v1 import form_of
from reporter.stripe.prepared_bodies import PreparedHttp, prepared

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXTS, st.dictionaries(TEXTS.filter(lambda key: "]" not in key), TEXTS, max_size=4), TEXTS, st.integers(0, 10**10))
def test_a_form_says_what_it_was_made_of_whatever_the_texts_are(name: str, payload: dict[str, str], identifier: str, timestamp_s: int) -> None:
    form = form_of(event_name=name, payload=payload, identifier=identifier, timestamp_s=timestamp_s)
    assert form.isascii()
    assert parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=True) == [
        ("event_name", name),
        *((f"payload[{key}]", value) for key, value in payload.items()),
        ("identifier", identifier),
        ("timestamp", str(timestamp_s)),
    ]


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
