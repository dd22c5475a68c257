"""The load of one peer: one stream of events in three parts, and the sums that it should lead to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from benchmarks.usage_load import LoadEvent, LoadRecord, Shape, document_of, events_of
from metering.partitioner import partition_of
from metering.window import window_start

REPEATED: Final = 0.01

Sums = Counter[tuple[str, int]]
"""Tokens by customer and start of the window in ms."""


@dataclass(frozen=True, slots=True)
class Part:
    """Records in order, and the sums of all events up to their end, each id counted once."""

    records: Sequence[LoadRecord]
    expected: Sums


@dataclass(frozen=True, slots=True)
class Load:
    """`warm` makes the process ready, `measured` is what is measured, and a SIGKILL comes while `last` is worked on."""

    warm: Part
    measured: Part
    last: Part


def make_load(events: int, *, partitions: int, seed: int = 1) -> Load:
    """A load with so many events measured, half as many before and a quarter as many after; some ids come again across the parts."""
    warm, last = max(1, events // 2), max(1, events // 4)
    stream = list(events_of(Shape(events=warm + events + last, repeated=REPEATED, seed=seed)))
    seen: set[str] = set()
    sums: Sums = Counter()
    parts = [_part(stream[start:end], partitions, seen, sums) for start, end in ((0, warm), (warm, warm + events), (warm + events, None))]
    return Load(*parts)


def _part(stream: Sequence[LoadEvent], partitions: int, seen: set[str], sums: Sums) -> Part:
    records = []
    for event in stream:
        records.append(LoadRecord(partition_of(event.customer, partitions), event.customer.encode(), orjson.dumps(document_of(event))))
        if event.event_id not in seen:
            seen.add(event.event_id)
            sums[event.customer, window_start(event.time_ms)] += event.input_tokens + event.output_tokens
    return Part(records, sums.copy())
