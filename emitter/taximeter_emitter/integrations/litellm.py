"""A logger for LiteLLM, its SDK and its proxy: each call is metered when LiteLLM reports it.

litellm.callbacks = [litellm_logger(calls, customer="user_api_key_team_id")]

LiteLLM reports from a task of its own, so `calls.customer(...)` around a call says nothing here: with its SDK give `metadata` to the call.
It reports a stream that the SDK's user breaks off to nobody: meter those with `calls.call`.
"""

from collections.abc import Mapping
from typing import Any, Final

from taximeter_emitter.integrations.libraries import library
from taximeter_emitter.integrations.model_calls import ModelCalls
from taximeter_emitter.integrations.usage.provider_shapes import counts_of

_CLIENT_LEFT: Final = "499"


def litellm_logger(calls: ModelCalls, *, customer: str) -> Any:
    """A CustomLogger that meters.

    `customer`: the name in the call's metadata that says who pays, such as "user_api_key_team_id". The end user's id is one only if clients
    cannot choose it: LiteLLM also takes it from a request's `user`.

    Raises ModuleNotFoundError without litellm.
    """
    base = library("litellm.integrations.custom_logger", "litellm").CustomLogger
    return type("LiteLLMUsage", (_Reports, base), {})(calls, customer)


class _Reports:
    """LiteLLM calls the hooks with keywords. Sync calls come to the first two, async ones to the others, and none to both."""

    def __init__(self, calls: ModelCalls, customer: str) -> None:
        super().__init__()
        self._calls = calls
        self._customer = customer

    def log_success_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002  # LiteLLM's
        self._report(kwargs, has_failed=False)

    def log_failure_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002  # LiteLLM's
        self._report(kwargs, has_failed=True)

    async def async_log_success_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002  # LiteLLM's
        self._report(kwargs, has_failed=False)

    async def async_log_failure_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002  # LiteLLM's
        self._report(kwargs, has_failed=True)

    def _report(self, kwargs: Mapping[str, Any], *, has_failed: bool) -> None:
        payload = kwargs.get("standard_logging_object")
        if not isinstance(payload, Mapping):
            self._calls.note_unreadable("LiteLLM reported a call without its standard_logging_object")
            return
        metadata = payload.get("metadata") or {}
        customer = metadata.get(self._customer)
        call = self._calls.call(customer if isinstance(customer, str) else None, model=payload.get("model") or "")
        if has_failed:
            call.settle("error")
            return
        usage = metadata.get("usage_object") or {name: payload.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        call.running.take(counts_of(usage), is_final=True)
        # Its tokenizer's numbers: LiteLLM says "success" when the client left.
        call.running.is_estimate = str((payload.get("error_information") or {}).get("error_code")) == _CLIENT_LEFT
        call.settle("cache_hit" if payload.get("cache_hit") else "aborted" if call.running.is_estimate else "ok")
