"""What would become of everything that is to be brought in, before anything is written. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS, HOUR_MS

from aggregator.importing.source_entries import SourceEntry, SourceEvent
from metering.records.meters import Catalogue
from metering.records.service_limits import EVENT_AGE_MAX_MS

INVALID_SHOWN: Final = 10
INVALID_KINDS_MAX: Final = 1_000
# How far the clock here may be ahead of Kafka's. Nor is brought in what becomes too old to be billed in this time.
IMPORT_MARGIN_MS: Final = HOUR_MS

WAYS_OUT: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.MALFORMED_JSON: "mend the line, or leave it out",
        Reason.MISSING_FIELD: "name the column that has it (--column NAME=FIELD), or add it",
        Reason.UNKNOWN_FIELD: "say which columns are read (--column NAME=FIELD); others are then passed over",
        Reason.WRONG_TYPE: "mend the value",
        Reason.NOT_AN_INTEGER: "usage is counted in whole units: multiply it before",
        Reason.NEGATIVE: "a file adds usage; what takes usage away is `taximeter replay plan --take-out`",
        Reason.BAD_TIME: "times are RFC 3339; --column NAME=time_utc, time_s or time_ms reads others",
        Reason.NULL_VALUE: "leave the field out where there is nothing to say",
        Reason.IN_FUTURE: "mend the clock's mistake in the file, or wait",
        Reason.PAST_HORIZON: "Stripe takes no usage that is older than 35 days",
        Reason.BELOW_ZERO: "mend the value: a part (`less` of a meter) is above the whole that it is a part of",
        Reason.UNKNOWN_USAGE_FIELD: "call the column usage.NAME of a meter, or name the field in [usage] unmetered",
    }
)


class InvalidEntry(NamedTuple):
    """Where something is that is no event, and why."""

    place: str
    reason: Reason
    field: str
    detail: str

    @property
    def way_out(self) -> str:
        """What a person can do about it."""
        return WAYS_OUT.get(self.reason, "mend it, or leave it out")


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What judging needs: the catalogue in force, the time, how long ids are remembered (ms), and which partition a customer is in."""

    catalogue: Catalogue
    now_ms: int
    horizon_ms: int
    partition_of: Callable[[str], int]

    @property
    def ids_from_ms(self) -> int:
        """The own time of events before which no copy counts any more, so that a search of the log is the last word."""
        return max(0, self.now_ms - self.horizon_ms - IMPORT_MARGIN_MS)

    def letter_reason(self, event: SourceEvent) -> Reason | None:
        """Why this event would be set aside, however often it is brought in now; None: it would not."""
        if event.time_ms > self.now_ms + FUTURE_TOLERANCE_MS:
            return Reason.IN_FUTURE
        if event.time_ms < self.now_ms - EVENT_AGE_MAX_MS + IMPORT_MARGIN_MS:
            return Reason.PAST_HORIZON
        meters = self.catalogue.of(event.dimensions)
        if meters.knows_nothing_of(event.usage):
            return Reason.UNKNOWN_USAGE_FIELD
        return None if meters.below_zero(event.usage) is None else Reason.BELOW_ZERO

    def is_old(self, event: SourceEvent) -> bool:
        """Whether its identity is looked for in the log, because the aggregator does not know it any more."""
        return event.time_ms < self.ids_from_ms and event.fingerprint != NO_ID


@dataclass(slots=True)
class ImportSurvey:
    """Counts of entries, one by one. Memory: a sum for each customer and meter, and INVALID_KINDS_MAX kinds of mistakes.

    `known`: identities that were counted before, or that come twice. `letters`: those that would be set aside, by reason. `old`: with ids that
    are looked for in the log. `numbers`: events that get a number, by partition: all that are valid and not left out.
    """

    rules: ImportRules
    entries: int = 0
    valid: int = 0
    known: int = 0
    without_id: int = 0
    with_id: int = 0
    old: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    invalid: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    shown: list[InvalidEntry] = field(default_factory=list)
    letters: Counter[Reason] = field(default_factory=Counter)
    unknown_usage: Counter[str] = field(default_factory=Counter)
    units: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, entry: SourceEntry, *, known: bool = False) -> None:
        """The next entry; whether its identity was counted."""
        self.entries += 1
        if isinstance(entry.content, EventRejected):
            self._add_invalid(entry.place, entry.content)
            return
        event = entry.content
        self.valid += 1
        self.without_id += event.fingerprint == NO_ID
        self.with_id += event.fingerprint != NO_ID
        self.old += self.rules.is_old(event)
        self.first_ms = event.time_ms if self.first_ms is None else min(self.first_ms, event.time_ms)
        self.last_ms = event.time_ms if self.last_ms is None else max(self.last_ms, event.time_ms)
        if known:
            self.known += 1
            return
        reason = self.rules.letter_reason(event)
        if reason is not None:
            self.letters[reason] += 1
            return
        self._add_units(event)

    @property
    def mistakes(self) -> int:
        """How many entries are no events."""
        return self.invalid.total()

    @property
    def counted(self) -> int:
        """How many events would be counted."""
        return self.valid - self.known - self.letters.total()

    def _add_invalid(self, place: str, rejected: EventRejected) -> None:
        kind = (rejected.reason, rejected.field)
        if kind not in self.invalid and len(self.invalid) >= INVALID_KINDS_MAX:
            kind = (rejected.reason, "")
        self.invalid[kind] += 1
        if len(self.shown) < INVALID_SHOWN:
            self.shown.append(InvalidEntry(place, rejected.reason, rejected.field, rejected.detail))

    def _add_units(self, event: SourceEvent) -> None:
        meters = self.rules.catalogue.of(event.dimensions)
        for meter, units in meters.units(event.usage).items():
            self.units[event.customer, meter] += units
        for name, quantity in meters.unknown_in(event.usage):
            self.unknown_usage[name] += quantity
