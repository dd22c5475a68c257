"""docs/metering-calls.md does what it says: each of its Python blocks is run. Those of a library that is not installed are skipped, by name."""

import re
from typing import Any

import pytest
import taximeter_emitter

from tests.support.emitter_api_server import api_server, url
from tests.support.emitter_model_api import CallSink, chat_chunk, usage_chunk
from tests.support.repository import ROOT

FIRST, RESPONSES, OPENAI, ASGI, LITELLM, OPENTELEMETRY = re.findall(r"```python\n(.*?)```", (ROOT / "docs/metering-calls.md").read_text(), re.DOTALL)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first block defines, with a sink in place of the emitter."""
    monkeypatch.setattr(taximeter_emitter, "Emitter", lambda *_, **__: CallSink())
    found: dict[str, Any] = {}
    exec(FIRST, found)
    return found


def test_a_response_and_a_stream(names: dict[str, Any]) -> None:
    exec(RESPONSES, names)
    assert len(list(names["answer"]([chat_chunk("a", finish="stop"), usage_chunk()]))) == 2
    assert [event["usage"] for event in names["emitter"].events] == [{"input_tokens": 9, "output_tokens": 2}] * 2


def test_the_client_of_openai(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    with api_server() as api:
        monkeypatch.setenv("OPENAI_BASE_URL", url(api))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        exec(OPENAI, names)
        names["client"].close()
    assert [event["customer"] for event in names["emitter"].events] == ["cus_456"]


async def test_a_server(names: dict[str, Any]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    exec(ASGI, names)
    await names["app"]({"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}, receive, send)
    assert sent == ["http.response.start", "http.response.body"]


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
def test_litellm(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    monkeypatch.setattr(litellm, "callbacks", [])
    exec(LITELLM, names)
    assert len(litellm.callbacks) == 1


def test_opentelemetry(names: dict[str, Any]) -> None:
    pytest.importorskip("opentelemetry.sdk.trace")
    exec(OPENTELEMETRY, names)
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 9, "enduser.id": "cus_1"}
    tracer = names["provider"].get_tracer("opentelemetry.instrumentation.openai_v2")
    tracer.start_span("chat", attributes=attributes).end()
    names["provider"].shutdown()
    assert [event["customer"] for event in names["emitter"].events] == ["cus_1"]
