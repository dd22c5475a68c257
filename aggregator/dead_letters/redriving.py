"""Take set-aside events back: read what is set aside, write down which are taken, write them to usage.events, write down that it is done.

Each step may be repeated by anybody: what is written down is accepted at one offset only, and the events have the numbers of one emitter.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.dead_letters.counted_identities import counted_identities
from aggregator.dead_letters.letter_book import LetterBook
from aggregator.dead_letters.letter_events import Identity
from aggregator.dead_letters.redrive_plan import Judged, RedrivePlan, RedriveVerdict, batches_of, places_of
from aggregator.tally_log import TallyLog
from metering.kafka.around_damage import OnDamage, leave_out, records_around_damage
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.records.fail_closed import HistoryLost, RecordUnreadable
from metering.records.redrive import REDRIVE_HEADER, Edit, Redrive, RedriveEnd, encode_redrive

REDRIVE_ATTEMPTS_MAX: Final = 20
"""How often a redrive is written again because a dead letter came before it."""


class NotRedriven(TaximeterError):
    """Nothing was taken back in this partition; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Why it is done and who does it, at most REASON_CHARS_MAX and BY_CHARS_MAX characters."""

    reason: str
    by: str


def _stopped(start: int, end: int, error: RecordUnreadable) -> None:
    raise RecordUnreadable(
        f"{error}. Dead letters {start} to {end - 1} may hold redrives, and what these took back would count twice: let a broker lead that has a"
        " sound copy",
        offset=start,
    ) from error


class DeadLetterLog:
    """Reads and redrives. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, topics: Topics, *, partitions: int, clock: Clock) -> None:
        self._reader = reader
        self._partitions = partitions
        self._topics = topics
        self._tallies = TallyLog(reader, topics.tallies.name)
        self._clock = clock

    async def read(self, partition: int, on_damage: OnDamage = leave_out) -> LetterBook:
        """All that was set aside in a partition, and what became of it.

        A batch that cannot be read may hold redrives: what these may have taken back is doubtful. `on_damage` gets the batch.
        """
        book = LetterBook(partition)
        start, end = await self._tallies.bounds(partition)
        if start < end:
            fold = await self._tallies.fold_at(partition, start)
            async for offset, tally in self._tallies.between(partition, start, end):
                if fold.fold(offset, tally):
                    book.add_tally(tally)

        def passed(start: int, end: int, error: RecordUnreadable) -> None:
            book.pass_damage(end)
            on_damage(start, end, error)

        await self._read_letters(book, passed)
        return book

    async def look_up(self, plan: RedrivePlan) -> None:
        """Find out which of the old events were counted after all: reads the partitions of their customers whole, and all earlier redrives."""
        wanted: defaultdict[int, set[Identity]] = defaultdict(set)
        for identity in plan.to_look_up():
            wanted[partition_of(identity[0], self._partitions)].add(identity)
        if not wanted:
            return
        searched_ms = self._clock.now_ms()
        try:
            counted = await self.nameless_identities()
        except RecordUnreadable as error:
            plan.cannot_look_up(str(error))
            return
        for partition, identities in wanted.items():
            counted |= await counted_identities(self._reader, self._topics, partition, identities.__contains__)
        plan.looked_up(counted, searched_ms)

    async def nameless_identities(self) -> set[Identity]:
        """The identities of all events that redrives wrote, or will write, and that a search of usage.events does not find."""
        found: set[Identity] = set()
        for partition in range(self._partitions):
            letters = LetterBook(partition)
            await self._read_letters(letters)
            found |= letters.nameless_identities()
        return found

    async def redrive(self, book: LetterBook, part: Sequence[Judged], edit: Edit, signature: Signature, appender: Appender) -> Redrive:
        """Take this part of a plan back, and write its events. Raises NotRedriven when somebody else took one of them meanwhile."""
        redrive = await self._claim(book, part, edit, signature, appender)
        await self.write(book, redrive, appender)
        return redrive

    async def write(self, book: LetterBook, redrive: Redrive, appender: Appender) -> None:
        """Write the events of a redrive; again, if it was interrupted before its end was written."""
        for batch in batches_of(redrive, book, self._partitions):
            await appender.append(self._topics.events.name, batch.partition, batch.value, headers=batch.headers)
        end = encode_redrive(RedriveEnd(redrive.offset))
        await appender.append(self._topics.deadletters.name, book.partition, end, headers=[(REDRIVE_HEADER, b"end")])
        book.unfinished.discard(redrive.offset)

    async def _claim(self, book: LetterBook, part: Sequence[Judged], edit: Edit, signature: Signature, appender: Appender) -> Redrive:
        chain_id = await self._chain_id(book.partition)
        for _ in range(REDRIVE_ATTEMPTS_MAX):
            redrive = Redrive(
                chain_id=chain_id,
                partition=book.partition,
                offset=book.next_offset,
                places=places_of(part, RedriveVerdict.COUNTED),
                nameless=places_of(part, RedriveVerdict.COUNTED, look_up=True),
                known=places_of(part, RedriveVerdict.KNOWN),
                edit=edit,
                reason=signature.reason,
                by=signature.by,
                at_ms=self._clock.now_ms(),
                searched_ms=min((each.searched_ms for each in part if each.look_up), default=0),
            )
            topic = self._topics.deadletters.name
            value = encode_redrive(redrive)
            await appender.append(topic, book.partition, value, headers=[(REDRIVE_HEADER, b"redrive")])
            await self._read_letters(book)
            landed = book.redrives.get(redrive.offset)
            if landed is not None and encode_redrive(landed) == value:
                return landed
            if any(book.is_taken(each.place) for each in part):
                raise NotRedriven(f"another redrive of partition {book.partition} took some of these events meanwhile: look again at what is open")
        raise NotRedriven(f"dead letters of partition {book.partition} come too fast for a redrive: try again when they stop")

    async def _read_letters(self, book: LetterBook, on_damage: OnDamage = _stopped) -> None:
        """What is behind the last record that the book has."""
        topic = self._topics.deadletters.name
        start, end = await self._reader.bounds(topic, book.partition)
        if book.next_offset == 0:
            book.next_offset = start
        elif start > book.next_offset:
            raise HistoryLost(f"the dead letters of partition {book.partition} are kept from {start}; they were read up to {book.next_offset}")
        around = records_around_damage(self._reader, topic, book.partition, book.next_offset, end, on_damage=on_damage)
        async with aclosing(around) as batches:
            async for records in batches:
                for record in records:
                    book.add(record)

    async def _chain_id(self, partition: int) -> str:
        start, end = await self._tallies.bounds(partition)
        if start == end:
            raise NotRedriven(f"partition {partition} has no tallies: nothing was set aside for good")
        return (await self._tallies.at(partition, end - 1)).chain_id
