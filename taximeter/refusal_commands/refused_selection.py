"""Which refusals a command is about."""

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import Final

from audit.refused_usage import PartitionRefusals, RefusalReader, RefusedEvent
from metering.kafka.clients import KafkaSettings

_DAY_MS: Final = 86_400_000


def since_ms(arguments: argparse.Namespace) -> int:
    """From which log time on the ledger is read: what Stripe refuses later, it refuses after that."""
    if arguments.from_ms is not None:
        return int(arguments.from_ms)
    return int(time.time() * 1000 - arguments.days * _DAY_MS)


def selected(events: Iterable[RefusedEvent], arguments: argparse.Namespace) -> Iterator[RefusedEvent]:
    """Those that the options select; an option that is not given selects all. A command may also take one identifier."""
    identifier = getattr(arguments, "identifier", None)
    for each in events:
        event = each.target.event
        if identifier is not None and each.target.identifier != identifier:
            continue
        if arguments.customer and not {event.customer, event.billed} & set(arguments.customer):
            continue
        if arguments.meter and event.meter not in arguments.meter:
            continue
        if arguments.code and each.code not in arguments.code:
            continue
        if (arguments.from_ms is None or each.at_ms >= arguments.from_ms) and (arguments.to_ms is None or each.at_ms < arguments.to_ms):
            yield each


async def read_refusals(kafka: KafkaSettings, arguments: argparse.Namespace) -> list[PartitionRefusals]:
    """Of the selected partitions. Blocks on Kafka; raises LogUnavailable and FailClosed."""
    reader = RefusalReader(kafka)
    try:
        return [await reader.read(partition, since_ms(arguments)) for partition in partitions_of(kafka, arguments)]
    finally:
        await reader.close()


def partitions_of(kafka: KafkaSettings, arguments: argparse.Namespace) -> list[int]:
    """The partitions that the options select."""
    return [partition for partition in range(kafka.partitions) if not arguments.partition or partition in arguments.partition]


def selection_problems(kafka: KafkaSettings, arguments: argparse.Namespace) -> list[str]:
    """What is wrong with the selection."""
    unknown = [partition for partition in arguments.partition if not 0 <= partition < kafka.partitions]
    return [f"there is no partition {partition}: there are {kafka.partitions}, from 0" for partition in unknown]
