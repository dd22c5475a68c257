"""Bring events in: survey them, write down that they are brought in, write them with the numbers of their emitter, write down that it is done.

Each step may be repeated by anybody, at any time, from a copy: what is written down is accepted at one offset only, and everything else follows
from it and from the content.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from taximeter_emitter.wire.errors import EventRejected

from aggregator.dead_letters.redriving import DeadLetterLog, Signature
from aggregator.importing.event_file import EventFile
from aggregator.importing.identity_search import EntrySource, IdentitySearch
from aggregator.importing.import_log import ImportBook, ImportLog, NotImported
from aggregator.importing.import_survey import ImportRules, ImportSurvey
from aggregator.importing.import_writing import ImportBatch, NumberedEntries
from aggregator.importing.source_entries import SourceEntry
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.plans.import_records import IMPORT_BYTES_MAX, EntryBits, Import, ImportedContent, encode_import

ENTRIES_AT_ONCE: Final = 500
NAME_CHARS_SHOWN: Final = 200

OnStep = Callable[[str, int, int | None], None]
"""What is being done, how many entries are done, of how many (None: not known yet)."""


class FileSource:
    """A file as what is brought in. Gives way to other tasks between its chunks."""

    def __init__(self, file: EventFile) -> None:
        self.file = file
        self.columns: Sequence[tuple[str, str]] = file.columns.pairs
        self.source = file.source

    async def content(self) -> ImportedContent:
        """Its digest, whatever it is called."""
        return ImportedContent("file", self.file.path.name[-NAME_CHARS_SHOWN:], await asyncio.to_thread(self.file.digest))

    async def chunks(self) -> AsyncGenerator[Sequence[SourceEntry], None]:
        """Its lines or rows."""
        entries: Iterator[SourceEntry] = self.file.entries()
        while chunk := list(islice(entries, ENTRIES_AT_ONCE)):
            yield chunk
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class ImportKit:
    """What an importer works with; the reader and the appender stay their owner's. `on_step` hears of progress.

    `events_per_second`: write no more than that; None: as fast as Kafka acknowledges."""

    reader: LogReader
    appender: Appender
    topics: Topics
    partitions: int
    on_step: OnStep = lambda _what, _done, _of: None
    events_per_second: float | None = None


class WrittenSoFar:
    """Up to which number each partition has the events of an import, as far as this machine knows."""

    def __init__(self, following: Sequence[int], on_change: Callable[[Sequence[int]], None]) -> None:
        self._following = list(following)
        self._on_change = on_change

    def has(self, batch: ImportBatch) -> bool:
        """Whether a batch was acknowledged before."""
        return batch.following <= self._following[batch.partition]

    def note(self, batch: ImportBatch) -> None:
        """Kafka acknowledged it."""
        self._following[batch.partition] = batch.following
        self._on_change(self._following)


class Importer:
    """Blocks on Kafka and on the source; every method may raise LogUnavailable, FailClosed, and what the source raises."""

    def __init__(self, kit: ImportKit, letters: DeadLetterLog, rules: ImportRules) -> None:
        self._kit = kit
        self._letters = letters
        self._rules = rules
        self.log = ImportLog(kit.reader, kit.topics, kit.partitions)

    async def survey(self, source: EntrySource) -> tuple[ImportedContent, ImportSurvey]:
        """What it is, and what would become of it. Identities are looked for in the log, those of all entries."""
        self._kit.on_step("digest", 0, None)
        content = await source.content()
        survey = await self._surveyed(source, EntryBits(), None)
        known = await self._known(source, survey, all_ids=True)
        return content, await self._surveyed(source, known, survey.entries) if known else survey

    async def begin(self, source: EntrySource, digest: str, signature: Signature) -> tuple[ImportBook, Import]:
        """Write the import down, unless somebody did. Raises NotImported when the content is another than was planned, or cannot be brought in so."""
        content = await source.content()
        if content.digest != digest:
            raise NotImported(f"{content.name} is not what was planned: its content has changed since. Plan again")
        book = await self.log.read(self.log.partition_of(content))
        accepted, numbers = book.imports.get(content.emitter), None
        if accepted is None:
            wanted = await self._wanted(source, content, signature)
            if len(encode_import(wanted)) > IMPORT_BYTES_MAX:
                raise NotImported(f"{content.name} has too many entries that were counted already, here and there: split it into smaller parts")
            accepted = await self.log.claim(book, wanted, self._kit.appender)
            numbers = wanted.numbers if accepted.left_out == wanted.left_out else None
        await self._check(source, accepted, numbers)
        return book, accepted

    async def write(self, source: EntrySource, book: ImportBook, accepted: Import, written: WrittenSoFar) -> int:
        """Write the events, but for those that `written` has, and that it is done. Returns how many were written here."""
        numbered, events, began = NumberedEntries(accepted, self._kit.partitions), 0, time.monotonic()
        async with aclosing(source.chunks()) as chunks:
            async for chunk in chunks:
                for batch in numbered.add(chunk):
                    events += await self._append(batch, written)
                self._kit.on_step("written", numbered.entries, accepted.entries)
                if self._kit.events_per_second is not None:
                    await asyncio.sleep(max(0.0, events / self._kit.events_per_second - (time.monotonic() - began)))
        for batch in numbered.rest():
            events += await self._append(batch, written)
        if (await source.content()).digest != accepted.content.digest:
            raise NotImported(f"{accepted.content.name} changed while it was read: bring it in as it was planned, and the rest as another file")
        for partition, value in numbered.closings():
            await self._kit.appender.append(self._kit.topics.events.name, partition, value)
        await self.log.end(book, accepted, self._kit.appender)
        return events

    async def _append(self, batch: ImportBatch, written: WrittenSoFar) -> int:
        if written.has(batch):
            return 0
        await self._kit.appender.append(self._kit.topics.events.name, batch.partition, batch.value, headers=batch.headers)
        written.note(batch)
        return batch.events

    async def _wanted(self, source: EntrySource, content: ImportedContent, signature: Signature) -> Import:
        survey = await self._surveyed(source, EntryBits(), None)
        known = await self._known(source, survey, all_ids=False)
        return Import(
            content=content,
            columns=[*source.columns],
            source=source.source,
            offset=0,  # where it lands is decided when it is written
            entries=survey.entries,
            left_out=bytes(known),
            numbers=await self._numbers(source, known, survey.entries),
            ids_from_ms=self._rules.ids_from_ms,
            reason=signature.reason,
            by=signature.by,
            at_ms=self._rules.now_ms,
        )

    async def _check(self, source: EntrySource, accepted: Import, numbers: Sequence[int] | None) -> None:
        """Whether the numbers here are those of the import that was accepted; None: they must be found out."""
        if ([*source.columns], source.source) != ([*accepted.columns], accepted.source):
            when = datetime.fromtimestamp(accepted.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise NotImported(
                f"this content was brought in with other columns or another source, as {accepted.content.name} by {accepted.by} at {when}: "
                f"use the same; what it brought in can be taken out: taximeter replay plan --take-out --source {accepted.emitter}"
            )
        found = await self._numbers(source, accepted.known, accepted.entries) if numbers is None else numbers
        if list(found) != list(accepted.numbers):
            raise NotImported("this version reads the content otherwise than the one that began: finish with that version")

    async def _numbers(self, source: EntrySource, known: EntryBits, entries: int) -> list[int]:
        numbers, position = [0] * self._kit.partitions, 0
        async with aclosing(source.chunks()) as chunks:
            async for chunk in chunks:
                for entry in chunk:
                    if not isinstance(entry.content, EventRejected) and position not in known:
                        numbers[self._rules.partition_of(entry.content.customer)] += 1
                    position += 1
                self._kit.on_step("numbered", position, entries)
        return numbers

    async def _known(self, source: EntrySource, survey: ImportSurvey, *, all_ids: bool) -> EntryBits:
        asked = survey.with_id if all_ids else survey.old
        if not asked:
            return EntryBits()
        search = IdentitySearch(
            self._kit.reader,
            self._kit.topics,
            self._rules.partition_of,
            frozenset(await self._letters.nameless_identities()),
            lambda done, of, entries: self._kit.on_step("ids looked for", (done * survey.entries + entries) // of, survey.entries),
        )
        return await search.known_entries(source, asked, lambda event: all_ids or self._rules.is_old(event))

    async def _surveyed(self, source: EntrySource, known: EntryBits, entries: int | None) -> ImportSurvey:
        survey = ImportSurvey(self._rules)
        async with aclosing(source.chunks()) as chunks:
            async for chunk in chunks:
                for entry in chunk:
                    survey.add(entry, known=survey.entries in known)
                self._kit.on_step("read", survey.entries, entries)
        return survey
