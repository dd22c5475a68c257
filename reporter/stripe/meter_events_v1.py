"""Meter events through version 1 of Stripe's API: one event a call, judged at once."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus

from metering.configuration.secrets import Secret
from metering.stripe.client import make_client
from metering.tracing.span_maker import SpanMaker
from reporter.sending.verdicts import Reply, Verdict, classify
from reporter.stripe.adjustments import StripeAdjustments
from reporter.stripe.call_spans import CallSpans
from reporter.stripe.prepared_bodies import PreparedHttp, prepared
from reporter.stripe.replies import SENDING_REPLY_BYTES_MAX, Verdicts

_PATH: Final = "/v1/billing/meter_events"


class StripeMeterEvents:
    """Meter events by `POST /v1/billing/meter_events`: a MeterEventPort.

    Create it inside the running event loop, for that loop; `close` it there. `connections` bounds the requests in flight, `timeout_s` the
    time of one attempt, from asking for a connection to the last byte of the reply. `api_base` is where Stripe's API is, without a path.
    """

    def __init__(self, *, api_key: Secret, api_base: str, connections: int, timeout_s: float, span_maker: SpanMaker | None = None) -> None:
        self._http = PreparedHttp(connections=connections, timeout_s=timeout_s, reply_bytes_max=SENDING_REPLY_BYTES_MAX)
        self._http.spans = None if span_maker is None else CallSpans(span_maker)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._adjustments = StripeAdjustments(self._http, api_key=api_key, api_base=api_base)
        self._verdicts = Verdicts(api_key)

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        """Make one attempt. Waits for the network at most `timeout_s`; raises only CancelledError. No verdict contains the key."""
        try:
            with prepared(form_of(event_name=event_name, payload=payload, identifier=identifier, timestamp_s=timestamp_s)):
                reply = await self._client.raw_request_async("post", _PATH, idempotency_key=idempotency_key)
        except Exception as error:
            return self._verdicts.of(error)
        # A meter event, and this one if it says which.
        event = reply.data if isinstance(reply.data, dict) else {}
        named = event.get("identifier")
        recognised = named == identifier or (named is None and event.get("object") == "billing.meter_event")
        return classify(Reply(200, recognised=recognised))

    async def take_back(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        """As `send`: a value below zero is one like any other here."""
        return await self.send(
            event_name=event_name, payload=payload, identifier=identifier, timestamp_s=timestamp_s, idempotency_key=idempotency_key
        )

    async def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Verdict:
        """Make one attempt to cancel a meter event; see StripeAdjustments."""
        return await self._adjustments.cancel(event_name=event_name, identifier=identifier, idempotency_key=idempotency_key)

    async def close(self) -> None:
        """Close the connections; attempts still in flight end as interrupted."""
        await self._http.close_async()


def form_of(*, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int) -> bytes:
    """The event as version 1 takes it: application/x-www-form-urlencoded, the payload's keys in brackets."""
    pairs = "".join(f"&payload[{_quoted(key)}]={_quoted(value)}" for key, value in payload.items())
    return f"event_name={_quoted(event_name)}{pairs}&identifier={_quoted(identifier)}&timestamp={timestamp_s}".encode()


# The same few names and customers come again and again.
_quoted = lru_cache(maxsize=16_384)(quote_plus)
