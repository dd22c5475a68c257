"""The numbers seen of one emitter in one partition, as sorted disjoint ranges."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from metering.records.tally import EmitterState, Range


@dataclass(slots=True)
class EmitterNumbers:
    """`latest_ms`: no event of it that counted is younger, by its own time. `known_from_ms`: own time of events from which on its numbers are surely
    known; before that it may have been forgotten once (0: never). `told_from`: of numbers below, nothing is known but those in ranges: there
    were too many gaps. They are in one range, seen or not.
    """

    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    last_log_time_ms: int = 0
    final: int | None = None
    latest_ms: int = 0
    known_from_ms: int = 0
    told_from: int = 0

    @property
    def gaps(self) -> int:
        """Ranges beyond the first."""
        return max(0, len(self.firsts) - 1)

    @property
    def following(self) -> int | None:
        """The number after the last, if none is missing from 0 on; otherwise None."""
        if not self.firsts:
            return 0
        return self.lasts[0] + 1 if len(self.firsts) == 1 and not self.firsts[0] and not self.told_from else None

    @property
    def is_complete(self) -> bool:
        """Whether it closed, and all its numbers were seen."""
        return self.final is not None and self.final == self.following

    def copy(self) -> "EmitterNumbers":
        """Another one, with ranges of its own."""
        return EmitterNumbers(self.firsts[:], self.lasts[:], self.last_log_time_ms, self.final, self.latest_ms, self.known_from_ms, self.told_from)

    def missing(self, first: int, last: int) -> list[Range]:
        """The parts of [first, last] that are in no range yet."""
        missing: list[Range] = []
        at = first
        for index in range(bisect_left(self.lasts, first), len(self.firsts)):
            if self.firsts[index] > last:
                break
            if self.firsts[index] > at:
                missing.append((at, self.firsts[index] - 1))
            at = self.lasts[index] + 1
        if at <= last:
            missing.append((at, last))
        return missing

    def forget_gaps(self) -> None:
        """Forget the lower half of the gaps: which of their numbers were seen is not told any more."""
        place = (len(self.firsts) + 1) // 2
        self.told_from = self.lasts[place - 1] + 1
        self.firsts[:place] = [self.firsts[0]]
        self.lasts[:place] = [self.told_from - 1]

    def insert(self, first: int, last: int) -> None:
        """Add [first, last], joining every range that overlaps or touches it."""
        low = bisect_left(self.lasts, first - 1)
        high = bisect_right(self.firsts, last + 1)
        if low < high:
            first = min(first, self.firsts[low])
            last = max(last, self.lasts[high - 1])
        self.firsts[low:high] = [first]
        self.lasts[low:high] = [last]

    def state(self, emitter: str) -> EmitterState:
        """For a checkpoint."""
        return EmitterState(
            emitter,
            tuple(zip(self.firsts, self.lasts, strict=True)),
            self.last_log_time_ms,
            self.final,
            self.latest_ms,
            self.known_from_ms,
            self.told_from,
        )


def numbers_of(state: EmitterState) -> EmitterNumbers:
    """From a checkpoint."""
    return EmitterNumbers(
        firsts=[first for first, _ in state.seen],
        lasts=[last for _, last in state.seen],
        last_log_time_ms=state.last_log_time_ms,
        final=state.final,
        latest_ms=state.latest_ms,
        known_from_ms=state.known_from_ms,
        told_from=state.told_from,
    )
