"""Usage that waits for a link, as the ledger carries it."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from taximeter_emitter.wire.partitioner import partition_of

from metering.folds.customer_links import BilledCustomers, shares_its_link
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import LogReader
from metering.records.ledger_records import MeterEvent, decode_entry
from metering.records.service_limits import EVENT_AGE_MAX_MS
from taximeter.stripe_commands.running import shown

_DAY_MS = 24 * 3_600_000


class HeldMeter(NamedTuple):
    """Of which customer and meter."""

    customer: str
    meter: str


@dataclass(frozen=True, slots=True)
class HeldAmount:
    """Units, how many latest values, which are no units, and the time of the oldest (Unix ms)."""

    units: int
    oldest_ms: int
    latest_values: int = 0

    @property
    def billable_until_ms(self) -> int:
        """Until when Stripe takes the oldest of it (Unix ms)."""
        return self.oldest_ms + EVENT_AGE_MAX_MS

    def text(self) -> str:
        """In words: how much, since when, and how long Stripe takes it yet."""
        days = max(0, self.billable_until_ms - round(time.time() * 1000)) // _DAY_MS
        what = f"{self.latest_values:,} latest values" if self.latest_values else f"{self.units:,} units"
        return f"{what} since {shown(self.oldest_ms // 1000)}; Stripe takes the oldest for {days} more days"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"units": self.units, "latest_values": self.latest_values, "oldest_ms": self.oldest_ms, "billable_until_ms": self.billable_until_ms}


HeldUsage = Mapping[HeldMeter, HeldAmount]


async def read_held(reader: LogReader, kafka: KafkaSettings, links: BilledCustomers, customers: Collection[str] | None = None) -> HeldUsage:
    """What waits for a link, of these customers (None: all). What was counted in the last seconds may be missing.

    Blocks on Kafka; raises LogUnavailable or FailClosed.
    """
    partitions = range(kafka.partitions) if customers is None else sorted({partition_of(each, kafka.partitions) for each in customers})
    found: defaultdict[HeldMeter, list[MeterEvent]] = defaultdict(list)
    for partition in partitions:
        for event in await _waiting(reader, kafka.topics.ledger.name, partition):
            if _waits_for_a_link(links, event) and (customers is None or event.customer in customers):
                found[HeldMeter(event.customer, event.meter)].append(event)
    return {held: _amount(events) for held, events in sorted(found.items())}


def _waits_for_a_link(links: BilledCustomers, event: MeterEvent) -> bool:
    return links.of(event.customer) is None or (event.reading is not None and shares_its_link(links, event.customer))


def _amount(events: Sequence[MeterEvent]) -> HeldAmount:
    return HeldAmount(
        sum(each.units for each in events), min(each.time_ms for each in events), latest_values=sum(each.reading is not None for each in events)
    )


async def _waiting(reader: LogReader, topic: str, partition: int) -> list[MeterEvent]:
    start, end = await reader.bounds(topic, partition)
    begin, ledger = await ledger_start(reader, topic, partition, start, end)
    async with aclosing(chain_records(reader, PartitionPlace(topic, partition), begin, end, decode_entry)) as entries:
        async for offset, log_time_ms, entry in entries:
            ledger.fold(offset, log_time_ms, entry)
    return ledger.waiting
