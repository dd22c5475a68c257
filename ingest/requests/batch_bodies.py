"""Reads the batches that an emitter sends to be passed on, a line each, and accepts or refuses each as a whole. Pure.

What is accepted goes to Kafka byte for byte. So a batch must be what every reader of usage.events takes, and takes alike: compact JSON, in which no
name is there twice. Whatever one sender puts into it, others' numbers and customers are out of its reach: the name of the emitter is proven by its
secret, and each customer is one of the key's, in the partition where all events of that customer are.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import orjson
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.emitter_names import proven_names
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import parse_json
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, EVENT_RECORD_BYTES_MAX

from ingest.publishing.emitter_batches import EmitterBatch
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.body_size import check_size
from metering.records.batch_decoding import KnownTexts, decode_batch

BATCHES_PER_REQUEST: Final = 64
"""In one request."""


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A refused batch of a request: its line, counted from 0, and the reason."""

    index: int
    reason: str
    field: str
    detail: str


@dataclass(slots=True)
class ReadBatches:
    """The batches of a body: those that may be passed on, by their lines, and the refused ones. `events` are those of the former."""

    accepted: dict[int, EmitterBatch] = field(default_factory=dict)
    refused: list[RefusedBatch] = field(default_factory=list)

    @property
    def events(self) -> int:
        """In the accepted batches."""
        return sum(batch.count for batch in self.accepted.values())


class BatchReader:
    """For a topic with this many partitions."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._partition_of = PartitionCache(partitions).of
        self._known = KnownTexts()

    def read(self, body: bytes, *, secret: str, customers: Collection[str] | None, key_name: str = "") -> ReadBatches:
        """Read a body. `secret`: of the emitter. `customers`: of the key; None for all. `key_name`: what records call the key.

        Raises RequestRefused if there are no batches, or too many.
        """
        lines = [line for line in body.split(b"\n") if line]
        if not lines:
            raise RequestRefused(Refusal.NO_EVENTS, "the body has no batches")
        if len(lines) > BATCHES_PER_REQUEST:
            raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"{len(lines)} batches; a request takes {BATCHES_PER_REQUEST}")
        names = proven_names(secret)
        read = ReadBatches()
        for index, line in enumerate(lines):
            try:
                batch = self._decoded(line)
                self._check(batch, names, customers)
            except EventRejected as refusal:
                read.refused.append(RefusedBatch(index, refusal.reason, refusal.field, refusal.detail))
            except RequestRefused as refusal:
                read.refused.append(RefusedBatch(index, refusal.refusal.reason, refusal.field, refusal.detail))
            else:
                read.accepted[index] = EmitterBatch(batch.partition, batch.count, line, key_name)
        return read

    def _decoded(self, line: bytes) -> Batch:
        if len(line) > EVENT_RECORD_BYTES_MAX:
            raise EventRejected(Reason.TOO_LARGE, "", f"a batch has at most {EVENT_RECORD_BYTES_MAX} bytes")
        check_size(line, BATCH_EVENTS_MAX)
        document = parse_json(line)
        if type(document) is not dict:
            raise EventRejected(Reason.NOT_AN_OBJECT, "", "a batch is a JSON object")
        batch = decode_batch(document, self._known)
        # Readers differ in which of two members with one name they take, and this one saw the last.
        if orjson.dumps(document) != line:
            raise EventRejected(Reason.BAD_BATCH, "", "is not compact JSON: no blanks, no name twice, and only those escapes that JSON needs")
        return batch

    def _check(self, batch: Batch, names: Collection[str], customers: Collection[str] | None) -> None:
        if batch.emitter not in names:
            raise RequestRefused(Refusal.FOREIGN_EMITTER, "is not the name that belongs to the secret", field="emitter")
        if batch.partition >= self.partitions:
            raise EventRejected(Reason.WRONG_PARTITION, "partition", f"is {batch.partition}; the topic has {self.partitions} partitions")
        for customer in set(batch.customers):
            if customers is not None and customer not in customers:
                raise RequestRefused(Refusal.FORBIDDEN, "this key may not send for a customer in it", field="customers")
            if self._partition_of(customer) != batch.partition:
                raise EventRejected(
                    Reason.WRONG_PARTITION,
                    "customers",
                    f"one belongs to partition {self._partition_of(customer)} of {self.partitions}, and the batch to {batch.partition}",
                )
