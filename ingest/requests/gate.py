"""What every request passes before it is read, whatever it sends: who sends it, how much at once, and whether Kafka is there."""

import asyncio
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import PayloadEncodingError
from taximeter_emitter.clock import Clock

from ingest.admission.api_keys import ApiKeys
from ingest.admission.byte_budget import ByteBudget, Reservation
from ingest.admission.rate_limit import EventRate
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import RETRY_AFTER_SECONDS
from ingest.requests.encodings import GZIP, decompressed
from metering.configuration.key_file import ApiKey, expiry_text

NEW_EMITTER_SECONDS_MAX: Final = 60.0
"""Of the Retry-After where a key brings too many emitters."""


class RequestGate:
    """`keys` None: everybody may send for all customers. `publisher` is what the requests go to."""

    def __init__(
        self,
        *,
        keys: ApiKeys | None,
        budget: ByteBudget,
        publisher: Publisher,
        metrics: GatewayMetrics,
        body_bytes_max: int,
        read_seconds: float,
        clock: Clock,
    ) -> None:
        self.body_bytes_max = body_bytes_max
        self._keys = keys
        self._budget = budget
        self._publisher = publisher
        self._metrics = metrics
        self._read_seconds = read_seconds
        self._clock = clock

    def key_of(self, request: web.BaseRequest) -> ApiKey | None:
        """The key that the request proves; None where nobody needs one. Raises RequestRefused."""
        if self._keys is None:
            return None
        key = self._keys.identify(request.headers.get(hdrs.AUTHORIZATION, ""))
        if key is None:
            raise RequestRefused(Refusal.UNAUTHORIZED, "needs a valid key: Authorization: Bearer tmk_...", field="authorization")
        if key.has_expired(self._clock.now_ms()):
            assert key.expires_ms is not None, "it has expired"
            detail = f"the key {key.name} expired at {expiry_text(key.expires_ms)}; another is made with: taximeter api-keys rotate {key.key_id}"
            raise RequestRefused(Refusal.KEY_EXPIRED, detail, field="authorization")
        return key

    def check_emitter(self, key: ApiKey | None, *, source: str | None, name: str = "") -> None:
        """Whether a key may send batches of this source and emitter; `name` "" for none yet. Raises RequestRefused."""
        if key is None or self._keys is None:
            return
        if key.sources is not None and source not in key.sources:
            what = (
                "the emitter does not say its source: it is of an older version" if source is None else "this key may not send events of this source"
            )
            raise RequestRefused(Refusal.SOURCE_NOT_ALLOWED, what, field="taximeter-source")
        wait = self._keys.new_emitters.wait_seconds(key.key_id, name, self._clock.monotonic()) if name else 0.0
        if wait > 0:
            detail = f"this key has brought {self._keys.new_emitters.per_day} new emitters: keep one for each process, or raise new_emitters_per_day"
            raise RequestRefused(Refusal.TOO_MANY_EMITTERS, detail, retry_after=min(wait, NEW_EMITTER_SECONDS_MAX))

    def count(self, key: ApiKey | None, outcome: str, events: int) -> None:
        """Count what became of events, by the name of their key."""
        if events and key is not None and self._keys is not None:
            self._metrics.key_events.labels(self._keys.labels.of(key), outcome).inc(events)

    def rate_of(self, key: ApiKey | None) -> EventRate | None:
        """How many events a second the key may send; None for no limit. Raises RequestRefused where it has sent them already."""
        if key is None or self._keys is None:
            return None
        rate = self._keys.rate_of(key, self._clock.monotonic())
        wait = 0.0 if rate is None else rate.wait_seconds(self._clock.monotonic())
        if wait > 0:
            raise RequestRefused(Refusal.RATE_LIMITED, f"this key may send {key.events_per_second} events a second", retry_after=wait)
        return rate

    def check_kafka(self) -> None:
        """Raises RequestRefused while nothing can be made durable."""
        problem = self._publisher.problem()
        if problem is not None:
            raise RequestRefused(
                Refusal.KAFKA_UNAVAILABLE, "events cannot be made durable now; nothing of the request was taken", retry_after=RETRY_AFTER_SECONDS
            )

    def reserve(self) -> Reservation:
        """An empty reservation of the budget for one request, to be used as a context."""
        return self._budget.reserve()

    async def body_of(self, request: web.BaseRequest, encoding: str, reservation: Reservation) -> bytes:
        """Read the body, and undo its encoding. The reservation grows with it, up to what one request may send and what the budget has left.

        Waits for the client. Raises RequestRefused.
        """
        body = await self._sent(request, reservation)
        if encoding == GZIP:
            body = decompressed(body, self.body_bytes_max)
            self._admit(len(body), reservation)
        return body

    async def _sent(self, request: web.BaseRequest, reservation: Reservation) -> bytes:
        self._admit(request.content_length or 0, reservation)
        if request.content.is_eof():
            # The body came with the head, so there is nothing to wait for.
            whole = request.content.read_nowait()
            self._admit(len(whole), reservation)
            self._metrics.body_bytes.observe(len(whole))
            return whole
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    self._admit(len(body), reservation)
        except TimeoutError:
            raise RequestRefused(Refusal.SLOW_BODY, f"the body did not arrive within {self._read_seconds:.0f} s") from None
        except (ConnectionError, PayloadEncodingError, web.RequestPayloadError) as error:
            raise RequestRefused(Refusal.BROKEN_BODY, f"the body broke off: {type(error).__name__}") from None
        self._metrics.body_bytes.observe(len(body))
        return bytes(body)

    def _admit(self, size: int, reservation: Reservation) -> None:
        if size > self.body_bytes_max:
            raise RequestRefused(Refusal.BODY_TOO_LARGE, f"a body has at most {self.body_bytes_max} bytes")
        if not reservation.grow_to(size):
            raise RequestRefused(
                Refusal.OVERLOADED, "too many bytes are in flight; nothing of the request was taken", retry_after=RETRY_AFTER_SECONDS
            )
