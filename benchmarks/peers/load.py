"""The load of one peer: one stream of events in three parts, and the sums that it should lead to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.partitioner import partition_of

from benchmarks.usage_load import SOURCE, LoadEvent, LoadRecord, Shape, document_of, events_of
from metering.records.window import window_start

REPEATED: Final = 0.01
EMITTER: Final = "0" * 32
BATCH_EVENTS: Final = 500

Sums = Counter[tuple[str, int]]
"""Tokens by customer and start of the window in ms."""


@dataclass(frozen=True, slots=True)
class Part:
    """Events as single records and as batches, in order, and the sums of all events up to their end, each id counted once."""

    events: int
    singles: Sequence[LoadRecord]
    batches: Sequence[LoadRecord]
    expected: Sums


@dataclass(frozen=True, slots=True)
class Load:
    """`warm` makes the process ready, `measured` is what is measured, and a SIGKILL comes while `last` is worked on."""

    warm: Part
    measured: Part
    last: Part


def make_load(events: int, *, partitions: int, seed: int = 1) -> Load:
    """A load with this many events measured, half as many before and a quarter as many after; some ids come again across the parts."""
    warm, last = max(1, events // 2), max(1, events // 4)
    stream = list(events_of(Shape(events=warm + events + last, repeated=REPEATED, seed=seed)))
    maker = _PartMaker(partitions)
    return Load(*(maker.make(stream[start:end]) for start, end in ((0, warm), (warm, warm + events), (warm + events, None))))


class _PartMaker:
    """Keeps what goes on from part to part: the ids seen, the sums, the numbers of the emitter."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._seen: set[str] = set()
        self._sums: Sums = Counter()
        self._batcher = Batcher(EMITTER, events_max=BATCH_EVENTS)

    def make(self, stream: Sequence[LoadEvent]) -> Part:
        """The next part."""
        singles, batches = [], []
        for event in stream:
            partition = partition_of(event.customer, self._partitions)
            singles.append(LoadRecord(partition, event.customer.encode(), orjson.dumps(document_of(event))))
            self._batch(event, partition)
            batches += self._batcher.take_full()
            if event.event_id not in self._seen:
                self._seen.add(event.event_id)
                self._sums[event.customer, window_start(event.time_ms)] += event.input_tokens + event.output_tokens
        batches += self._batcher.take_all()
        return Part(len(stream), singles, [LoadRecord(batch.partition, None, batch.value) for batch in batches], self._sums.copy())

    def _batch(self, event: LoadEvent, partition: int) -> None:
        self._batcher.add(
            partition,
            customer=event.customer,
            dimensions=(("model", event.model),),
            time_ms=event.time_ms,
            usage=(("input_tokens", event.input_tokens), ("output_tokens", event.output_tokens)),
            fingerprint=fingerprint(SOURCE, event.event_id),
        )
