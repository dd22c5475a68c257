"""What LiteLLM and OpenTelemetry report becomes one event for each call. Skipped, by name, where a library is not installed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from taximeter_emitter.integrations import ModelCalls
from taximeter_emitter.integrations.libraries import library
from taximeter_emitter.integrations.litellm import _Reports
from taximeter_emitter.integrations.opentelemetry import counts_of_span
from taximeter_emitter.integrations.usage.token_counts import check_split, split_usage

from tests.support.emitter_model_api import CallSink, call_event, chat_usage
from tests.support.waiting import until_async

WHOLE = call_event(input_tokens=9, output_tokens=2)


def payload(**more: Any) -> dict[str, Any]:
    metadata = {"user_api_key_team_id": "cus_1", "usage_object": {**chat_usage(), "cache_read_input_tokens": 4}}
    return {"standard_logging_object": {"model": "m-2", "metadata": metadata, "status": "success", "cache_hit": None, **more}}


def report(kwargs: Mapping[str, Any], *, has_failed: bool = False, **options: Any) -> list[dict[str, Any]]:
    sink = CallSink()
    reports = _Reports(ModelCalls(sink, **options), "user_api_key_team_id")
    hook = reports.log_failure_event if has_failed else reports.log_success_event
    hook(kwargs=kwargs, response_obj=None, start_time=None, end_time=None)
    return sink.events


def test_a_success_is_one_event() -> None:
    assert report(payload()) == [WHOLE]


def test_a_cache_hit_bills_no_stored_usage() -> None:
    assert report(payload(cache_hit=True)) == []
    (event,) = report(payload(cache_hit=True), count_requests=True)
    assert (event["usage"], event["outcome"]) == ({"requests": 1}, "cache_hit")


def test_a_client_that_left_is_aborted_and_estimated_though_litellm_says_success() -> None:
    left = payload(error_information={"error_code": "499", "error_class": "ClientDisconnected"})
    assert report(left) == [call_event(outcome="aborted", usage_from="estimate", input_tokens=9, output_tokens=2)]
    assert report(left, aborted="ignore") == []


def test_a_failure_is_no_event_and_a_report_without_its_payload_is_counted() -> None:
    assert report(payload(), has_failed=True) == []
    calls = ModelCalls(CallSink())
    _Reports(calls, "x").log_success_event(kwargs={}, response_obj=None, start_time=None, end_time=None)
    assert calls.counts.unreadable == 1


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
async def test_litellm_itself_reports_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # without it, importing asks the network
    litellm = pytest.importorskip("litellm")
    from taximeter_emitter.integrations.litellm import litellm_logger

    sink = CallSink()
    calls = ModelCalls(sink)
    monkeypatch.setattr(litellm, "callbacks", [litellm_logger(calls, customer="user_api_key_team_id")])
    options = {"model": "openai/m-2", "messages": [{"role": "user", "content": "x"}], "mock_response": "ab"}
    await litellm.acompletion(**options, metadata={"user_api_key_team_id": "cus_1"})
    await until_async(lambda: bool(sink.events))
    await asyncio.sleep(0.2)  # a second report would come by now
    (event,) = sink.events
    assert (event["customer"], event["outcome"], event["usage_from"]) == ("cus_1", "ok", "provider")
    assert set(event["usage"]) == {"input_tokens", "output_tokens"}


def test_attributes_of_a_span_old_and_new() -> None:
    new = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 4}
    old = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 5, "gen_ai.usage.reasoning_tokens": 2}
    split = check_split(("cached", "reasoning"))
    assert split_usage(counts_of_span(new), split) == {"input_tokens": 5, "cached_input_tokens": 4, "output_tokens": 5}
    assert split_usage(counts_of_span(old), split) == {"input_tokens": 9, "output_tokens": 3, "reasoning_tokens": 2}
    assert counts_of_span({"gen_ai.usage.input_tokens": "9"}).problems == ("gen_ai.usage.input_tokens",)


def test_a_number_that_leaves_out_what_was_cached_is_inconsistent_and_nothing_is_split_off() -> None:
    counts = counts_of_span({"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 90})
    assert not counts.are_consistent
    assert split_usage(counts, check_split(["cached"])) == {"input_tokens": 5}


def test_spans_of_inference_count_once_and_those_of_agents_never() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    from taximeter_emitter.integrations.opentelemetry import usage_spans

    sink = CallSink()
    provider = trace.TracerProvider()
    provider.add_span_processor(usage_spans(ModelCalls(sink), customer="enduser.id", scopes={"counted"}))
    usage = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 2, "gen_ai.response.model": "m-2", "enduser.id": "cus_1"}
    contexts = []
    for scope, operation in (("counted", "chat"), ("counted", "invoke_agent"), ("counted", "fetch_response"), ("other", "chat")):
        with provider.get_tracer(scope).start_as_current_span("call", attributes={**usage, "gen_ai.operation.name": operation}) as span:
            contexts.append(span.get_span_context())
    provider.shutdown()
    assert sink.events == [WHOLE]
    assert sink.ids == [f"{contexts[0].trace_id:032x}-{contexts[0].span_id:016x}"]


def test_a_library_that_is_missing_is_named_with_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'taximeter-emitter\[openai\]'"):
        library("a_library_that_nobody_has", "openai")
