"""Presets on bodies that real clients sent."""

from base64 import b64decode
from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.event import parse_event

from ingest.foreign.foreign_bodies import map_body
from ingest.foreign.otlp_protobuf import protobuf_spans
from ingest.mappings.foreign_paths import mapping_problems
from ingest.mappings.presets import all_names, presets
from ingest.refusals import RequestRefused
from ingest.requests.bodies import Unmapped
from tests.support.foreign_bodies import mapped, paths_of, recorded


@pytest.mark.parametrize("name", all_names())
def test_a_preset_needs_nothing_more(name: str) -> None:
    assert mapping_problems({"mappings": [{"preset": name}]}) == []


def test_a_preset_says_what_it_is_for_and_what_it_was_checked_with() -> None:
    assert all(preset.about and preset.checked for preset in presets().values())


def test_litellm_openmeter_callback() -> None:
    found = mapped(paths_of({"preset": "litellm"})["/api/v1/events"], recorded("litellm_openmeter"))
    event = parse_event(found.documents[0], arrival_ms=0)
    assert event.customer == "cus_1"
    assert event.source == "litellm"
    assert event.event_id.startswith("chatcmpl-8a70d8b9-d53a-4fe0-90c4-2ad25522a220:")
    assert dict(event.usage) == {"input_tokens": 10, "output_tokens": 20}
    assert event.dimensions == (("model", "gpt-4o"),)
    assert event.time_ms == 1795819790705


def test_litellm_logger() -> None:
    """A completion, the same out of LiteLLM's cache, an embedding, and a failure without tokens."""
    found = mapped(paths_of({"preset": "litellm"})["/v1/from/litellm"], recorded("litellm_logger"))
    completion, embedding = (parse_event(document, arrival_ms=0) for document in found.documents)
    assert found.left_out == 2
    assert completion.customer == embedding.customer == "cus_team"
    assert dict(completion.usage) == {"input_tokens": 10, "output_tokens": 20}
    assert dict(embedding.usage) == {"input_tokens": 10, "output_tokens": 0}
    assert completion.dimensions == (("model", "gpt-4o"), ("outcome", "ok"))


def test_litellm_logger_splits_what_is_asked_for() -> None:
    payload = recorded("litellm_logger")[0]
    payload["metadata"]["usage_object"]["prompt_tokens_details"] = {"cached_tokens": 4}
    payload["error_information"]["error_code"] = "499"
    [document] = mapped(paths_of({"preset": "litellm.logger", "split": ["cached"]})["/v1/from/litellm"], payload).documents
    assert document["usage"] == {"input_tokens": 6, "cached_input_tokens": 4, "output_tokens": 20}
    assert document["dimensions"]["outcome"] == "aborted"


def test_a_caller_cannot_make_two_calls_one_event() -> None:
    """A caller may choose LiteLLM's call id, and the response id of some model servers."""
    first = recorded("litellm_logger")[0]
    second = first | {"endTime": first["endTime"] + 0.001}
    one, other = mapped(paths_of({"preset": "litellm"})["/v1/from/litellm"], [first, second]).documents
    assert one["id"] != other["id"]
    again = mapped(paths_of({"preset": "litellm"})["/v1/from/litellm"], [first]).documents[0]
    assert again == one


def test_a_customer_can_be_chosen_otherwise() -> None:
    payload = recorded("litellm_logger")[0] | {"end_user": "cus_7"}
    [document] = mapped(paths_of({"preset": "litellm.logger", "customer": "end_user"})["/v1/from/litellm"], payload).documents
    assert document["customer"] == "cus_7"


def openmeter_event(**data: Any) -> dict[str, Any]:
    """As openmeter 1.0.0b236 sends one."""
    moment = "2026-11-27T22:50:36.972202+00:00"
    return {"id": "63cc4df2", "source": "svc", "specversion": "1.0", "type": "prompt", "subject": "cus_9", "time": moment, "data": data}


