"""Which entries were counted already: their identities are looked for in the log, some millions at a time."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.limits import DAY_MS

from aggregator.dead_letters.counted_identities import counted_identities
from aggregator.dead_letters.letter_events import Identity
from aggregator.importing.asked_identities import IdentityList
from aggregator.importing.source_entries import SourceEntry, SourceEvent
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.plans.import_records import EntryBits, ImportedContent

IDENTITIES_A_PASS: Final = 2_000_000  # about 130 MB while they are sorted
# A copy of an event was sent with the same time, or with one that another clock gave it.
EARLIER_MS: Final = DAY_MS


class EntrySource(Protocol):
    """What is brought in: it can be read again and again, and is then the same, or its content is another."""

    @property
    def columns(self) -> Sequence[tuple[str, str]]:
        """Pairs of a column and a field; none where there are no columns."""
        ...

    @property
    def source(self) -> str:
        """The source of events that name none."""
        ...

    async def content(self) -> ImportedContent:
        """What it is. Reads all of it."""
        ...

    def chunks(self) -> AsyncGenerator[Sequence[SourceEntry], None]:
        """Its entries in order, some at a time."""
        ...


@dataclass(frozen=True, slots=True)
class IdentitySearch:
    """Where identities are looked for. `nameless`: identities of events that redrives wrote without their ids.

    A person is shown `on_read`: how many passes are done, of how many, and how many entries of the next one.
    """

    reader: LogReader
    topics: Topics
    partition_of: Callable[[str], int]
    nameless: frozenset[Identity]
    on_read: Callable[[int, int, int], None] = lambda _done, _of, _entries: None

    async def known_entries(self, source: EntrySource, asked: int, wanted: Callable[[SourceEvent], bool]) -> EntryBits:
        """The entries that were counted, or that repeat another entry, among those that are wanted and have an id; `asked`: how many these are.

        Blocks on Kafka and on the source; raises what they raise. Reads both once for each IDENTITIES_A_PASS.
        """
        passes = -(-asked // IDENTITIES_A_PASS)
        found = EntryBits()
        for number in range(passes):
            await self._pass(source, _OfPass(wanted, number, passes), found)
        return found

    async def _pass(self, source: EntrySource, wanted: "_OfPass", found: EntryBits) -> None:
        identities, position = IdentityList(), 0
        earliest: dict[int, int] = {}
        async with aclosing(source.chunks()) as chunks:
            async for chunk in chunks:
                for entry in chunk:
                    event = entry.content
                    if not isinstance(event, EventRejected) and event.fingerprint != NO_ID and wanted(event):
                        identities.add((event.customer, event.fingerprint), position)
                        partition = self.partition_of(event.customer)
                        earliest[partition] = min(event.time_ms, earliest.get(partition, event.time_ms))
                    position += 1
                self.on_read(wanted.number, wanted.passes, position)
        asked = identities.asked()
        found.add(*asked.repeats)  # of several entries with one identity the first is taken
        counted = {identity for identity in self.nameless if asked.has(identity)}
        for partition, time_ms in earliest.items():
            counted |= await counted_identities(self.reader, self.topics, partition, asked.has, from_ms=max(0, time_ms - EARLIER_MS))
        found.add(*map(asked.entry, counted))


@dataclass(frozen=True, slots=True)
class _OfPass:
    """Whether an event is looked for in this pass: all copies of an identity are in the same."""

    wanted: Callable[[SourceEvent], bool]
    number: int
    passes: int

    def __call__(self, event: SourceEvent) -> bool:
        return int.from_bytes(event.fingerprint[:4]) % self.passes == self.number and self.wanted(event)
