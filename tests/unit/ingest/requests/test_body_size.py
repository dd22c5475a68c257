"""Bodies with far more values than events have are refused before they are decoded, and events with strange texts are not."""

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.bodies import JSON, NDJSON, BodyReader
from ingest.requests.body_size import check_size
from metering.records.meters import Catalogue, Meter

NOW_MS = 1_800_000_000_000
SIZE = 8_000_000


def repeated(part: bytes, begin: bytes = b"[", end: bytes = b"0]") -> bytes:
    return begin + part * (SIZE // len(part)) + end


FLOODS = [
    (JSON, repeated(b"[],")),
    (JSON, repeated(b"{},")),
    (JSON, repeated(b"1,")),
    (JSON, repeated(b'"",')),
    (JSON, repeated(b'"\\"",')),
    (JSON, repeated(b"null,")),
    (JSON, repeated(b'{"a":1},')),
    (JSON, repeated(b'"a":1,', b'{"id":"r",', b'"z":1}')),
    (JSON, b"[" + repeated(b"[],") + b"]"),
    (NDJSON, b"{}\n" * (SIZE // 3)),
    (NDJSON, b"\n" * SIZE),
    (NDJSON, b"\r\n" * (SIZE // 2)),
]


@pytest.mark.parametrize(("media_type", "body"), FLOODS, ids=[f"{media_type} {body[:9]!r}" for media_type, body in FLOODS])
def test_floods_of_values_do_not_hold_the_loop(media_type: str, body: bytes) -> None:
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=1_000)
    began = time.process_time()
    with pytest.raises(RequestRefused) as refused:
        reader.read(media_type, {}, body, now_ms=NOW_MS)
    assert refused.value.refusal is Refusal.TOO_MANY_EVENTS
    # Decoding them takes seconds; this takes 50 ms on a slow machine.
    assert time.process_time() - began < 1.0


texts = st.text(alphabet='a,[{"\\\n', max_size=40)


@given(st.lists(st.fixed_dictionaries({"id": texts, "customer": texts, "dimensions": st.dictionaries(texts, texts, max_size=16)}), max_size=5))
def test_marks_inside_of_texts_do_not_count(events: list[object]) -> None:
    check_size(orjson.dumps(events), max(1, len(events)))


def test_many_lines_that_are_each_short_do_not_hold_the_loop_either() -> None:
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=2_000)
    began = time.process_time()
    read = reader.read(NDJSON, {}, (b"[" + b"[]," * 1_300 + b"0]\n") * 2_000, now_ms=NOW_MS)
    assert {rejected.reason for rejected in read.rejected} == {"too_many"}
    assert time.process_time() - began < 1.0


def test_a_line_with_too_many_values_spoils_no_other() -> None:
    good = b'{"id":"r-1","customer":"c","usage":{"n":1}}'
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=1_000)
    began = time.process_time()
    read = reader.read(NDJSON, {}, good + b"\n" + repeated(b"[],") + b"\n" + good.replace(b"r-1", b"r-2"), now_ms=NOW_MS)
    assert [rejected.reason for rejected in read.rejected] == ["too_many"]
    assert sum(len(part.ids) for part in read.accepted) == 2
    assert time.process_time() - began < 1.0
