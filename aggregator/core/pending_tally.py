"""What was folded and is not in a tally yet, and the tally that is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import NAME_CHARS_MAX

from aggregator.reading.events import NO_WAYS, Ways
from metering.records.dead_letter import DeadLetter
from metering.records.tally import NotCounted, Tally, WhyNotCounted, runs_of

_ENTRY_BYTES: Final = 48  # what a range of an emitter's numbers, a run that did not count, or a dead letter's place adds to the record of a tally
_UNKNOWN_BYTES: Final = _ENTRY_BYTES + 4 * NAME_CHARS_MAX  # what the name of an unknown usage field adds


class Ahead(NamedTuple):
    """Stamped events whose time was later than the log time of their record: how many, and by how many ms at most."""

    events: int = 0
    most_ms: int = 0


NOT_AHEAD: Final = Ahead()


@dataclass(frozen=True, slots=True)
class Cut:
    """What was counted since the last cut. Dead letters and forwarded events must be acknowledged by Kafka before `value` is appended.

    `ahead`: of each emitter whose clock was ahead of Kafka's. `ways`: how the events were read.
    """

    tally: Tally
    value: bytes
    dead_letters: Sequence[DeadLetter]
    forwards: Sequence[UsageEvent]
    ahead: Mapping[str, Ahead]
    ways: Ways


@dataclass(slots=True)
class Pending:
    """What was folded since the last cut; `start` is the offset of its first record, `input_bytes` the size of the values read."""

    start: int
    log_time_ms: int
    input_bytes: int = 0
    heartbeats: int = 0
    batches: int = 0
    singles: int = 0
    skipped: int = 0
    counted: int = 0
    duplicates: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    dead_lettered: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    forwards: list[UsageEvent] = field(default_factory=list)
    not_counted: list[NotCounted] = field(default_factory=list)
    passed_from: int = -1  # the latest offsets without events, up to the one below
    passed_to: int = -1
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    latest_ranges: dict[str, int] = field(default_factory=dict)  # the place of each emitter's in `ranges`
    finals: dict[str, int] = field(default_factory=dict)
    abandoned: list[tuple[str, int, int]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, Ahead] = field(default_factory=dict)
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)  # events and units by usage field
    ways: Ways = NO_WAYS

    @property
    def entry_bytes(self) -> int:
        """About what all this adds to the record of the tally, beside its rows."""
        entries = len(self.ranges) + len(self.letters) + len(self.abandoned) + len(self.not_counted) + len(self.finals) + len(self.dropped)
        return _ENTRY_BYTES * entries + 8 * self.dead_lettered + _UNKNOWN_BYTES * len(self.unknown)

    def add_ranges(self, emitter: str, new: Sequence[tuple[int, int]]) -> None:
        """Note new numbers of an emitter, joined with the latest before them if they follow on: nearly always."""
        for first, last in new:
            latest = self.latest_ranges.get(emitter)
            if latest is not None and self.ranges[latest][2] == first - 1:
                self.ranges[latest] = (emitter, self.ranges[latest][1], last)
            else:
                self.latest_ranges[emitter] = len(self.ranges)
                self.ranges.append((emitter, first, last))

    def add_unknown(self, name: str, events: int, units: int) -> None:
        """Note what events that count have of a usage field that nobody knows."""
        before = self.unknown.get(name, (0, 0))
        self.unknown[name] = (before[0] + events, before[1] + units)

    def add_ahead(self, emitter: str, new: Ahead) -> None:
        """Note stamped events whose time was ahead of the log's."""
        before = self.ahead.get(emitter, NOT_AHEAD)
        self.ahead[emitter] = Ahead(before.events + new.events, max(before.most_ms, new.most_ms))

    def add_not_counted(self, offset: int, why: WhyNotCounted) -> None:
        """Note that a record did not count, joined with those before it if no events lie between."""
        runs = self.not_counted
        if runs:
            last = runs[-1]
            end = last.offset + last.offsets
            if last.why is why and not last.events and (end == offset or (self.passed_to == offset and self.passed_from <= end)):
                runs[-1] = NotCounted(last.offset, offset + 1 - last.offset, 0, 0, why)
                return
        runs.append(NotCounted(offset, 1, 0, 0, why))

    def add_some_not_counted(self, offset: int, indexes: Sequence[int], events: int, why: WhyNotCounted) -> None:
        """Note that some of the events of a record did not count: their places, in ascending order."""
        if len(indexes) == events:
            self.add_not_counted(offset, why)
        else:
            self.not_counted += runs_of(offset, indexes, why)

    def pass_over(self, start: int, end: int) -> None:
        """Note that the offsets [start, end) hold no event."""
        if start != self.passed_to:
            self.passed_from = start
        self.passed_to = end

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Events that are not counted, with the reason."""
        reason = letter.reason.value
        self.dead[reason] = self.dead.get(reason, 0) + letter.events
        self.dead_lettered += letter.events
        self.letters.append(letter)

    def set_aside(self) -> list[tuple[int, tuple[int, ...]]]:
        """The places of the dead letters, one for each record."""
        places: dict[int, tuple[int, ...]] = {}
        for letter in self.letters:
            places[letter.offset] = (*places.get(letter.offset, ()), *letter.indexes)
        return list(places.items())
