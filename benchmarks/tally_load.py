"""The reporter's load: a filled usage.tallies, as an aggregator would leave it: a row a minute for every customer, a tally a minute and partition."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.limits import MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from benchmarks.usage_load import LoadRecord
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.meters import Catalogue, Meter
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally

METER: Final = "tokens"
MODEL: Final = (("model", "alpaca-7b"),)
CATALOGUE: Final = Catalogue([Meter(METER, ("input_tokens", "output_tokens"), ("model",))])
EVENTS_PER_ROW: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyShape:
    """Usage of each of these customers in every one of these minutes. The last minute ends at `until_ms` at the latest."""

    customers: int
    minutes: int
    partitions: int
    until_ms: int

    @property
    def rows(self) -> int:
        """All of them: as many meter events, where nothing is merged."""
        return self.customers * self.minutes

    @property
    def first_minute_ms(self) -> int:
        """The start of the first minute."""
        return (self.until_ms // MINUTE_MS - self.minutes) * MINUTE_MS

    def names(self) -> list[str]:
        """The customers' ids."""
        return [f"cus_{number:014d}" for number in range(self.customers)]

    def quantity(self, customer: int, minute: int) -> int:
        """Units of this customer in this minute, both by number; never 0."""
        return 1 + (customer * 7919 + minute * 104_729) % 4_000

    def units(self) -> dict[str, int]:
        """What Stripe must have in the end, by customer."""
        return {name: sum(self.quantity(number, minute) for minute in range(self.minutes)) for number, name in enumerate(self.names())}


def shape_until_now(*, customers: int, minutes: int, partitions: int) -> TallyShape:
    """The usage of the minutes before this one."""
    return TallyShape(customers=customers, minutes=minutes, partitions=partitions, until_ms=time.time_ns() // 1_000_000)


def by_partition(shape: TallyShape) -> list[list[tuple[int, str]]]:
    """Number and id of the customers of each partition."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(shape.partitions)]
    for number, name in enumerate(shape.names()):
        found[partition_of(name, shape.partitions)].append((number, name))
    return found


def tally_of(shape: TallyShape, customers: Sequence[tuple[int, str]], *, partition: int, minute: int) -> Tally:
    """The tally of one minute of one partition; its offset is the number of the minute."""
    start_ms = shape.first_minute_ms + minute * MINUTE_MS
    rows = [TallyRow(name, METER, MODEL, start_ms, shape.quantity(number, minute), EVENTS_PER_ROW) for number, name in customers]
    return Tally(
        chain_id="bench",
        partition=partition,
        link=ChainLink(minute, minute + 1, minute - 1 if minute else NO_OFFSET),
        checkpoint=0 if minute else NO_OFFSET,
        instance="benchmarks",
        catalogue=CATALOGUE.version,
        log_time_ms=start_ms + MINUTE_MS,
        records=RecordCounts(batches=1),
        events=EventCounts(counted=EVENTS_PER_ROW * len(rows)),
        rows=rows,
        emitter_states=None if minute else (),
    )


def tally_records(shape: TallyShape) -> Iterator[LoadRecord]:
    """Records for usage.tallies."""
    customers = by_partition(shape)
    for minute in range(shape.minutes):
        for partition, ours in enumerate(customers):
            yield LoadRecord(partition, None, encode_tally(tally_of(shape, ours, partition=partition, minute=minute)))