def test_openmeter_takes_numbers_as_usage_and_texts_as_dimensions() -> None:
    path = paths_of({"preset": "openmeter"})["/api/v1/events"]
    one, other = mapped(path, [openmeter_event(tokens="123", model="gpt"), openmeter_event(tokens=5)]).documents
    assert (one["usage"], one["dimensions"], one["customer"], one["id"], one["source"]) == (
        {"tokens": 123},
        {"model": "gpt"},
        "cus_9",
        "63cc4df2",
        "svc",
    )
    assert other["usage"] == {"tokens": 5}
    assert "dimensions" not in other


def test_openmeter_in_binary_mode() -> None:
    path = paths_of({"preset": "openmeter"})["/api/v1/events"]
    headers = {"ce-specversion": "1.0", "ce-type": "prompt", "ce-id": "r-1", "ce-source": "svc", "ce-subject": "cus_1"}
    [document] = mapped(path, {"tokens": 5}, headers).documents
    assert (document["id"], document["usage"], document["customer"]) == ("r-1", {"tokens": 5}, "cus_1")


def test_nobody_is_no_customer() -> None:
    """Kong says `unknown` for a request that nobody is known for."""
    path = paths_of({"preset": "openmeter"})["/api/v1/events"]
    [document] = mapped(path, openmeter_event(tokens=5) | {"subject": "unknown"}).documents
    assert isinstance(document, Unmapped)
    assert document.refusal.field == "customer"


def test_types_share_a_path() -> None:
    path = paths_of({"preset": "litellm"}, {"preset": "openmeter"})["/api/v1/events"]
    callback, other = mapped(path, [recorded("litellm_openmeter"), openmeter_event(prompt_tokens=3)]).documents
    assert callback["usage"] == {"input_tokens": 10, "output_tokens": 20}
    assert other["usage"] == {"prompt_tokens": 3}


def test_a_type_without_a_mapping_is_read_as_our_own() -> None:
    event = openmeter_event(usage={"n": 1})
    [document] = mapped(paths_of({"preset": "litellm"})["/api/v1/events"], event).documents
    assert dict(parse_event(document, arrival_ms=0).usage) == {"n": 1}


def test_openai_usage() -> None:
    """Shapes of openai 3.57.0: a chat, a response, a chunk before the last, an embedding without an id, and Anthropic's message."""
    path = paths_of({"preset": "openai-usage", "split": ["cached"]})["/v1/from/openai-usage"]
    who = {"customer": "cus_1", "model": "m", "created": 1795819790}
    chat = who | {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": {"cached_tokens": 64}},
    }
    response = who | {
        "id": "resp_1",
        "object": "response",
        "usage": {"input_tokens": 7, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 0}},
    }
    chunk = who | {"id": "chatcmpl-1", "object": "chat.completion.chunk", "usage": None}
    message = who | {"id": "msg_1", "type": "message", "usage": {"input_tokens": 5, "cache_read_input_tokens": 128955, "output_tokens": 40}}
    found = mapped(path, [chat, response, chunk, message])
    assert [document["usage"] for document in found.documents] == [
        {"input_tokens": 36, "cached_input_tokens": 64, "output_tokens": 20},
        {"input_tokens": 7, "cached_input_tokens": 0, "output_tokens": 2},
    ]
    assert found.left_out == 2


@pytest.mark.parametrize(
    ("preset", "added"),
    [
        ("vector", {"source_type": "file", "timestamp": "2026-11-27T22:50:36.985259123Z", "host": "h", "message": "x"}),
        ("fluent-bit", {"date": 1795819836.985259}),
    ],
)
def test_shippers_of_log_lines(preset: str, added: dict[str, Any]) -> None:
    line = {"id": "r-1", "customer": "cus_1", "usage": {"tokens": 5}, "dimensions": {"model": "m"}, **added}
    [document, other] = mapped(paths_of({"preset": preset})[f"/v1/from/{preset}"], [line, line | {"usage": None}]).documents
    event = parse_event(document, arrival_ms=0)
    assert (event.customer, event.usage, event.dimensions, event.source) == ("cus_1", (("tokens", 5),), (("model", "m"),), preset)
    assert event.time_ms == 1795819836985
    assert isinstance(other, Unmapped)


