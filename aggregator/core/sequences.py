"""Which numbers of each emitter have been seen: deduplicates numbered batches regardless of their age, in bounded memory.

An emitter is known by name as long as it lives or numbers of it are missing. One that closed with nothing missing, or that is silent while many
others are heard of, is known by a digest. What is too much even so is forgotten, the oldest first. From then on, events of emitters that are not
known, and that are not younger than what was forgotten, may have been counted: `known_from_ms` says how young they must be.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS, DAY_MS

from aggregator.core.emitter_digests import EmitterDigests
from aggregator.core.emitter_numbers import EmitterNumbers, numbers_of
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX, CHAIN_RECORD_BYTES_TARGET, EVENT_AGE_MAX_MS
from metering.records.tally import DigestedEmitters, EmitterState, Range, Tally

EMITTERS_MAX: Final = 120_000  # known by digest, in one partition
NAMED_EMITTERS_MAX: Final = 20_000  # known by name
GAPS_MAX: Final = 30_000  # in the numbers of all that are known by name
EMITTER_GAPS_MAX: Final = 10_000  # in the numbers of one
_KEPT: Final = 7 / 8  # of a bound that was passed: what is forgotten at once
# A batch that comes back later than this holds only events that are too old to be billed, so its emitter may be forgotten.
MEMORY_MS: Final = EVENT_AGE_MAX_MS + DAY_MS

# A checkpoint must fit into a record: at most 400 bytes for a name with what belongs to it, 42 for a range, 53 for a digest.
assert 400 * NAMED_EMITTERS_MAX + 42 * GAPS_MAX + 53 * EMITTERS_MAX + CHAIN_RECORD_BYTES_TARGET < CHAIN_RECORD_BYTES_MAX


class SequenceIndex:
    """The numbers seen in one partition; changes since the last commit can be rolled back, but for what is forgotten."""

    def __init__(self) -> None:
        self._emitters: dict[str, EmitterNumbers] = {}
        self._digests = EmitterDigests()
        self._before: dict[str, EmitterNumbers | None] = {}
        self._prune_at = EMITTERS_MAX // 2
        self.gaps = 0
        self.known_from_ms = 0

    def __len__(self) -> int:
        return len(self._emitters) + len(self._digests)

    def claim(self, emitter: str, first: int, count: int, log_time_ms: int, *, latest_ms: int | None = None) -> Sequence[Range]:
        """Mark `count` numbers from `first` as seen. Returns the ranges, first and last included, that were new.

        `latest_ms`: the own time of the latest of their events, as their sender set it; None: it may be as late as events can be.

        Raises EventRejected, and changes nothing, if it is not known any more which of them were seen.
        """
        last = first + count - 1
        if self._is_repeated(emitter, last):
            return ()
        known = self._emitters.get(emitter)
        if known is not None and first < known.told_from:
            raise EventRejected(
                Reason.PAST_HORIZON, "first_seq", f"of its emitter, numbers are remembered from {known.told_from} on: it may be counted"
            )
        return self._claim(emitter, first, last, log_time_ms, latest_ms)

    def claim_following(
        self, emitters: Sequence[str], firsts: Sequence[int], counts: Sequence[int], log_times_ms: Sequence[int], *, latest_ms: int
    ) -> Sequence[tuple[str, int, int]]:
        """`claim` for many batches, if each emitter's follow each other and are beyond all that was seen of it: nearly always.

        `latest_ms`: the own time of the latest event of all, likewise.

        Returns emitter, first and last number of what was new, an entry for each emitter; otherwise changes nothing and returns none.
        """
        spans: dict[str, tuple[int, int, int]] = {}  # the first number, the one after the last, and the latest log time
        for emitter, first, count, log_time_ms in zip(emitters, firsts, counts, log_times_ms, strict=True):
            span = spans.get(emitter)
            if span is None:
                if not self._is_simple(emitter, first):
                    return ()
                spans[emitter] = (first, first + count, log_time_ms)
            elif span[1] == first:
                spans[emitter] = (span[0], first + count, max(span[2], log_time_ms))
            else:
                return ()
        for emitter, (first, after, log_time_ms) in spans.items():
            self._claim(emitter, first, after - 1, log_time_ms, latest_ms)
        return [(emitter, first, after - 1) for emitter, (first, after, _) in spans.items()]

    def heartbeat(self, emitter: str, log_time_ms: int, final: int | None) -> None:
        """Note that an emitter was heard of and, if it closed, how many events it ever numbered here.

        One of which no number was seen is remembered only if numbers are missing: otherwise there is nothing to know.
        """
        if emitter in self._emitters or (final and self._digests.following(emitter) is None):
            known = self._touch(emitter, log_time_ms)
            if final is not None:
                known.final = final

    def known_from(self, emitter: str) -> int:
        """The own time (Unix ms) before which a new number of an emitter that was just claimed may have been counted."""
        known = self._emitters.get(emitter)
        return 0 if known is None else known.known_from_ms

    def following(self, emitter: str) -> int:
        """The number after the highest that was seen of an emitter."""
        known = self._emitters.get(emitter)
        if known is not None:
            return known.lasts[-1] + 1 if known.lasts else 0
        return self._digests.following(emitter) or 0

    def commit(self, log_time_ms: int) -> None:
        """What was claimed is counted. Keeps the bounds."""
        for name in self._before:
            known = self._emitters.get(name)
            if known is not None and known.is_complete:
                self._digest(name)
            elif known is not None and known.gaps > EMITTER_GAPS_MAX:
                self._forget_gaps(known)
        self._before.clear()
        if len(self._emitters) > NAMED_EMITTERS_MAX or self.gaps > GAPS_MAX:
            self._thin_out(log_time_ms)
        if len(self._digests) > self._prune_at:
            self._digests.forget_older(log_time_ms - MEMORY_MS)
            if len(self._digests) > EMITTERS_MAX:
                self._forgotten(self._digests.forget_oldest(len(self._digests) - int(EMITTERS_MAX * _KEPT)))
            self._prune_at = min(EMITTERS_MAX, max(EMITTERS_MAX // 2, len(self._digests) + EMITTERS_MAX // 16))

    def rollback(self) -> None:
        """Undo all since the last commit."""
        for name, before in self._before.items():
            self.gaps -= self._emitters.pop(name).gaps
            if before is not None:
                self._emitters[name] = before
                self.gaps += before.gaps
        self._before.clear()

    def states(self) -> list[EmitterState]:
        """Those known by name, for a checkpoint."""
        return [known.state(name) for name, known in self._emitters.items()]

    def digested(self) -> DigestedEmitters:
        """Those known by digest, for a checkpoint."""
        return self._digests.state()

    def restore(self, tally: Tally) -> None:
        """Take in an accepted tally: its checkpoint if it carries one, otherwise what its range added."""
        self.known_from_ms = max(self.known_from_ms, tally.emitters_from_ms)
        if tally.emitter_states is not None:
            self._emitters = {state.emitter: numbers_of(state) for state in tally.emitter_states}
            self._digests.restore(tally.digested_emitters)
            self._before.clear()
            self.gaps = sum(known.gaps for known in self._emitters.values())
            return
        for emitter, first, last in tally.ranges:
            self._claim(emitter, first, last, tally.log_time_ms, None)
        for emitter, final in tally.finals:
            self.heartbeat(emitter, tally.log_time_ms, final)
        self.commit(tally.log_time_ms)

    def _claim(self, emitter: str, first: int, last: int, log_time_ms: int, latest_ms: int | None) -> Sequence[Range]:
        known = self._touch(emitter, log_time_ms)
        # Events that are further ahead of the log do not count.
        as_late = log_time_ms + CLOCK_AHEAD_MAX_MS
        known.latest_ms = max(known.latest_ms, as_late if latest_ms is None else min(latest_ms, as_late))
        if known.lasts and known.lasts[-1] == first - 1:  # the next batch in order: nearly always
            known.lasts[-1] = last
            return ((first, last),)
        new = known.missing(first, last)
        if new:
            before = known.gaps
            known.insert(first, last)
            self.gaps += known.gaps - before
        return new

    def _is_simple(self, emitter: str, first: int) -> bool:
        """Whether numbers from `first` on are new, and any event with them may be counted, however old."""
        known = self._emitters.get(emitter)
        if known is None:
            return not self.known_from_ms and self._digests.following(emitter) is None
        return not known.known_from_ms and (not known.lasts or known.lasts[-1] < first)

    def _is_repeated(self, emitter: str, last: int) -> bool:
        """Whether an emitter that is known by digest has numbered as far as this: it need not be known by name again."""
        following = None if emitter in self._emitters else self._digests.following(emitter)
        return following is not None and last < following

    def _touch(self, emitter: str, log_time_ms: int) -> EmitterNumbers:
        known = self._emitters.get(emitter)
        if known is None:
            known = self._emitters[emitter] = self._named_again(emitter) or EmitterNumbers(known_from_ms=self.known_from_ms)
            self._before.setdefault(emitter, known.copy() if known.firsts else None)
        elif emitter not in self._before:
            self._before[emitter] = known.copy()
        known.last_log_time_ms = max(known.last_log_time_ms, log_time_ms)
        return known

    def _named_again(self, emitter: str) -> EmitterNumbers | None:
        """An emitter that was known by digest, and numbers on."""
        following = self._digests.following(emitter)
        if following is None:
            return None
        latest_ms = self._digests.remove(emitter)
        # It may have been forgotten before it was put there, so it is as any that is new.
        return EmitterNumbers([0][:following], [following - 1][:following], latest_ms=latest_ms, known_from_ms=self.known_from_ms)

    def _digest(self, emitter: str) -> None:
        """Know an emitter by digest from now on; no number of it is missing."""
        known = self._emitters.pop(emitter)
        self._digests.add(emitter, known.following or 0, known.latest_ms)

    def _thin_out(self, log_time_ms: int) -> None:
        """Keep the bounds of names and gaps. Gaps are forgotten where there are most. Of the silent, those of which nothing is missing are known
        by digest from now on; then the others are forgotten, those with the oldest events first.
        """
        for name in [name for name, known in self._emitters.items() if known.last_log_time_ms < log_time_ms - MEMORY_MS]:
            self.gaps -= self._emitters.pop(name).gaps
        while self.gaps > GAPS_MAX:
            self._forget_gaps(max(self._emitters.values(), key=attrgetter("gaps")))
        named = int(NAMED_EMITTERS_MAX * _KEPT)
        silent = sorted(self._emitters, key=lambda name: self._emitters[name].last_log_time_ms)
        for name in silent:
            if len(self._emitters) <= named:
                break
            if self._emitters[name].following is not None:
                self._digest(name)
        for name in sorted(self._emitters, key=lambda name: self._emitters[name].latest_ms):
            if len(self._emitters) <= named:
                break
            known = self._emitters.pop(name)
            self.gaps -= known.gaps
            self._forgotten(known.latest_ms)

    def _forget_gaps(self, known: EmitterNumbers) -> None:
        before = known.gaps
        known.forget_gaps()
        self.gaps += known.gaps - before

    def _forgotten(self, latest_ms: int) -> None:
        """Emitters whose events are not younger than this are not known any more."""
        self.known_from_ms = max(self.known_from_ms, latest_ms + 1)


def merged(ranges: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Join neighbouring ranges of the same emitter, for the record of a tally."""
    joined: list[tuple[str, int, int]] = []
    for emitter, first, last in sorted(ranges):
        if joined and joined[-1][0] == emitter and joined[-1][2] + 1 == first:
            joined[-1] = (emitter, joined[-1][1], last)
        else:
            joined.append((emitter, first, last))
    return joined
