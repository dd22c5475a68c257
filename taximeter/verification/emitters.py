"""Sent N, received N: the numbers of every emitter, from what the accepted tallies claimed. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from metering.tally import Range, Tally
from taximeter.verification.report import EmitterLine


@dataclass(slots=True)
class _Numbers:
    """One emitter's numbers in one partition. `ranges` are in the order in which tallies claimed them, neighbours joined."""

    ranges: list[Range] = field(default_factory=list)
    abandoned: list[Range] = field(default_factory=list)
    final: int | None = None

    def claim(self, first: int, last: int) -> None:
        if self.ranges and self.ranges[-1][1] + 1 == first:
            self.ranges[-1] = (self.ranges[-1][0], last)
        else:
            self.ranges.append((first, last))


class EmitterBook:
    """All emitters of all partitions."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int], _Numbers] = {}
        self._dropped: dict[str, int] = {}

    def take(self, tally: Tally) -> None:
        """Add what an accepted tally says."""
        for emitter, first, last in tally.ranges:
            self._of(emitter, tally.partition).claim(first, last)
        for emitter, final in tally.finals:
            self._of(emitter, tally.partition).final = final
        for emitter, first, last in tally.abandoned:
            self._of(emitter, tally.partition).abandoned.append((first, last))
        for emitter, dropped in tally.dropped:
            self._dropped[emitter] = max(dropped, self._dropped.get(emitter, 0))

    def lines(self) -> tuple[list[EmitterLine], list[str]]:
        """One line an emitter, and a sentence for each number that was claimed twice and each gap that nobody was told of."""
        lines: dict[str, EmitterLine] = {}
        problems: list[str] = []
        for (emitter, partition), numbers in sorted(self._numbers.items()):
            merged, repeated = _merged(numbers.ranges)
            where = f"emitter {emitter} in partition {partition}"
            if repeated:
                problems.append(f"{where}: {repeated} numbers stand in more than one tally")
            seen = merged[-1][1] + 1 if merged else 0
            sent = seen if numbers.final is None else numbers.final
            if sent < seen:
                problems.append(f"{where} said that it sent {sent} events, number {seen - 1} arrived")
            gaps = _gaps(merged, sent)
            excused = _overlap(gaps, _merged(numbers.abandoned)[0])
            missing = _length(gaps)
            if missing > excused:
                shown = ", ".join(f"{first}-{last}" for first, last in gaps[:5])
                problems.append(f"{where}: {missing - excused} of {sent} numbers never arrived and nobody was told: {shown}")
            before = lines.get(emitter, EmitterLine(emitter, 0, 0, 0, 0, self._dropped.get(emitter, 0), closed=True))
            lines[emitter] = EmitterLine(
                emitter,
                before.sent + sent,
                before.received + _length(merged),
                before.missing + missing,
                before.abandoned + excused,
                before.dropped,
                closed=before.closed and numbers.final is not None,
            )
        return list(lines.values()), problems

    def _of(self, emitter: str, partition: int) -> _Numbers:
        return self._numbers.setdefault((emitter, partition), _Numbers())


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


def _gaps(merged: list[Range], sent: int) -> list[Range]:
    """What of [0, sent) is in no range."""
    gaps: list[Range] = []
    at = 0
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
