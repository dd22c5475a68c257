"""OpenAI's clients, metered.

client = wrap_openai(OpenAI(), calls, customer="cus_123")
"""

from typing import TypeVar

from taximeter_emitter.integrations.http_clients import metered_http_client
from taximeter_emitter.integrations.libraries import library
from taximeter_emitter.integrations.model_calls import ModelCalls

OpenAIClient = TypeVar("OpenAIClient")


def wrap_openai(client: OpenAIClient, calls: ModelCalls, *, customer: str | None = None, inject: bool = True) -> OpenAIClient:
    """A client of the same class with the same options, whose calls are metered; sync or async.

    It has an HTTP client of its own. Who gave one to the client gives `metered_http_client(...)` instead of calling this.
    `customer` and `inject`: as `metered_http_client` has them.

    Raises ModuleNotFoundError without openai, TypeError for another object.
    """
    package = library("openai", "openai")
    if isinstance(client, package.AsyncOpenAI):
        http_client = package.DefaultAsyncHttpxClient()
    elif isinstance(client, package.OpenAI):
        http_client = package.DefaultHttpxClient()
    else:
        raise TypeError(f"a client is OpenAI or AsyncOpenAI, and not {type(client).__name__}")
    metered: OpenAIClient = client.with_options(http_client=metered_http_client(http_client, calls, customer=customer, inject=inject))
    return metered
