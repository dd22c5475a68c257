"""Which identities were counted, however long ago: looked for in the log itself, where ids are no longer remembered."""

from collections.abc import Collection
from contextlib import aclosing
from typing import Final

from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent

from aggregator.core.uncounted_places import UncountedPlaces
from aggregator.dead_letters.letter_events import Identity, fingerprint_at
from aggregator.reading.decoding import read
from aggregator.tally_log import TallyLog
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.record import LogRecord

_NONE: Final[frozenset[Identity]] = frozenset()


async def counted_identities(reader: LogReader, topics: Topics, partition: int, wanted: Collection[Identity]) -> frozenset[Identity]:
    """Those of `wanted` that an event in this partition has which counted, or which no tally covers yet.

    Reads all that is kept of the partition. Blocks on Kafka; raises LogUnavailable or FailClosed. Memory: what tallies say did not count.
    """
    tallies = TallyLog(reader, topics.tallies.name)
    start, end = await tallies.bounds(partition)
    if start == end:
        return _NONE
    fold = await tallies.fold_at(partition, start)
    uncounted = UncountedPlaces()
    async for offset, tally in tallies.between(partition, start, end):
        if fold.fold(offset, tally):
            uncounted.add(tally)
    found: set[Identity] = set()
    first, following = await reader.bounds(topics.events.name, partition)
    async with aclosing(reader.records(topics.events.name, partition, first, following)) as batches:
        async for records in batches:
            for record in records:
                places = uncounted.of(record.offset)
                if places is not None:
                    found |= _identities(record, places) & set(wanted)
    return frozenset(found)


def _identities(record: LogRecord, not_counted: Collection[int]) -> set[Identity]:
    try:
        content = read(record)
    except EventRejected:
        return set()
    if isinstance(content, UsageEvent):
        return set() if 0 in not_counted else {(content.customer, content.fingerprint)}
    if not content.ids:
        return set()
    return {(content.customers[content.at[index]], fingerprint_at(content, index)) for index in range(content.count) if index not in not_counted}
