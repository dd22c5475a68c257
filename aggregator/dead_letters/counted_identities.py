"""Which identities were counted, however long ago: looked for in the log itself, where ids are no longer remembered."""

from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing

from taximeter_emitter.wire.batch import FINGERPRINT_BYTES
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent

from aggregator.core.uncounted_places import UncountedPlaces
from aggregator.dead_letters.letter_events import Identity
from aggregator.reading.decoding import read
from aggregator.tally_log import TallyLog
from metering.kafka.around_damage import records_around_damage
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.fail_closed import RecordUnreadable
from metering.records.record import LogRecord


async def counted_identities(
    reader: LogReader, topics: Topics, partition: int, wanted: Callable[[Identity], bool], *, from_ms: int = 0
) -> frozenset[Identity]:
    """Those that are `wanted` and that an event in this partition has which counted, or which no tally covers yet.

    Reads all that is kept of the partition, from a log time on. Blocks on Kafka; raises LogUnavailable or FailClosed. Memory: what tallies say did
    not count.
    """
    uncounted = await _uncounted(TallyLog(reader, topics.tallies.name), partition, from_ms)
    found: set[Identity] = set()
    first, following = await reader.bounds(topics.events.name, partition)
    if from_ms:
        begin = await reader.offset_for_time(topics.events.name, partition, from_ms)
        first = following if begin is None else max(first, begin)

    def note_damage(begin: int, _following: int, error: RecordUnreadable) -> None:
        """Nothing counted in a batch that was stepped over. Of another one nobody knows."""
        if uncounted.of(begin) is not None:
            raise error

    async with aclosing(records_around_damage(reader, topics.events.name, partition, first, following, on_damage=note_damage)) as batches:
        async for records in batches:
            for record in records:
                places = uncounted.of(record.offset)
                if places is not None:
                    found.update(identity for identity in _identities(record, places) if wanted(identity))
    return frozenset(found)


async def _uncounted(tallies: TallyLog, partition: int, from_ms: int) -> UncountedPlaces:
    """What did not count of the records that were logged since."""
    found = UncountedPlaces()
    start, end = await tallies.bounds(partition)
    if start == end:
        return found
    begin = await tallies.covering(partition, start, end, from_ms) if from_ms else start
    fold = await tallies.fold_at(partition, begin)
    async for offset, tally in tallies.between(partition, begin, end):
        if fold.fold(offset, tally):
            found.add(tally)
    return found


def _identities(record: LogRecord, not_counted: Collection[int]) -> set[Identity]:
    try:
        content = read(record)
    except EventRejected:
        return set()
    if isinstance(content, UsageEvent):
        return set() if 0 in not_counted else {(content.customer, content.fingerprint)}
    marks = _marks(content.ids)
    return {(content.customers[content.at[index]], mark) for index, mark in enumerate(marks) if index not in not_counted}


def _marks(ids: bytes) -> Iterator[bytes]:
    return (ids[place : place + FINGERPRINT_BYTES] for place in range(0, len(ids), FINGERPRINT_BYTES))
