"""The state of what was set aside in one partition: open, waiting for its tally, taken back. Pure: records are handed in, in log order.

The tallies decide what is set aside. A letter whose tally lost, or was never written, says nothing: somebody else judged its record again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from aggregator.dead_letters.letter_events import Identity, indexes_of, readable_events
from metering.folds.catalogue_timeline import CLOCKS_APART_MS
from metering.records.dead_letter import LETTER_HEADER, DeadLetter, decode_dead_letter
from metering.records.fail_closed import FailClosed, RecordCorrupt
from metering.records.notes.marked_records import is_marked
from metering.records.record import LogRecord
from metering.records.redrive import NO_EDIT, REDRIVE_HEADER, Redrive, RedriveEnd, redrive_in
from metering.records.tally import Tally

LETTERS_MAX: Final = 200_000


class TooManyLetters(FailClosed):
    """More dead letters than are held in memory at once."""


class SetAsideState(StrEnum):
    """How an event that was set aside stands."""

    OPEN = "open"
    REDRIVEN = "redriven"
    KNOWN = "known"  # a redrive found that it was counted already
    UNSETTLED = "unsettled"  # no accepted tally covers it yet
    DOUBTFUL = "doubtful"  # a redrive that cannot be read may have taken it back


class EventPlace(NamedTuple):
    """An event of usage.events in the partition of the book."""

    offset: int
    at: int


@dataclass(slots=True)
class LetterAt:
    """A letter, and where it is in usage.deadletters."""

    offset: int
    letter: DeadLetter


@dataclass(slots=True)
class LetterBook:
    """One partition. Hand in the accepted tallies, then the records of usage.deadletters from the first to the last.

    Memory: each letter once, with its bytes, at most LETTERS_MAX; and each place that a tally names.

    `doubtful_until_ms`: redrives that cannot be read were written before this log time. What was counted before it may be taken back by one.
    """

    partition: int
    letters: dict[int, LetterAt] = field(default_factory=dict)
    redrives: dict[int, Redrive] = field(default_factory=dict)
    unfinished: set[int] = field(default_factory=set)
    next_offset: int = 0
    counted_to: int = 0
    doubtful_until_ms: float = -inf
    _is_behind_damage: bool = False
    _counted_ms: dict[int, int] = field(default_factory=dict)  # at least, by offset of what is set aside
    _latest: dict[EventPlace, int] = field(default_factory=dict)
    _taken: dict[EventPlace, SetAsideState] = field(default_factory=dict)
    _set_aside: dict[int, set[int] | None] = field(default_factory=dict)

    def add_tally(self, tally: Tally) -> None:
        """An accepted tally: what it set aside is so for good."""
        self.counted_to = max(self.counted_to, tally.link.end)
        for offset, indexes in tally.set_aside:
            known = self._set_aside.get(offset, set())
            self._set_aside[offset] = None if not indexes or known is None else known | set(indexes)
            self._counted_ms[offset] = tally.log_time_ms

    def add(self, record: LogRecord) -> None:
        """The next record of usage.deadletters. Raises TooManyLetters, and RecordCorrupt for a redrive that cannot be read: it may have taken events
        back. A letter that cannot be read says nothing. The tallies decide what is set aside.
        """
        self.next_offset = record.offset + 1
        if self._is_behind_damage:
            self._is_behind_damage, self.doubtful_until_ms = False, record.timestamp + CLOCKS_APART_MS
        if is_marked(record, REDRIVE_HEADER):
            self._add_redrive(record)
        elif is_marked(record, LETTER_HEADER):
            if len(self.letters) >= LETTERS_MAX:
                raise TooManyLetters(f"partition {self.partition} has more than {LETTERS_MAX:,} dead letters: narrow them with --from")
            try:
                letter = decode_dead_letter(record)
            except RecordCorrupt:
                return
            if letter.partition != self.partition:
                return
            self.letters[record.offset] = LetterAt(record.offset, letter)
            for index in indexes_of(letter):
                self._latest[EventPlace(letter.offset, index)] = record.offset

    def pass_damage(self, end: int) -> None:
        """The records before `end` that were not handed in cannot be read. When they were written says the next one that can."""
        self.next_offset = end
        self._is_behind_damage, self.doubtful_until_ms = True, inf

    def places(self) -> Iterator[tuple[EventPlace, LetterAt, SetAsideState]]:
        """Each event that was set aside, by offset, with the letter that speaks of it last."""
        for place in sorted(self._latest):
            state = self.state(place)
            if state is not None:
                yield place, self.letters[self._latest[place]], state

    def state(self, place: EventPlace) -> SetAsideState | None:
        """How this event stands; None if an accepted tally covers it and did not set it aside."""
        taken = self._taken.get(place)
        if taken is not None:
            return taken
        if place.offset >= self.counted_to:
            return SetAsideState.UNSETTLED
        indexes = self._set_aside.get(place.offset, frozenset[int]())
        if indexes is not None and place.at not in indexes:
            return None
        # A redrive takes back only what an accepted tally set aside, which was written after all that it counts.
        is_doubtful = self._counted_ms.get(place.offset, -inf) <= self.doubtful_until_ms
        return SetAsideState.DOUBTFUL if is_doubtful and self.doubtful_until_ms > -inf else SetAsideState.OPEN

    def nameless_identities(self) -> set[Identity]:
        """Identities of events that redrives wrote, or will write, and that a search of usage.events does not find.

        A redrive that is done has written its events, since `searched_ms` is kept with the identities that were searched for: the search finds them,
        and whether they counted. They may have been set aside again, because the search was too old.
        """
        found: set[Identity] = set()
        for redrive in self.redrives.values():
            if redrive.searched_ms and redrive.offset not in self.unfinished:
                continue
            for offset, indexes in redrive.nameless:
                letter = self.letter_of(EventPlace(offset, indexes[0]))
                for edit in (NO_EDIT, redrive.edit):
                    found.update(event.identity for event in readable_events(letter, edit) if event.at in indexes)
        return found

    def is_taken(self, place: EventPlace) -> bool:
        """Whether a redrive closed it."""
        return place in self._taken

    def letter_of(self, place: EventPlace) -> DeadLetter:
        """The letter that speaks of this event last. Raises KeyError if none does."""
        return self.letters[self._latest[place]].letter

    def _add_redrive(self, record: LogRecord) -> None:
        found = redrive_in(record)
        if isinstance(found, RedriveEnd):
            self.unfinished.discard(found.redrive)
            return
        if found is None or (found.partition, found.offset) != (self.partition, record.offset):
            return  # something came before it: its writer did not know that, and wrote again
        self.redrives[record.offset] = found
        self.unfinished.add(record.offset)
        for places, state in ((found.places, SetAsideState.REDRIVEN), (found.known, SetAsideState.KNOWN)):
            for offset, indexes in places:
                for index in indexes:
                    self._taken[EventPlace(offset, index)] = state
