"""/v1/batches: what an emitter has to know before it sends, and its batches, which are passed on as they are."""

from typing import Final
from urllib.parse import unquote

import orjson
from aiohttp import hdrs, web
from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.emitter_names import SECRET_HEADER, SOURCE_HEADER, emitter_name, is_secret

from ingest.metrics import GatewayMetrics
from ingest.publishing.emitter_batches import name_of
from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import answered_batches
from ingest.requests.batch_bodies import BATCHES_PER_REQUEST, BatchReader, ReadBatches
from ingest.requests.bodies import JSON, NDJSON, media_type_of
from ingest.requests.encodings import IDENTITY, encoding_of
from ingest.requests.gate import RequestGate
from ingest.requests.request_ids import HEADER, RequestId
from metering.configuration.key_file import ApiKey

ACKNOWLEDGED_WITHIN_SECONDS: Final = 7.0
"""Emitters wait ten seconds for an answer. What Kafka has not acknowledged by then they send again: numbers make it count once."""

_SECRET: Final = SECRET_HEADER.lower()
_DECODED_BYTES_PER_BYTE: Final = 4


class BatchesHandler:
    """Answers GET and POST requests."""

    def __init__(self, gate: RequestGate, *, publisher: Publisher, metrics: GatewayMetrics, clock: Clock) -> None:
        self._gate = gate
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._reader = BatchReader(0)

    async def get(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        """How many partitions there are, and what a request may have. Raises RequestRefused."""
        self._gate.check_emitter(self._gate.key_of(request), source=_source_of(request))
        self._gate.check_kafka()
        about = {"partitions": self._publisher.partitions, "batches_max": BATCHES_PER_REQUEST, "body_bytes_max": self._gate.body_bytes_max}
        return web.Response(body=orjson.dumps(about), content_type=JSON, headers={HEADER: request_id.text})

    async def post(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        """Pass batches on. Waits for the body, then for Kafka. Raises RequestRefused."""
        encoding = encoding_of(request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY))
        if media_type_of(request.headers.get(hdrs.CONTENT_TYPE, "")) != NDJSON:
            raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, f"takes {NDJSON}, a batch a line", field="content-type")
        key = self._gate.key_of(request)
        secret = request.headers.get(_SECRET, "")
        if not is_secret(secret):
            raise RequestRefused(Refusal.NO_EMITTER_SECRET, "needs the emitter's secret, 32 hexadecimal digits", field=_SECRET)
        self._gate.check_emitter(key, source=_source_of(request), name=emitter_name(secret))
        rate = self._gate.rate_of(key)
        self._gate.check_kafka()
        with self._gate.reserve() as reservation:
            body = await self._gate.body_of(request, encoding, reservation)
            reservation.charge(_DECODED_BYTES_PER_BYTE * len(body))
            read = self._of_now().read(body, secret=secret, customers=None if key is None else key.customers, key_name=name_of(key))
            del body
            if rate is not None:
                rate.spend(read.events, self._clock.monotonic())
            # The producer may have been lost while the body was read.
            self._gate.check_kafka()
            pending = self._publisher.pass_on(list(read.accepted.values()))
        # From here on the publisher counts the bytes.
        await self._publisher.settled(pending, seconds_max=ACKNOWLEDGED_WITHIN_SECONDS)
        unknown = {index for index, batch in read.accepted.items() if pending.is_unknown(batch)}
        self._count(read, unknown, key)
        return answered_batches(read, unknown, self._publisher.partitions, request_id)

    def _of_now(self) -> BatchReader:
        """The reader for as many partitions as the topic has now."""
        if self._reader.partitions != self._publisher.partitions:
            self._reader = BatchReader(self._publisher.partitions)
        return self._reader

    def _count(self, read: ReadBatches, unknown: set[int], key: ApiKey | None) -> None:
        metrics = self._metrics
        events_unknown = sum(read.accepted[index].count for index in unknown)
        metrics.received.inc(read.events)
        metrics.accepted.inc(read.events - events_unknown)
        metrics.unknown.inc(events_unknown)
        self._gate.count(key, "accepted", read.events - events_unknown)
        self._gate.count(key, "unknown", events_unknown)
        metrics.emitter_batches.labels("accepted").inc(len(read.accepted) - len(unknown))
        metrics.emitter_batches.labels("unknown").inc(len(unknown))
        metrics.emitter_batches.labels("rejected").inc(len(read.refused))
        for refused in read.refused:
            metrics.batches_rejected.labels(refused.reason).inc()


def _source_of(request: web.BaseRequest) -> str | None:
    """The source that an emitter says it has; None if it says nothing."""
    said = request.headers.get(SOURCE_HEADER)
    return None if said is None else unquote(said)
