"""What to ask Stripe next: first whatever is in doubt and due, then samples, by how long they wait and by amount. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.reconciliation.cells import CellScope, CustomerMeter
from metering.records.notes.evidence import CellVerdict, Finding
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtfulCell

QUESTION_HOURS_MAX: Final = 96  # one call shows 100
READS_FOR_ABSENCE: Final = 3  # as many show that Stripe has not what is in doubt


@dataclass(frozen=True, slots=True)
class CompareTimes:
    """In milliseconds. `settle`: how long Stripe's summaries may lag. `confirm`: how far apart two reads are that confirm a difference.
    `again`: how often a customer without a doubt is asked for.
    """

    settle_ms: int
    confirm_ms: int
    again_ms: int

    def wait_ms(self, reads: int) -> int:
        """Until the next read of what `reads` in a row have shown alike: with 5 minutes to confirm, after 5 minutes, an hour, six hours."""
        return self.confirm_ms * (1 if reads <= 1 else 12 if reads < READS_FOR_ABSENCE else 72)


@dataclass(frozen=True, slots=True)
class Question:
    """One call: a customer's meter, by hours in [from_ms, to_ms). `due_ms` is since when it waits to be asked; `doubt`: not only a sample.

    The waiting of a sample counts as many times as the units that were planned since the last read have binary digits, plus one. So a million
    units are asked about before a hundred, and nobody waits for ever.
    """

    pair: CustomerMeter
    from_ms: int
    to_ms: int
    due_ms: int
    doubt: bool

    @property
    def scope(self) -> CellScope:
        """Its cells."""
        return CellScope(self.from_ms, self.to_ms, HOUR_MS, frozenset({self.pair.customer}), frozenset({self.pair.meter}))


def due_ms(doubtful: DoubtfulCell, found: Finding | None, times: CompareTimes) -> int | None:
    """When a doubt is to be asked about; None: it is answered. `found` is the last word of evidence on its cell."""
    first = doubtful.since_ms + times.settle_ms
    # A read that was too young to tell, or none.
    if found is None or found.read_at_ms < first:
        return first
    match found.verdict:
        case CellVerdict.SETTLED if found.absent and found.reads < READS_FOR_ABSENCE:
            return found.read_at_ms + times.wait_ms(found.reads)
        case CellVerdict.SETTLED:
            return None
        case CellVerdict.ARRIVING:
            # Something may be open for hours: what is read alike again and again is read more rarely.
            return found.read_at_ms + max(times.settle_ms, times.wait_ms(found.reads))
        case _:
            return found.read_at_ms + times.wait_ms(found.reads)


def drop_answered(book: DoubtBook, times: CompareTimes) -> None:
    """Forget what evidence has answered."""
    for place in [place for place, doubtful in book.doubts.items() if due_ms(doubtful, book.evidence.of(*place), times) is None]:
        del book.doubts[place]


def next_questions(book: DoubtBook, now_ms: int, times: CompareTimes, at_most: int) -> list[Question]:
    """At most `at_most`, each of another customer and meter: doubts first, and of both the longest due first."""
    if at_most <= 0:
        return []
    asked = _about_doubts(book, now_ms, times)[:at_most]
    pairs = {question.pair for question in asked}
    longest = heapq.nsmallest(at_most - len(asked), (each for each in _unread(book, now_ms, times) if each[1] not in pairs))
    return asked + [_sample(pair, book.pairs[pair], due, now_ms, times) for due, pair in longest]


def _about_doubts(book: DoubtBook, now_ms: int, times: CompareTimes) -> list[Question]:
    due: defaultdict[CustomerMeter, list[tuple[int, CellPlace]]] = defaultdict(list)
    for place, doubtful in book.doubts.items():
        when = due_ms(doubtful, book.evidence.of(*place), times)
        if when is not None and when <= now_ms:
            due[place.pair].append((when, place))
    found = []
    for pair, waiting in due.items():
        # The one that waits longest, and what one call shows around it.
        longest, first = min(waiting)
        hours = [place.start_ms for _, place in waiting if 0 <= place.start_ms - first.start_ms < QUESTION_HOURS_MAX * HOUR_MS]
        found.append(Question(pair, first.start_ms, max(hours) + HOUR_MS, longest, doubt=True))
    return sorted(found, key=lambda each: each.due_ms)


def _unread(book: DoubtBook, now_ms: int, times: CompareTimes) -> Iterator[tuple[int, CustomerMeter]]:
    """Whom it is time to ask about again, and since when, weighted by amount."""
    for pair in book.pairs:
        waited = now_ms - book.evidence.read_at_ms(pair) - times.again_ms
        if waited >= 0:
            yield now_ms - (waited + 1) * (1 + book.unread.get(pair, 0).bit_length()), pair


def _sample(pair: CustomerMeter, told_ms: int, due: int, now_ms: int, times: CompareTimes) -> Question:
    """A customer without a doubt. The hours in which something may still arrive are left out."""
    quiet = told_ms + times.settle_ms <= now_ms
    end = now_ms // HOUR_MS * HOUR_MS + HOUR_MS if quiet else (now_ms - times.settle_ms) // HOUR_MS * HOUR_MS
    return Question(pair, end - QUESTION_HOURS_MAX * HOUR_MS, end, due, doubt=False)
