"""POST /v1/events: check the sender, reserve room, read the events, publish them, answer."""

from typing import Final

from aiohttp import hdrs, web
from taximeter_emitter.clock import Clock

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import answered
from ingest.requests.bodies import JSON, BodyReader, is_binary, media_type_of
from ingest.requests.encodings import IDENTITY, encoding_of
from ingest.requests.gate import RequestGate
from ingest.requests.intake import DECODED_BYTES_PER_BYTE, DECODED_BYTES_PER_EVENT, EventIntake
from ingest.requests.request_ids import RequestId

# No such header exists yet. Ignoring one would leave its sender with an effect that never happens.
_OWN_HEADERS: Final = "taximeter-"


class EventsHandler:
    """Answers POST requests with events."""

    def __init__(self, gate: RequestGate, *, reader: BodyReader, intake: EventIntake, clock: Clock) -> None:
        self._gate = gate
        self._reader = reader
        self._intake = intake
        self._clock = clock

    async def post(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        """Answer one request with this id. Waits for its body, then for Kafka. Raises RequestRefused."""
        _check_headers(request)
        encoding = encoding_of(request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY))
        media_type = media_type_of(request.headers.get(hdrs.CONTENT_TYPE, JSON if is_binary(request.headers) else ""))
        key = self._gate.key_of(request)
        rate = self._gate.rate_of(key)
        self._gate.check_kafka()
        with self._gate.reserve() as reservation:
            body = await self._gate.body_of(request, encoding, reservation)
            now_ms = self._clock.now_ms()
            read = self._reader.read(media_type, request.headers, body, now_ms=now_ms)
            self._intake.judge(read, key, now_ms)
            reservation.charge(DECODED_BYTES_PER_BYTE * len(body) + DECODED_BYTES_PER_EVENT * read.count)
            del body
            if rate is not None:
                rate.spend(read.count, self._clock.monotonic())
            pending, counts = await self._intake.publish(read, key)
            return answered(read, pending, counts, request_id, unknown_usage=self._reader.unknown_usage(read))


def _check_headers(request: web.BaseRequest) -> None:
    for name in request.headers:
        if name.lower().startswith(_OWN_HEADERS):
            raise RequestRefused(Refusal.UNKNOWN_HEADER, "there is no such header", field=name.lower()[:64])