def test_envoy_ai_gateway() -> None:
    """A call, one that another layer refused, and a caller that repeats its request id."""
    line = {
        "start_time": "2026-11-27T22:50:36.985Z",
        "duration": 1234,
        "response_code": 200,
        "x-request-id": "5895f5a9",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "customer": "cus_1",
    }
    refused = line | {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None, "response_code": 429}
    again = line | {"duration": 1235}
    found = mapped(paths_of({"preset": "envoy-ai-gateway"})["/v1/from/envoy-ai-gateway"], [line, refused, again])
    assert found.left_out == 1
    assert [document["usage"] for document in found.documents] == [{"input_tokens": 100, "output_tokens": 20}] * 2
    assert len({document["id"] for document in found.documents}) == 2
    assert found.documents[0]["dimensions"] == {"model": "m-1"}


def in_json() -> dict[str, Any]:
    """The recorded spans as OTLP writes them in JSON, with the ids and times that the protobuf has."""
    spans = [span_of(span) for span in protobuf_spans(b64decode(recorded("otlp_spans")))]
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}]}]}


def span_of(span: dict[str, Any]) -> dict[str, Any]:
    kinds = {int: "intValue", str: "stringValue", float: "doubleValue"}
    values = {
        name: {kinds[type(value)]: str(value) if type(value) is int else value} for name, value in span["attributes"].items() if value is not None
    }
    return {
        "traceId": span["trace_id"],
        "spanId": span["span_id"],
        "name": span["name"],
        "startTimeUnixNano": str(span["start_ns"]),
        "endTimeUnixNano": str(span["end_ns"]),
        "attributes": [{"key": name, "value": value} for name, value in values.items()],
    }


def test_spans_of_the_opentelemetry_sdk() -> None:
    """A chat counts, and the agent's span around it, which repeats its sums, does not. In JSON it is the same event."""
    path = paths_of({"preset": "otlp", "split": ["cached"]})["/v1/traces"]
    raw = b64decode(recorded("otlp_spans"))
    found = mapped(path, raw, {"content-type": "application/x-protobuf"})
    [document] = found.documents
    event = parse_event(document, arrival_ms=0)
    assert (event.customer, found.left_out) == ("cus_1", 1)
    assert dict(event.usage) == {"input_tokens": 36, "cached_input_tokens": 64, "output_tokens": 20}
    assert event.dimensions == (("model", "gpt-4o-2024"), ("outcome", "ok"))
    assert abs(event.time_ms - 1795821000000) < 10**10
    assert mapped(path, in_json(), {"content-type": "application/json"}).documents == [document]


def test_a_chat_without_usage_is_not_lost_in_silence() -> None:
    path = paths_of({"preset": "otlp"})["/v1/traces"]
    document = in_json()
    [chat, _] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    chat["attributes"] = [each for each in chat["attributes"] if "usage" not in each["key"]]
    assert [type(each) for each in mapped(path, document).documents] == [Unmapped]
    chat["status"] = {"code": "STATUS_CODE_ERROR"}
    assert mapped(path, document).left_out == 2


def test_spans_that_are_left_out_do_not_count_as_events() -> None:
    """A Collector sends thousands of spans at once, and what is answered with 413 is gone."""
    path = paths_of({"preset": "otlp"})["/v1/traces"]
    document = in_json()
    [chat, agent] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"] = [chat] * 10 + [agent] * 150
    found = map_body(path, {}, orjson.dumps(document), events_max=10)
    assert (len(found.documents), found.left_out) == (10, 150)
    for more in ([chat], [agent]):
        document["resourceSpans"][0]["scopeSpans"][0]["spans"] = spans + more
        with pytest.raises(RequestRefused, match="too_many_events"):
            map_body(path, {}, orjson.dumps(document), events_max=10)
