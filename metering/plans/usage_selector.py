"""Which usage a command means: one set of conditions for dead letters, plans of adjustments and whatever else selects. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import Range

_ANY: Final[frozenset[str]] = frozenset()
_NAMES: Final = ("customers", "sources", "meters", "reasons", "fields")
_TIMES: Final = ("from_ms", "to_ms", "event_from_ms", "event_to_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSelector:
    """Every condition that is given must hold; of several values one is enough.

    `sources`: the source of a single event, or the emitter of a batch. `reasons` and `fields`: of what was set aside. `offsets`: records of
    usage.events, first and last of each range. `from_ms` and `to_ms`: when Kafka took the record, `event_from_ms` and `event_to_ms`: the
    event's own time (Unix ms; the second is not included).
    """

    customers: Collection[str] = _ANY
    sources: Collection[str] = _ANY
    meters: Collection[str] = _ANY
    reasons: Collection[str] = _ANY
    fields: Collection[str] = _ANY
    partitions: Collection[int] = frozenset()
    offsets: Sequence[Range] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    event_from_ms: int | None = None
    event_to_ms: int | None = None

    def takes_record(self, offset: int, log_time_ms: int) -> bool:
        """Whether events of this record of usage.events may be meant."""
        if self.offsets and not any(first <= offset <= last for first, last in self.offsets):
            return False
        return _is_inside(log_time_ms, self.from_ms, self.to_ms)

    def takes_time(self, event_time_ms: int) -> bool:
        """Whether an event of this own time may be meant."""
        return _is_inside(event_time_ms, self.event_from_ms, self.event_to_ms)

    def takes_source(self, *names: str) -> bool:
        """Whether an event may be meant whose source or emitter is one of these."""
        return not self.sources or any(name in self.sources for name in names)

    def takes_customer(self, customer: str | None) -> bool:
        """Whether usage of this customer may be meant; None: nobody knows whose it is."""
        return not self.customers or customer in self.customers

    def takes_meter(self, meter: str) -> bool:
        """Whether usage of this meter may be meant."""
        return not self.meters or meter in self.meters

    def is_apart_from(self, other: "UsageSelector") -> bool:
        """Whether surely nothing is meant by both. False: something may be."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("customers", "sources", "meters", "partitions"))
        if any(mine and theirs and not set(mine) & set(theirs) for mine, theirs in pairs):
            return True
        if self.offsets and other.offsets and not any(a <= d and c <= b for a, b in self.offsets for c, d in other.offsets):
            return True
        return _are_apart((self.from_ms, self.to_ms), (other.from_ms, other.to_ms)) or _are_apart(
            (self.event_from_ms, self.event_to_ms), (other.event_from_ms, other.event_to_ms)
        )

    def as_document(self) -> dict[str, Any]:
        """For JSON: only the conditions that are given."""
        document: dict[str, Any] = {name: sorted(getattr(self, name)) for name in (*_NAMES, "partitions") if getattr(self, name)}
        if self.offsets:
            document["offsets"] = sorted(self.offsets)
        return document | {name: getattr(self, name) for name in _TIMES if getattr(self, name) is not None}


EVERYTHING_SELECTED: Final = UsageSelector()


def selector_from(document: Mapping[str, Any]) -> UsageSelector:
    """The selector of such a document. Raises RecordCorrupt for a condition that this version does not know: it must not mean more than was said."""
    unknown = document.keys() - {*_NAMES, *_TIMES, "partitions", "offsets"}
    if unknown:
        raise RecordCorrupt(f"{min(unknown)} is not a condition that this version knows")
    given: dict[str, Any] = {name: frozenset(document.get(name, ())) for name in (*_NAMES, "partitions")}
    given |= {name: document.get(name) for name in _TIMES}
    return UsageSelector(**given, offsets=tuple((first, last) for first, last in document.get("offsets", ())))


def _is_inside(time_ms: int, from_ms: int | None, to_ms: int | None) -> bool:
    return (from_ms is None or time_ms >= from_ms) and (to_ms is None or time_ms < to_ms)


def _are_apart(one: tuple[int | None, int | None], other: tuple[int | None, int | None]) -> bool:
    return any(to_ms is not None and from_ms is not None and to_ms <= from_ms for to_ms, from_ms in ((one[1], other[0]), (other[1], one[0])))
