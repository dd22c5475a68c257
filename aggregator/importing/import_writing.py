"""The batches of an import: the same for everybody who makes them, so that what is written twice has the same numbers. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from taximeter_emitter.buffer.batching import Batcher, PartitionBatch
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.importing.import_survey import IMPORT_MARGIN_MS
from aggregator.importing.source_entries import SourceEntry
from metering.plans.import_records import Import
from metering.records.notes.looked_up_ids import looked_up_headers

IMPORT_BATCH_EVENTS: Final = 500

Headers = Sequence[tuple[str, bytes | None]]


class ImportBatch(NamedTuple):
    """A record of usage.events; `following` is the number after its last event, `events` how many it has."""

    partition: int
    value: bytes
    headers: Headers
    following: int
    events: int


class NumberedEntries:
    """Numbers the events of an import. The number of an event is its place among the events of its partition, in the order of the entries.

    An entry that is no event has no number; neither has one that the import leaves out.
    """

    def __init__(self, accepted: Import, partitions: int) -> None:
        self._import = accepted
        self._known = accepted.known
        self._partitions = partitions
        self._batcher = Batcher(accepted.emitter, events_max=IMPORT_BATCH_EVENTS)
        self._looked_up: dict[PartitionBatch, bytearray] = {}
        self.entries = 0

    def add(self, entries: Sequence[SourceEntry]) -> Iterator[ImportBatch]:
        """The next entries; the batches that are full with them."""
        for entry in entries:
            position = self.entries
            self.entries += 1
            event = entry.content
            if isinstance(event, EventRejected) or position in self._known:
                continue
            is_nameless = event.time_ms < self._import.ids_from_ms and event.fingerprint != NO_ID
            batch = self._batcher.add(
                partition_of(event.customer, self._partitions),
                customer=event.customer,
                dimensions=event.dimensions,
                time_ms=event.time_ms,
                usage=event.usage,
                fingerprint=NO_ID if is_nameless else event.fingerprint,
            )
            self._looked_up.setdefault(batch, bytearray()).extend(event.fingerprint if is_nameless else NO_ID)
        return map(self._record, self._batcher.take_full())

    def rest(self) -> Iterator[ImportBatch]:
        """The last batches."""
        return map(self._record, self._batcher.take_all())

    def numbers(self) -> list[int]:
        """How many events were numbered, by partition."""
        return [self._batcher.next_seq.get(partition, 0) for partition in range(self._partitions)]

    def closings(self) -> list[tuple[int, bytes]]:
        """Partition and value of the heartbeats that say how many events there are."""
        return [(partition, self._batcher.heartbeat(partition, final=True)) for partition in sorted(self._batcher.next_seq)]

    def _record(self, batch: PartitionBatch) -> ImportBatch:
        looked_up = self._looked_up.pop(batch)
        headers = looked_up_headers(max(0, self._import.at_ms - IMPORT_MARGIN_MS), bytes(looked_up))
        return ImportBatch(batch.partition, batch.value, headers, batch.first_seq + batch.count, batch.count)
