"""POST /v1/events: check the sender, reserve room, read the events, publish them, answer."""

from typing import Final

from aiohttp import hdrs, web
from taximeter_emitter.clock import Clock

from ingest.metrics import GatewayMetrics
from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import answered, count_events
from ingest.requests.bodies import JSON, BodyReader, ReadEvents, Rejected, is_binary, media_type_of
from ingest.requests.encodings import IDENTITY, encoding_of
from ingest.requests.gate import RequestGate
from ingest.requests.request_columns import RequestPart
from metering.configuration.key_file import ApiKey

# No such header exists yet. Ignoring one would leave its sender with an effect that never happens.
_OWN_HEADERS: Final = "taximeter-"


DECODED_BYTES_PER_BYTE: Final = 4
DECODED_BYTES_PER_EVENT: Final = 350
"""What a decoded request takes until it is answered. Measured with tracemalloc: 250 to 400 bytes an event in plain form, and 12 kB (4.8 bytes a
byte) where every text has characters beyond the BMP. While one body is decoded it takes up to 28 times its size; one is decoded at a time."""


class EventsHandler:
    """Answers POST requests with events."""

    def __init__(self, gate: RequestGate, *, reader: BodyReader, publisher: Publisher, metrics: GatewayMetrics, clock: Clock) -> None:
        self._gate = gate
        self._reader = reader
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock

    async def post(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Answer one request with this id. Waits for its body, then for Kafka. Raises RequestRefused."""
        _check_headers(request)
        encoding = encoding_of(request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY))
        media_type = media_type_of(request.headers.get(hdrs.CONTENT_TYPE, JSON if is_binary(request.headers) else ""))
        key = self._gate.key_of(request)
        rate = self._gate.rate_of(key)
        self._gate.check_kafka()
        with self._gate.reserve() as reservation:
            body = await self._gate.body_of(request, encoding, reservation)
            read = self._read(request, media_type, body, key)
            reservation.charge(DECODED_BYTES_PER_BYTE * len(body) + DECODED_BYTES_PER_EVENT * read.count)
            del body
            if rate is not None:
                rate.spend(read.count, self._clock.monotonic())
            return await self._publish(read, request_id)

    async def _publish(self, read: ReadEvents, request_id: str) -> web.Response:
        # The producer may have been lost while the body was read.
        self._gate.check_kafka()
        pending = self._publisher.place([part.events for part in read.accepted])
        await self._publisher.settled(pending)
        counts = count_events(read, pending)
        self._metrics.accepted.inc(counts.accepted)
        if counts.unknown:
            self._metrics.unknown.inc(counts.unknown)
        return answered(read, pending, counts, request_id, unknown_usage=self._reader.unknown_usage(read))

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
