"""What happens to events once they are read, whatever form they came in: the customers of their key, the counters, the way to Kafka."""

from typing import Final

from ingest.metrics import GatewayMetrics
from ingest.publishing.pending_requests import PendingRequest
from ingest.publishing.publisher import Publisher
from ingest.refusals import Refusal
from ingest.requests.answers import AnswerCounts, count_events
from ingest.requests.bodies import ReadEvents, Rejected
from ingest.requests.gate import RequestGate
from ingest.requests.request_columns import RequestPart
from metering.configuration.key_file import ApiKey

DECODED_BYTES_PER_BYTE: Final = 4
DECODED_BYTES_PER_EVENT: Final = 350
"""What a decoded request takes until it is answered. Measured with tracemalloc: 250 to 400 bytes an event in plain form, and 12 kB (4.8 bytes a
byte) where every text has characters beyond the BMP. While one body is decoded it takes up to 28 times its size; one is decoded at a time."""


class EventIntake:
    """Judges the events of a request by its key, and publishes them."""

    def __init__(self, gate: RequestGate, publisher: Publisher, metrics: GatewayMetrics) -> None:
        self._gate = gate
        self._publisher = publisher
        self._metrics = metrics

    def judge(self, read: ReadEvents, key: ApiKey | None, now_ms: int) -> None:
        """Refuse the events of customers and sources that the key may not send for, and count all."""
        if key is not None and not (key.customers is None and key.sources is None):
            _hold_back(read, key)
        self._metrics.received.inc(read.count)
        self._metrics.request_events.observe(read.count)
        for rejected in read.rejected:
            self._metrics.rejected.labels(rejected.reason).inc()
        if read.rejected:
            self._gate.count(key, "rejected", len(read.rejected))
        if read.accepted:
            oldest = min(part.oldest_ms for part in read.accepted)
            self._metrics.event_age.observe(max(0, now_ms - oldest) / 1000)

    async def publish(self, read: ReadEvents, key: ApiKey | None) -> tuple[PendingRequest, AnswerCounts]:
        """Publish the acceptable events. Waits for Kafka. Raises RequestRefused."""
        # The producer may have been lost while the body was read.
        self._gate.check_kafka()
        pending = self._publisher.place([part.events for part in read.accepted])
        await self._publisher.settled(pending)
        counts = count_events(read, pending)
        self._metrics.accepted.inc(counts.accepted)
        self._gate.count(key, "accepted", counts.accepted)
        if counts.unknown:
            self._metrics.unknown.inc(counts.unknown)
            self._gate.count(key, "unknown", counts.unknown)
        return pending, counts


def _hold_back(read: ReadEvents, key: ApiKey) -> None:
    """Refuse the events that the key may not send."""
    read.accepted = [held for part in read.accepted if (held := _held_back(part, key, read.rejected)) is not None]
    read.rejected.sort(key=lambda rejected: rejected.index)


def _held_back(part: RequestPart, key: ApiKey, rejected: list[Rejected]) -> RequestPart | None:
    whose, sources = part.events.customers, part.sources
    if (key.customers is None or key.customers.issuperset(whose)) and (key.sources is None or key.sources.issuperset(sources)):
        return part
    allowed = []
    for place, (customer, source, index, event_id) in enumerate(zip(whose, sources, part.indexes, part.ids, strict=True)):
        if key.customers is not None and customer not in key.customers:
            rejected.append(Rejected(index, event_id, Refusal.FORBIDDEN.reason, "customer", "this key may not send for this customer"))
        elif key.sources is not None and source not in key.sources:
            rejected.append(Rejected(index, event_id, Refusal.SOURCE_NOT_ALLOWED.reason, "source", "this key may not send events of this source"))
        else:
            allowed.append(place)
    if not allowed:
        return None
    return part._replace(
        events=part.events.at(allowed),
        indexes=[part.indexes[place] for place in allowed],
        ids=[part.ids[place] for place in allowed],
        sources=[sources[place] for place in allowed],
    )
