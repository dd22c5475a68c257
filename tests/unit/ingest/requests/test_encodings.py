"""Compressed bodies: what they hold is bounded, and what is broken is named."""

import gzip
import zlib
from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_event

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.bodies import CLOUDEVENT, CLOUDEVENT_BATCH, JSON, BodyReader, media_type_of
from ingest.requests.encodings import GZIP, IDENTITY, RATIO_FREE_BYTES, RATIO_MAX, decompressed, encoding_of
from metering.records.meters import Catalogue, Meter

LIMIT = 10_000_000


@given(st.lists(st.binary(max_size=2_000), min_size=1, max_size=4))
def test_what_was_compressed_comes_back_also_in_several_members(parts: list[bytes]) -> None:
    assert decompressed(b"".join(map(gzip.compress, parts)), LIMIT) == b"".join(parts)


@pytest.mark.parametrize(
    ("body", "limit", "refusal"),
    [
        (gzip.compress(b"x" * 1_001, mtime=0), 1_000, Refusal.BODY_TOO_LARGE),
        (gzip.compress(b"x" * 600, mtime=0) * 2, 1_000, Refusal.BODY_TOO_LARGE),
        (gzip.compress(b" " * 100_000_000, mtime=0), LIMIT, Refusal.BODY_TOO_LARGE),
        (gzip.compress(b" " * 1_000_000, mtime=0), LIMIT, Refusal.BODY_TOO_LARGE),  # 1000 times what was sent
        (gzip.compress(b"x" * 100, mtime=0)[:-1], LIMIT, Refusal.MALFORMED_ENCODING),
        (gzip.compress(b"x" * 100, mtime=0)[:12], LIMIT, Refusal.MALFORMED_ENCODING),
        (gzip.compress(b"x" * 100, mtime=0) + b"garbage", LIMIT, Refusal.MALFORMED_ENCODING),
        (gzip.compress(b"x" * 100, mtime=0)[:-8] + b"\0" * 8, LIMIT, Refusal.MALFORMED_ENCODING),
        (zlib.compress(b"x"), LIMIT, Refusal.MALFORMED_ENCODING),
        (b"", LIMIT, Refusal.MALFORMED_ENCODING),
        (b"{}", LIMIT, Refusal.MALFORMED_ENCODING),
        (gzip.compress(b"", mtime=0) * 50, LIMIT, None),
        (gzip.compress(b"", mtime=0) * 50_000, LIMIT, Refusal.MALFORMED_ENCODING),
    ],
    ids=list(map(str, range(13))),
)
def test_what_is_too_large_or_broken_is_named(body: bytes, limit: int, refusal: Refusal | None) -> None:
    if refusal is None:
        assert len(decompressed(body, limit)) <= limit
        return
    with pytest.raises(RequestRefused) as refused:
        decompressed(body, limit)
    assert refused.value.refusal is refusal


def test_a_small_dense_body_is_taken() -> None:
    body = gzip.compress(b" " * RATIO_FREE_BYTES, mtime=0)
    assert len(body) * RATIO_MAX < RATIO_FREE_BYTES
    assert len(decompressed(body, LIMIT)) == RATIO_FREE_BYTES


@given(st.binary(max_size=200))
def test_no_bytes_crash_it(body: bytes) -> None:
    try:
        decompressed(body, 1_000)
    except RequestRefused:
        return


@pytest.mark.parametrize(("header", "encoding"), [("identity", IDENTITY), ("GZIP", GZIP), (" x-gzip ", GZIP)])
def test_encodings_are_known_by_name(header: str, encoding: str) -> None:
    assert encoding_of(header) == encoding


@pytest.mark.parametrize("header", ["", "deflate", "br", "zstd", "gzip, gzip", "gzip,identity"])
def test_other_encodings_are_refused(header: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        encoding_of(header)
    assert refused.value.refusal is Refusal.UNSUPPORTED_ENCODING


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        ("application/vnd.acme.usage+json; charset=utf-8", JSON),
        ("application/problem+json", JSON),
        ("application/cloudevents+json; charset=UTF-8", CLOUDEVENT),
        ("application/cloudevents-batch+json", CLOUDEVENT_BATCH),
    ],
)
def test_every_kind_of_json_is_read(content_type: str, media_type: str) -> None:
    assert media_type_of(content_type) == media_type


@pytest.mark.parametrize("content_type", ["", "text/json", "application/+json", "application/x+xml", "application/cloudevents+xml"])
def test_what_is_no_json_is_refused(content_type: str) -> None:
    with pytest.raises(RequestRefused):
        media_type_of(content_type)


CLOUD: dict[str, Any] = {"specversion": "1.0", "type": "t", "source": "s", "id": "r-1", "subject": "cus_1"}


def test_data_in_base64_is_read() -> None:
    data = b64encode(orjson.dumps({"usage": {"n": 1}})).decode()
    event = parse_event(CLOUD | {"data_base64": data, "datacontenttype": "application/json"}, arrival_ms=1)
    assert (event.customer, event.usage) == ("cus_1", (("n", 1),))
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=10)
    batch = [CLOUD | {"id": f"r-{number}", "data_base64": data} for number in range(6)]
    read = reader.read(CLOUDEVENT_BATCH, {}, orjson.dumps(batch), now_ms=1)
    assert (read.count, read.rejected) == (6, [])


@pytest.mark.parametrize("more", [{"data_base64": 7}, {"data_base64": "e30"}, {"data_base64": "e30=", "data": {}}, {"data_base64": "\u00e9"}])
def test_data_in_base64_that_is_broken_is_rejected(more: dict[str, Any]) -> None:
    with pytest.raises(EventRejected) as rejected:
        parse_event(CLOUD | more, arrival_ms=1)
    assert rejected.value.field == "data_base64"
