"""Whatever bytes come: spans, or a refusal by name. What was recorded is read in every piece of it."""

from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from ingest.foreign.otlp_protobuf import partial_success, protobuf_spans
from ingest.refusals import Refusal, RequestRefused
from tests.support.foreign_bodies import recorded

RAW = b64decode(recorded("otlp_spans"))


def spans(raw: bytes) -> int | Refusal:
    try:
        return len(list(protobuf_spans(raw)))
    except RequestRefused as refused:
        return refused.refusal


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    found = spans(raw)
    assert isinstance(found, int) or found is Refusal.MALFORMED_PROTOBUF


@given(st.data())
def test_a_damaged_body(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(RAW) - 1))
    damaged = RAW[:place] + bytes([data.draw(st.integers(0, 255))]) + RAW[place + 1 :]
    found = spans(damaged)
    assert isinstance(found, int) or found is Refusal.MALFORMED_PROTOBUF


@given(st.integers(1, len(RAW) - 1))
def test_a_body_that_is_cut_off_is_refused(end: int) -> None:
    assert spans(RAW) == 2
    assert spans(RAW[:end]) is Refusal.MALFORMED_PROTOBUF


def test_the_answer() -> None:
    assert partial_success(0, "") == b""
    assert partial_success(3, "no") == bytes([0x0A, 6, 0x08, 3, 0x12, 2]) + b"no"
    assert partial_success(300, "")[2:5] == bytes([0x08, 0xAC, 0x02])
