"""Spans of sampled calls that carry meter events to Stripe. Only where a collector is configured."""

from collections.abc import Awaitable, Mapping
from typing import Final
from urllib.parse import urlsplit

from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import AttributeValue, SpanKind, TraceSpan
from reporter.stripe.replies import ErrorReply

HttpReply = tuple[bytes, int, Mapping[str, str]]
"""Body, status and headers."""

_IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_REQUEST_ID: Final = "Request-Id"


class CallSpans:
    """Each span begins a trace of its own: a meter event is a sum over many requests, of any number of traces."""

    def __init__(self, span_maker: SpanMaker) -> None:
        self._span_maker = span_maker

    async def around(self, method: str, url: str, headers: Mapping[str, str], calling: Awaitable[HttpReply]) -> HttpReply:
        """Wait for the reply. Raises what the call raises."""
        span_maker = self._span_maker
        context = span_maker.of_stripe_call()
        if context is None:
            return await calling
        began_ns = span_maker.now_ns()
        attributes, error = _about(method, url, headers), ""
        try:
            reply = await calling
            attributes |= {"http.response.status_code": reply[1]} | _shown(reply[2], _REQUEST_ID, "response")
            return reply
        except ErrorReply as failure:
            attributes |= {"http.response.status_code": failure.status} | _shown(failure.headers, _REQUEST_ID, "response")
            error = str(failure.status)
            raise
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            span_maker.end(
                TraceSpan(
                    name=f"{attributes['http.request.method']} {attributes['url.template']}",
                    kind=SpanKind.CLIENT,
                    context=context,
                    start_ns=began_ns,
                    end_ns=span_maker.now_ns(),
                    attributes=attributes | ({"error.type": error} if error else {}),
                    error=error,
                )
            )


def _about(method: str, url: str, headers: Mapping[str, str]) -> dict[str, AttributeValue]:
    """The paths of meter events are constants: nothing in them is of a customer."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found: dict[str, AttributeValue] = {
        "http.request.method": method.upper(),
        "url.full": url,
        "url.template": parts.path,
        "server.address": parts.hostname or "",
        "server.port": port,
    }
    return found | _shown(headers, _IDEMPOTENCY_KEY, "request")


def _shown(headers: Mapping[str, str], name: str, side: str) -> dict[str, AttributeValue]:
    value = next((value for key, value in headers.items() if key.lower() == name.lower()), None)
    return {} if value is None else {f"http.{side}.header.{name.lower()}": [value]}
