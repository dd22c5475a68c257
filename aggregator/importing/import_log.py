"""What was brought in, as usage.deadletters has it: the accepted imports of a partition, and writing another one."""

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.plans.import_records import IMPORT_HEADER, Import, ImportedContent, ImportEnd, encode_import, import_in
from metering.records.fail_closed import HistoryLost
from metering.records.record import LogRecord

IMPORT_ATTEMPTS_MAX: Final = 20
"""How often an import is written again because a dead letter came before it."""


class NotImported(TaximeterError):
    """Nothing was brought in; the message says why and what to do."""


@dataclass(slots=True)
class ImportBook:
    """The imports of one partition of usage.deadletters. Pure: records are handed in, in log order."""

    partition: int
    imports: dict[str, Import] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    next_offset: int = 0

    def add(self, record: LogRecord) -> None:
        """The next record. Raises RecordCorrupt."""
        self.next_offset = record.offset + 1
        found = import_in(record)
        if isinstance(found, ImportEnd):
            self.ended.add(found.emitter)
        elif found is not None and found.offset == record.offset and found.emitter not in self.imports and self.overlapping(found.content) is None:
            self.imports[found.emitter] = found

    def overlapping(self, content: ImportedContent) -> Import | None:
        """An import of some of the same records of a topic, under another emitter."""
        for other in self.imports.values():
            mine, held = content, other.content
            is_same_log = mine.kind == held.kind == "topic" and (mine.name, mine.partition) == (held.name, held.partition)
            if is_same_log and mine.emitter != held.emitter and mine.start < held.end and held.start < mine.end:
                return other
        return None

    def end_of(self, topic: str, partition: int) -> int:
        """The offset from which on records of another topic were not brought in."""
        contents = (each.content for each in self.imports.values())
        return max((each.end for each in contents if each.kind == "topic" and (each.name, each.partition) == (topic, partition)), default=0)


class ImportLog:
    """Reads and writes imports. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. Reader and appender stay their owner's."""

    def __init__(self, reader: LogReader, topics: Topics, partitions: int) -> None:
        self._reader = reader
        self._topic = topics.deadletters.name
        self._partitions = partitions

    def partition_of(self, content: ImportedContent) -> int:
        """Where imports of this content are: all those of one log of a topic in the same partition, so that they cannot overlap."""
        return (
            self.partition_of_topic(content.name, content.partition) if content.kind == "topic" else partition_of(content.emitter, self._partitions)
        )

    def partition_of_topic(self, topic: str, partition: int) -> int:
        """Where imports from this log are."""
        return partition_of(f"{topic}/{partition}", self._partitions)

    async def read(self, partition: int) -> ImportBook:
        """All imports of a partition."""
        book = ImportBook(partition)
        await self._follow(book)
        return book

    async def claim(self, book: ImportBook, wanted: Import, appender: Appender) -> Import:
        """Write an import down, and return the one that is accepted: another one of the same content, if that was quicker.

        Raises NotImported when records of it were brought in under another emitter.
        """
        for _ in range(IMPORT_ATTEMPTS_MAX):
            accepted = book.imports.get(wanted.emitter)
            if accepted is not None:
                return accepted
            if (other := book.overlapping(wanted.content)) is not None:
                raise NotImported(f"records {other.content.start} to {other.content.end - 1} are brought in already, by {other.emitter}: plan again")
            value = encode_import(replace(wanted, offset=book.next_offset))
            await appender.append(self._topic, book.partition, value, headers=[(IMPORT_HEADER, b"import")])
            await self._follow(book)
        raise NotImported(f"dead letters of partition {book.partition} come too fast for an import: try again when they stop")

    async def end(self, book: ImportBook, done: Import, appender: Appender) -> None:
        """Write down that all events of an import are in usage.events."""
        value = encode_import(ImportEnd(done.emitter))
        await appender.append(self._topic, book.partition, value, headers=[(IMPORT_HEADER, b"end")])
        book.ended.add(done.emitter)

    async def _follow(self, book: ImportBook) -> None:
        """What is behind the last record that the book has."""
        start, end = await self._reader.bounds(self._topic, book.partition)
        if book.next_offset == 0:
            book.next_offset = start
        elif start > book.next_offset:
            raise HistoryLost(f"the dead letters of partition {book.partition} are kept from {start}; they were read up to {book.next_offset}")
        async with aclosing(self._reader.records(self._topic, book.partition, book.next_offset, end)) as batches:
            async for records in batches:
                for record in records:
                    book.add(record)
