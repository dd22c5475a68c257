"""Sent N, received N: the numbers of every emitter, from what the accepted tallies claimed. Pure.

Memory: an entry for each emitter and partition, with one more for each gap in its numbers; it grows with processes, not with events.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from taximeter_emitter.wire.limits import DAY_MS

from audit.verification.report import EmitterLine
from metering.records.tally import Range, Tally

SILENT_MS: Final = DAY_MS
"""An emitter that did not close and was not heard of for so long has died: those that live send heartbeats."""

GAPS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class NumberClaim:
    """Numbers first to last, and the range of offsets of usage.events [start, end) that contains them."""

    first: int
    last: int
    start: int
    end: int


@dataclass(slots=True)
class NumbersOfOne:
    """One emitter's numbers in one partition. `claims` are in the order in which tallies made them, neighbours joined.

    `unsure_from`: since a loss was accepted, the first number that may be among what is lost (None: it was heard of since).
    """

    claims: list[NumberClaim] = field(default_factory=list)
    abandoned: list[Range] = field(default_factory=list)
    lost: list[Range] = field(default_factory=list)
    final: int | None = None
    last_log_time_ms: int = 0
    unsure_from: int | None = None

    @property
    def following(self) -> int:
        """The number after the highest that was claimed."""
        return max((claim.last + 1 for claim in self.claims), default=0)

    def claim(self, first: int, last: int, start: int, end: int) -> None:
        """A tally of the records [start, end) claims these numbers."""
        self._lose_up_to(first)
        before = self.claims[-1] if self.claims else None
        if before is not None and before.last + 1 == first:
            self.claims[-1] = NumberClaim(before.first, last, before.start, end)
        else:
            self.claims.append(NumberClaim(first, last, start, end))

    def close(self, final: int) -> None:
        """The emitter closed, after `final` numbers."""
        self._lose_up_to(final)
        self.final = final

    def _lose_up_to(self, number: int) -> None:
        if self.unsure_from is not None and number >= self.unsure_from:
            if number > self.unsure_from:
                self.lost.append((self.unsure_from, number - 1))
            self.unsure_from = None


class EmitterBook:
    """All emitters of all partitions. `whole`: whether every tally is given, from the first one on; otherwise what is missing may be outside."""

    def __init__(self, *, whole: bool = True) -> None:
        self._whole = whole
        self.numbers: dict[tuple[str, int], NumbersOfOne] = {}
        self.dropped: dict[str, int] = {}
        self.latest_ms = 0
        self.may_repeat = False
        self.newcomers_until_ms: dict[int, int | None] = {}

    def take(self, tally: Tally) -> None:
        """Add what an accepted tally says."""
        self.latest_ms = max(self.latest_ms, tally.log_time_ms)
        self.may_repeat = self.may_repeat or tally.emitters_from_ms > 0
        if tally.records.lost:
            self._lose(tally.partition)
        elif self.newcomers_until_ms.get(tally.partition, 0) is None:
            self.newcomers_until_ms[tally.partition] = tally.log_time_ms + SILENT_MS
        for emitter, first, last in tally.ranges:
            self._of(emitter, tally).claim(first, last, tally.link.start, tally.link.end)
        for emitter, final in tally.finals:
            self._of(emitter, tally).close(final)
        for emitter, first, last in tally.abandoned:
            self._of(emitter, tally).abandoned.append((first, last))
        for emitter, dropped in tally.dropped:
            self.dropped[emitter] = max(dropped, self.dropped.get(emitter, 0))
        for state in tally.emitter_states or ():
            known = self.numbers.get((state.emitter, tally.partition))
            if known is not None:
                known.last_log_time_ms = max(known.last_log_time_ms, state.last_log_time_ms)

    def add(self, other: "EmitterBook") -> None:
        """Add the book of other partitions."""
        self.numbers |= other.numbers
        for emitter, dropped in other.dropped.items():
            self.dropped[emitter] = max(dropped, self.dropped.get(emitter, 0))
        self.latest_ms = max(self.latest_ms, other.latest_ms)
        self.may_repeat = self.may_repeat or other.may_repeat
        self.newcomers_until_ms |= other.newcomers_until_ms

    def lines(self) -> tuple[list[EmitterLine], list[str]]:
        """One line for each emitter, and a sentence for each number that was claimed twice and each gap that nobody reported."""
        lines: dict[str, EmitterLine] = {}
        problems: list[str] = []
        heard: dict[str, int] = {}
        for (emitter, _), numbers in self.numbers.items():
            heard[emitter] = max(numbers.last_log_time_ms, heard.get(emitter, 0))
        for (emitter, partition), numbers in sorted(self.numbers.items(), key=lambda item: item[0]):
            before = lines.get(emitter, EmitterLine(emitter, 0, 0, 0, 0, self.dropped.get(emitter, 0), closed=True))
            part = self._line(emitter, numbers, f"emitter {emitter} in partition {partition}", problems)
            closed = before.closed and part.closed
            lines[emitter] = EmitterLine(
                emitter,
                before.sent + part.sent,
                before.received + part.received,
                before.missing + part.missing,
                before.abandoned + part.abandoned,
                before.dropped,
                closed=closed,
                lost=before.lost + part.lost,
                silent=not closed and heard[emitter] < self.latest_ms - SILENT_MS,
            )
        return list(lines.values()), problems

    def _line(self, emitter: str, numbers: NumbersOfOne, where: str, problems: list[str]) -> EmitterLine:
        """Its part of one partition. Adds to the problems."""
        merged, repeated = _merged((claim.first, claim.last) for claim in numbers.claims)
        # Those of emitters that were forgotten may be taken again by events that are set aside. That none counts twice is checked record by record.
        if repeated and not self.may_repeat:
            problems.append(f"{where}: {repeated} numbers are in more than one tally")
        begin = 0 if self._whole or not merged else merged[0][0]
        seen = merged[-1][1] + 1 if merged else begin
        sent = numbers.final if numbers.final is not None and self._whole else seen
        if sent < seen:
            problems.append(f"{where} said that it sent {sent} events, number {seen - 1} arrived")
        gaps = _gaps(merged, begin, sent)
        told, _ = _merged(numbers.abandoned)
        abandoned = _overlap(gaps, told)
        explained, _ = _merged([*told, *numbers.lost])
        missing, excused = _length(gaps), _overlap(gaps, explained)
        if missing > excused and self._whole:
            shown = ", ".join(_place(gap, numbers.claims) for gap in gaps[:GAPS_SHOWN])
            problems.append(f"{where}: {missing - excused} of {sent} numbers never arrived and were not reported missing: {shown}")
        return EmitterLine(emitter, sent - begin, _length(merged), missing, abandoned, 0, closed=numbers.final is not None, lost=excused - abandoned)

    def _lose(self, partition: int) -> None:
        """A loss was accepted: what each emitter numbered next may be lost, and so may the beginning of those that are heard of soon afterwards."""
        self.newcomers_until_ms[partition] = None
        for (_, at), numbers in self.numbers.items():
            if at == partition and numbers.final is None and numbers.unsure_from is None:
                numbers.unsure_from = numbers.following

    def _of(self, emitter: str, tally: Tally) -> NumbersOfOne:
        numbers = self.numbers.get((emitter, tally.partition))
        if numbers is None:
            numbers = self.numbers[emitter, tally.partition] = NumbersOfOne()
            until_ms = self.newcomers_until_ms.get(tally.partition)
            if until_ms is not None and tally.log_time_ms <= until_ms:
                numbers.unsure_from = 0
        numbers.last_log_time_ms = max(numbers.last_log_time_ms, tally.log_time_ms)
        return numbers


def _place(gap: Range, claims: list[NumberClaim]) -> str:
    """A gap, and the offsets of usage.events around it: those of its neighbours."""
    before = max((claim for claim in claims if claim.last < gap[0]), key=lambda claim: claim.last, default=None)
    after = min((claim for claim in claims if claim.first > gap[1]), key=lambda claim: claim.first, default=None)
    numbers = f"{gap[0]}-{gap[1]}"
    if before is not None and after is not None:
        return f"{numbers} (between offsets {min(before.start, after.start)} and {max(before.end, after.end)})"
    if before is not None:
        return f"{numbers} (from offset {before.start} on)"
    return numbers if after is None else f"{numbers} (before offset {after.end})"


def _merged(ranges: Iterable[Range]) -> tuple[list[Range], int]:
    """The ranges sorted and joined, and how many numbers are in more than one of them."""
    joined: list[Range] = []
    repeated = 0
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            repeated += max(0, min(last, joined[-1][1]) - first + 1)
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined, repeated


def _gaps(merged: list[Range], begin: int, sent: int) -> list[Range]:
    """What of [begin, sent) is in no range."""
    gaps: list[Range] = []
    at = begin
    for first, last in merged:
        if first > at:
            gaps.append((at, first - 1))
        at = last + 1
    if at < sent:
        gaps.append((at, sent - 1))
    return gaps


def _overlap(one: list[Range], other: list[Range]) -> int:
    """How many numbers are in both."""
    return sum(max(0, min(a_last, b_last) - max(a_first, b_first) + 1) for a_first, a_last in one for b_first, b_last in other)


def _length(ranges: list[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)
