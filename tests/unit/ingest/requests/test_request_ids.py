"""Ids of requests: a well-formed one comes back, and any other header cannot do harm."""

import orjson
import pytest

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import refused
from ingest.requests.request_ids import HEADER, RequestId, RequestIds


@pytest.mark.parametrize("header", ["a", "0191e5d2-7b1c-7000-8000-1234567890ab", "Root=1-67891233-abcdef012345678912345678", "x" * 128])
def test_a_well_formed_id_is_kept(header: str) -> None:
    assert RequestIds().of({HEADER: header}) == RequestId(header)


@pytest.mark.parametrize("header", [None, "", "x" * 129, "a b", "a\r\nSet-Cookie: x", "\u00e9", '"', "{}", "a\n"])
def test_any_other_one_is_replaced(header: str | None) -> None:
    ids, others = RequestIds(), RequestIds()
    headers = {} if header is None else {HEADER: header}
    made = {each.of(headers).text for each in (ids, ids, others)}
    assert len(made) == 3
    assert header not in made
    assert all(ids.of({HEADER: each}).text == each for each in made)


def test_an_error_says_the_same_in_the_words_of_rfc_9457() -> None:
    answer = refused(RequestRefused(Refusal.SLOW_BODY, "too slow"), RequestId("r-1"))
    assert isinstance(answer.body, bytes)
    body = orjson.loads(answer.body)
    assert answer.content_type == "application/json"
    assert answer.headers[HEADER] == "r-1"
    assert body["error"] == {"reason": "slow_body", "field": "", "detail": "too slow"}
    assert {name: body[name] for name in ("type", "title", "status", "detail", "instance")} == {
        "type": "urn:taximeter:problem:slow_body",
        "title": "Slow body",
        "status": 408,
        "detail": "too slow",
        "instance": "urn:taximeter:request:r-1",
    }


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"ce-traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "a" * 32),
        ({"ce-traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "traceparent": f"00-{'c' * 32}-{'d' * 16}-00"}, "c" * 32),
        ({"ce-traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "traceparent": "malformed"}, None),
        ({"ce-traceparent": "malformed"}, None),
    ],
)
def test_the_trace_is_that_of_the_request_and_of_its_event_where_it_has_none(headers: dict[str, str], trace_id: str | None) -> None:
    trace = RequestIds().of(headers).trace
    assert (None if trace is None else trace.trace_id) == trace_id
