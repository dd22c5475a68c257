"""Presets on bodies that real clients sent."""

from typing import Any

import pytest
from taximeter_emitter.wire.event import parse_event

from ingest.mappings.foreign_paths import mapping_problems
from ingest.mappings.presets import all_names, presets
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
