"""A dead letter holds the original, untouched, and says where it came from and why it is there."""

from dataclasses import replace

import orjson
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.records.dead_letter import DeadLetter, Origin, encode_dead_letter


def letter(value: bytes | None, detail: str = "is a float") -> DeadLetter:
    return DeadLetter(
        topic="usage.events",
        partition=3,
        offset=77,
        log_time_ms=1_000,
        reason=Reason.NOT_AN_INTEGER,
        field="usage.tokens",
        detail=detail,
        indexes=(1, 4),
        events=2,
        key=b"cus_1",
        value=value,
        headers=(("ce_id", b"\xff"), ("taximeter-dead-letter", b"not ours")),
        origin=Origin("host-1", "", (("cus_1", 2),)),
    )


def test_the_value_is_the_original_byte_for_byte() -> None:
    for value in (b'{"usage": \xff', b"", None):
        assert encode_dead_letter(letter(value))[0] == value


def test_the_header_tells_the_place_and_the_reason() -> None:
    (name, about), *_ = encode_dead_letter(letter(b"{}"))[1]
    assert name == "taximeter-dead-letter"
    assert orjson.loads(about or b"") == {
        "topic": "usage.events",
        "partition": 3,
        "offset": 77,
        "log_time": 1_000,
        "reason": "not_an_integer",
        "field": "usage.tokens",
        "detail": "is a float",
        "indexes": [1, 4],
        "events": 2,
        "source": "host-1",
        "emitter": "",
        "largest_customers": [["cus_1", 2]],
    }


def test_the_originals_headers_are_kept_under_names_that_cannot_be_taken_for_ours() -> None:
    headers = encode_dead_letter(letter(b"{}"))[1]
    assert headers[1:] == [("original-ce_id", b"\xff"), ("original-taximeter-dead-letter", b"not ours")]


def test_a_long_detail_is_cut() -> None:
    about = orjson.loads(encode_dead_letter(letter(b"{}", "x" * 10_000))[1][0][1] or b"")
    assert len(about["detail"]) == 500


def test_the_key_is_the_original_s_and_empty_where_the_client_could_not_write_the_record() -> None:
    assert letter(None).written_key == b"cus_1"
    assert replace(letter(b"{}"), key=None).written_key is None
    assert replace(letter(None), key=None).written_key == b""


def test_a_record_that_was_larger_when_it_was_decompressed_is_cut_and_says_so() -> None:
    large = replace(letter(b"x" * 50_000_000), key=b"k" * 1_000_000, headers=[("h" * 100, b"v" * 1_000)] * 5_000)
    value, headers = encode_dead_letter(large)
    size = len(large.written_key or b"") + len(value or b"") + sum(len(name) + len(text or b"") + 10 for name, text in headers)
    assert size < 2 * EVENT_RECORD_BYTES_MAX
    about = orjson.loads(headers[0][1] or b"")
    assert about["cut_bytes"] > 50_000_000
    assert "cut_bytes" not in orjson.loads(encode_dead_letter(letter(b"x" * EVENT_RECORD_BYTES_MAX))[1][0][1] or b"")


def test_half_a_million_empty_headers_fit() -> None:
    _, headers = encode_dead_letter(replace(letter(b"{}"), headers=[("", b"")] * 500_000))
    assert len(headers) < 20_000
    assert orjson.loads(headers[0][1] or b"")["cut_bytes"] == 0
