"""POST /v1/events: check the sender, reserve room, read the events, publish them, answer."""

import asyncio
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import PayloadEncodingError
from taximeter_emitter.clock import Clock

from ingest.admission.api_keys import ApiKey, ApiKeys
from ingest.admission.byte_budget import ByteBudget, Reservation
from ingest.admission.rate_limit import EventRate
from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import RETRY_AFTER_SECONDS, answered, count_events
from ingest.requests.bodies import JSON, BodyReader, ReadEvents, Rejected, is_binary, media_type_of
from ingest.requests.encodings import GZIP, IDENTITY, decompressed, encoding_of
from ingest.requests.request_columns import RequestPart

# No such header exists yet. Ignoring one would leave its sender with an effect that never happens.
_OWN_HEADERS: Final = "taximeter-"


DECODED_BYTES_PER_BYTE: Final = 4
DECODED_BYTES_PER_EVENT: Final = 350
"""What a decoded request takes until it is answered. Measured with tracemalloc: 250 to 400 bytes an event in plain form, and 12 kB (4.8 bytes a
byte) where every text has characters beyond the BMP. While one body is decoded it takes up to 28 times its size; one is decoded at a time."""


class EventsHandler:
    """Answers POST requests. `keys` None: everybody may send for all customers."""

    def __init__(
        self,
        *,
        reader: BodyReader,
        keys: ApiKeys | None,
        budget: ByteBudget,
        publisher: Publisher,
        metrics: GatewayMetrics,
        body_bytes_max: int,
        read_seconds: float,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._keys = keys
        self._budget = budget
        self._publisher = publisher
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max
        self._read_seconds = read_seconds
        self._clock = clock

    async def post(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Answer one request with this id. Waits for its body, then for Kafka. Raises RequestRefused."""
        _check_headers(request)
        encoding = encoding_of(request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY))
        media_type = media_type_of(request.headers.get(hdrs.CONTENT_TYPE, JSON if is_binary(request.headers) else ""))
        key = self._authenticate(request)
        rate = self._rate_of(key)
        self._check_kafka()
        with self._budget.reserve() as reservation:
            body = await self._body_of(request, reservation)
            if encoding == GZIP:
                body = decompressed(body, self._body_bytes_max)
                self._admit(len(body), reservation)
            read = self._read(request, media_type, body, key)
            reservation.charge(DECODED_BYTES_PER_BYTE * len(body) + DECODED_BYTES_PER_EVENT * read.count)
            del body
            if rate is not None:
                rate.spend(read.count, self._clock.monotonic())
            return await self._publish(read, request_id)

    async def _body_of(self, request: web.BaseRequest, reservation: Reservation) -> bytes:
        """Read the body. The reservation grows with it, up to what one request may send and what the budget has left."""
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

    async def _publish(self, read: ReadEvents, request_id: str) -> web.Response:
        # The producer may have been lost while the body was read.
        self._check_kafka()
        pending = self._publisher.place([part.events for part in read.accepted])
        await self._publisher.settled(pending)
        counts = count_events(read, pending)
        self._metrics.accepted.inc(counts.accepted)
        if counts.unknown:
            self._metrics.unknown.inc(counts.unknown)
        return answered(read, pending, counts, request_id, unknown_usage=self._reader.unknown_usage(read))

    def _authenticate(self, request: web.BaseRequest) -> ApiKey | None:
        if self._keys is None:
            return None
        key = self._keys.identify(request.headers.get(hdrs.AUTHORIZATION, ""))
        if key is None:
            raise RequestRefused(Refusal.UNAUTHORIZED, "needs a valid key: Authorization: Bearer tmk_...", field="authorization")
        return key

    def _rate_of(self, key: ApiKey | None) -> EventRate | None:
        if key is None or self._keys is None:
            return None
        rate = self._keys.rate_of(key, self._clock.monotonic())
        wait = 0.0 if rate is None else rate.wait_seconds(self._clock.monotonic())
        if wait > 0:
            raise RequestRefused(Refusal.RATE_LIMITED, f"this key may send {key.events_per_second} events a second", retry_after=wait)
        return rate

    def _check_kafka(self) -> None:
        problem = self._publisher.problem()
        if problem is not None:
            raise RequestRefused(
                Refusal.KAFKA_UNAVAILABLE, "events cannot be made durable now; nothing of the request was taken", retry_after=RETRY_AFTER_SECONDS
            )

    def _admit(self, size: int, reservation: Reservation) -> None:
        if size > self._body_bytes_max:
            raise RequestRefused(Refusal.BODY_TOO_LARGE, f"a body has at most {self._body_bytes_max} bytes")
        if not reservation.grow_to(size):
            raise RequestRefused(
                Refusal.OVERLOADED, "too many bytes are in flight; nothing of the request was taken", retry_after=RETRY_AFTER_SECONDS
            )

    def _read(self, request: web.BaseRequest, media_type: str, body: bytes, key: ApiKey | None) -> ReadEvents:
        now_ms = self._clock.now_ms()
        read = self._reader.read(media_type, request.headers, body, now_ms=now_ms)
        if key is not None and key.customers is not None:
            _hold_back(read, key.customers)
        self._metrics.received.inc(read.count)
        self._metrics.request_events.observe(read.count)
        for rejected in read.rejected:
            self._metrics.rejected.labels(rejected.reason).inc()
        if read.accepted:
            oldest = min(part.oldest_ms for part in read.accepted)
            self._metrics.event_age.observe(max(0, now_ms - oldest) / 1000)
        return read


def _check_headers(request: web.BaseRequest) -> None:
    for name in request.headers:
        if name.lower().startswith(_OWN_HEADERS):
            raise RequestRefused(Refusal.UNKNOWN_HEADER, "there is no such header", field=name.lower()[:64])


def _hold_back(read: ReadEvents, customers: frozenset[str]) -> None:
    """Refuse the events of customers that the key may not send for."""
    read.accepted = [held for part in read.accepted if (held := _held_back(part, customers, read.rejected)) is not None]
    read.rejected.sort(key=lambda rejected: rejected.index)


def _held_back(part: RequestPart, customers: frozenset[str], rejected: list[Rejected]) -> RequestPart | None:
    if customers.issuperset(part.events.customers):
        return part
    allowed = []
    for place, (customer, index, event_id) in enumerate(zip(part.events.customers, part.indexes, part.ids, strict=True)):
        if customer in customers:
            allowed.append(place)
        else:
            rejected.append(Rejected(index, event_id, Refusal.FORBIDDEN.reason, "customer", "this key may not send for this customer"))
    if not allowed:
        return None
    return part._replace(
        events=part.events.at(allowed), indexes=[part.indexes[place] for place in allowed], ids=[part.ids[place] for place in allowed]
    )
