"""Anthropic's clients, metered.

client = wrap_anthropic(Anthropic(), calls, customer="cus_123")
"""

from typing import TypeVar

from taximeter_emitter.integrations.http_clients import metered_http_client
from taximeter_emitter.integrations.libraries import library
from taximeter_emitter.integrations.model_calls import ModelCalls

AnthropicClient = TypeVar("AnthropicClient")


def wrap_anthropic(client: AnthropicClient, calls: ModelCalls, *, customer: str | None = None) -> AnthropicClient:
    """A client of the same class with the same options, whose calls are metered; sync or async.

    It has an HTTP client of its own. Who gave one to the client gives `metered_http_client(...)` instead of calling this.
    `customer`: as `metered_http_client` has it.

    Raises ModuleNotFoundError without anthropic, TypeError for another object.
    """
    package = library("anthropic", "anthropic")
    if isinstance(client, package.AsyncAnthropic):
        http_client = package.DefaultAsyncHttpxClient()
    elif isinstance(client, package.Anthropic):
        http_client = package.DefaultHttpxClient()
    else:
        raise TypeError(f"a client is Anthropic or AsyncAnthropic, and not {type(client).__name__}")
    metered: AnthropicClient = client.with_options(http_client=metered_http_client(http_client, calls, customer=customer))
    return metered
