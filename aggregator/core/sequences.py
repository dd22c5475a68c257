"""Which numbers of each emitter have been seen: deduplicates numbered batches in constant memory, regardless of their age."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from taximeter_emitter.wire.limits import DAY_MS

from metering.records.fail_closed import FailClosed
from metering.records.service_limits import EVENT_AGE_MAX_MS
from metering.records.tally import EmitterState, Range, Tally

EMITTERS_MAX: Final = 50_000
RANGES_MAX: Final = 10_000
# A batch that comes back later than this holds only events that are too old to be billed, so its emitter may be forgotten.
MEMORY_MS: Final = EVENT_AGE_MAX_MS + DAY_MS


class TooManyEmitters(FailClosed):
    """More emitters, or more gaps in one emitter's numbers, than are remembered: deduplication would no longer be exact."""


@dataclass(slots=True)
class _Emitter:
    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    last_log_time_ms: int = 0
    final: int | None = None


class SequenceIndex:
    """The numbers seen in one partition, as sorted disjoint ranges an emitter; changes since the last commit can be rolled back."""

    def __init__(self) -> None:
        self._emitters: dict[str, _Emitter] = {}
        self._before: dict[str, _Emitter | None] = {}

    def __len__(self) -> int:
        return len(self._emitters)

    def claim(self, emitter: str, first: int, count: int, log_time_ms: int) -> Sequence[Range]:
        """Mark `count` numbers from `first` as seen. Returns the ranges, first and last included, that were new. Raises TooManyEmitters."""
        known = self._touch(emitter, log_time_ms)
        last = first + count - 1
        if known.lasts and known.lasts[-1] == first - 1:  # the next batch in order: nearly always
            known.lasts[-1] = last
            return ((first, last),)
        new = _missing(known, first, last)
        if new:
            _insert(known, first, last)
            if len(known.firsts) > RANGES_MAX:
                raise TooManyEmitters(f"the numbers of emitter {emitter} have more than {RANGES_MAX} gaps")
        return new

    def claim_following(
        self, emitters: Sequence[str], firsts: Sequence[int], counts: Sequence[int], log_times_ms: Sequence[int]
    ) -> Sequence[tuple[str, int, int]]:
        """`claim` for many batches, if each emitter's follow each other and are beyond all that was seen of it: nearly always.

        Returns emitter, first and last number of what was new, an entry for each emitter; otherwise changes nothing and returns none.
        Raises TooManyEmitters.
        """
        spans: dict[str, tuple[int, int, int]] = {}  # the first number, the one after the last, and the latest log time
        for emitter, first, count, log_time_ms in zip(emitters, firsts, counts, log_times_ms, strict=True):
            span = spans.get(emitter)
            if span is None:
                known = self._emitters.get(emitter)
                if known is not None and known.lasts and known.lasts[-1] >= first:
                    return ()
                spans[emitter] = (first, first + count, log_time_ms)
            elif span[1] == first:
                spans[emitter] = (span[0], first + count, max(span[2], log_time_ms))
            else:
                return ()
        for emitter, (first, after, latest_ms) in spans.items():
            self.claim(emitter, first, after - first, latest_ms)
        return [(emitter, first, after - 1) for emitter, (first, after, _) in spans.items()]

    def heartbeat(self, emitter: str, log_time_ms: int, final: int | None) -> None:
        """Note that an emitter was heard of and, if it closed, how many events it ever numbered here."""
        known = self._touch(emitter, log_time_ms)
        if final is not None:
            known.final = final

    def commit(self, log_time_ms: int) -> None:
        """What was claimed is counted. Forgets emitters that have been silent for MEMORY_MS."""
        self._before.clear()
        if len(self._emitters) > EMITTERS_MAX // 2:
            silent = [name for name, known in self._emitters.items() if known.last_log_time_ms < log_time_ms - MEMORY_MS]
            for name in silent:
                del self._emitters[name]

    def rollback(self) -> None:
        """Undo all since the last commit."""
        for name, before in self._before.items():
            if before is None:
                del self._emitters[name]
            else:
                self._emitters[name] = before
        self._before.clear()

    def states(self) -> list[EmitterState]:
        """Everything, for a checkpoint."""
        return [
            EmitterState(name, tuple(zip(known.firsts, known.lasts, strict=True)), known.last_log_time_ms, known.final)
            for name, known in self._emitters.items()
        ]

    def restore(self, tally: Tally) -> None:
        """Take in an accepted tally: its checkpoint if it carries one, otherwise what its range added."""
        if tally.emitter_states is not None:
            self._emitters = {state.emitter: _restored(state) for state in tally.emitter_states}
            return
        for emitter, first, last in tally.ranges:
            self.claim(emitter, first, last - first + 1, tally.log_time_ms)
        for emitter, final in tally.finals:
            self.heartbeat(emitter, tally.log_time_ms, final)
        self._before.clear()

    def _touch(self, emitter: str, log_time_ms: int) -> _Emitter:
        known = self._emitters.get(emitter)
        if known is None:
            if len(self._emitters) >= EMITTERS_MAX:
                raise TooManyEmitters(f"more than {EMITTERS_MAX} emitters are alive in this partition")
            known = self._emitters[emitter] = _Emitter()
            self._before.setdefault(emitter, None)
        elif emitter not in self._before:
            self._before[emitter] = _Emitter(known.firsts[:], known.lasts[:], known.last_log_time_ms, known.final)
        known.last_log_time_ms = max(known.last_log_time_ms, log_time_ms)
        return known


def merged(ranges: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Join neighbouring ranges of the same emitter, for the record of a tally."""
    joined: list[tuple[str, int, int]] = []
    for emitter, first, last in sorted(ranges):
        if joined and joined[-1][0] == emitter and joined[-1][2] + 1 == first:
            joined[-1] = (emitter, joined[-1][1], last)
        else:
            joined.append((emitter, first, last))
    return joined


def _missing(known: _Emitter, first: int, last: int) -> list[Range]:
    """The parts of [first, last] that are in no range yet."""
    missing: list[Range] = []
    at = first
    for index in range(bisect_left(known.lasts, first), len(known.firsts)):
        if known.firsts[index] > last:
            break
        if known.firsts[index] > at:
            missing.append((at, known.firsts[index] - 1))
        at = known.lasts[index] + 1
    if at <= last:
        missing.append((at, last))
    return missing


def _insert(known: _Emitter, first: int, last: int) -> None:
    """Add [first, last], joining every range that overlaps or touches it."""
    low = bisect_left(known.lasts, first - 1)
    high = bisect_right(known.firsts, last + 1)
    if low < high:
        first = min(first, known.firsts[low])
        last = max(last, known.lasts[high - 1])
    known.firsts[low:high] = [first]
    known.lasts[low:high] = [last]


def _restored(state: EmitterState) -> _Emitter:
    return _Emitter([first for first, _ in state.seen], [last for _, last in state.seen], state.last_log_time_ms, state.final)
