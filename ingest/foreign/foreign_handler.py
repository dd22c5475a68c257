"""POST to the paths of mappings: the way of every event, from a foreign body to a foreign answer."""

from zlib import crc32

from aiohttp import hdrs, web
from taximeter_emitter.clock import Clock

from ingest.foreign.foreign_answers import ForeignOutcome, answered_foreign, in_their_words, outcome_unknown
from ingest.foreign.foreign_bodies import MappedRecords, is_protobuf, map_body
from ingest.mappings.foreign_paths import ForeignPath
from ingest.metrics import GatewayMetrics
from ingest.publishing.emitter_batches import EmitterBatch, name_of
from ingest.publishing.publisher import Publisher
from ingest.refusals import RequestRefused
from ingest.requests.bodies import BodyReader, ReadEvents
from ingest.requests.encodings import IDENTITY, encoding_of
from ingest.requests.gate import RequestGate
from ingest.requests.intake import DECODED_BYTES_PER_BYTE, DECODED_BYTES_PER_EVENT, EventIntake
from ingest.requests.request_ids import RequestId
from metering.configuration.key_file import ApiKey


class ForeignHandler:
    """Answers the requests of one path."""

    def __init__(
        self,
        path: ForeignPath,
        gate: RequestGate,
        *,
        reader: BodyReader,
        intake: EventIntake,
        publisher: Publisher,
        metrics: GatewayMetrics,
        clock: Clock,
    ) -> None:
        self._path = path
        self._gate = gate
        self._reader = reader
        self._intake = intake
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock

    async def post(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        """Answer one request. Waits for its body, then for Kafka. Raises RequestRefused."""
        try:
            return await self._post(request, request_id)
        except RequestRefused as refusal:
            raise in_their_words(refusal) from None

    async def _post(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        encoding = encoding_of(request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY))
        key = self._gate.key_of(request)
        rate = self._gate.rate_of(key)
        self._gate.check_kafka()
        with self._gate.reserve() as reservation:
            body = await self._gate.body_of(request, encoding, reservation)
            mapped = map_body(self._path, request.headers, body, events_max=self._reader.events_max)
            reservation.charge(DECODED_BYTES_PER_BYTE * len(body) + DECODED_BYTES_PER_EVENT * len(mapped.documents))
            del body
            if rate is not None:
                rate.spend(len(mapped.documents), self._clock.monotonic())
            outcome = await self._take(mapped, key, in_protobuf=is_protobuf(request.headers))
            return answered_foreign(outcome, self._path.answer, request_id)

    async def _take(self, mapped: MappedRecords, key: ApiKey | None, *, in_protobuf: bool) -> ForeignOutcome:
        now_ms = self._clock.now_ms()
        read = self._reader.read_documents(mapped.documents, now_ms=now_ms)
        self._intake.judge(read, key, now_ms)
        set_aside = [rejected for rejected in read.rejected if mapped.is_set_aside(rejected)]
        refused = [rejected for rejected in read.rejected if not mapped.is_set_aside(rejected)]
        await self._make_durable(read, key, [mapped.letter(rejected) for rejected in set_aside])
        outcome = ForeignOutcome(
            accepted=read.count - len(read.rejected),
            left_out=mapped.left_out,
            set_aside=set_aside,
            refused=refused,
            unknown_usage=self._reader.unknown_usage(read),
            in_protobuf=in_protobuf,
        )
        self._count(outcome)
        return outcome

    async def _make_durable(self, read: ReadEvents, key: ApiKey | None, letters: list[bytes]) -> None:
        """Publish what is acceptable, and what the aggregator has to set aside. Raises RequestRefused unless Kafka has all of it."""
        _, counts = await self._intake.publish(read, key)
        if letters:
            partitions = self._publisher.partitions
            pending = self._publisher.pass_on([EmitterBatch(crc32(letter) % partitions, 1, letter, name_of(key)) for letter in letters])
            await self._publisher.settled(pending)
            if not pending.all_acknowledged:
                raise outcome_unknown()
        if counts.unknown:
            raise outcome_unknown()

    def _count(self, outcome: ForeignOutcome) -> None:
        records = self._metrics.foreign_records
        for name, count in (
            ("accepted", outcome.accepted),
            ("left_out", outcome.left_out),
            ("set_aside", len(outcome.set_aside)),
            ("refused", len(outcome.refused)),
        ):
            if count:
                records.labels(self._path.path, name).inc(count)
