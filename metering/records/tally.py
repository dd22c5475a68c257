"""A tally: what the aggregator counted in one unbroken range of usage.events, as one record of usage.tallies.

It accounts for each record and each event of its range:
    end - start = heartbeats + batches + singles + skipped + lost + stepped over
                                                       (skipped: offsets that hold no record, such as transaction markers)
    events      = counted + duplicates + forwarded + dead-lettered

An event counts for the usage fields that the catalogue knows. What it has of others is in no row; `unknown_usage` names it.

The tally names each event that it does not count, and the rules it counted by: its range can be read and counted again, alone and at any time.

Lost are offsets that retention deleted before they were counted, and that a person accepted as lost: such a tally covers nothing else.

A tally that adjusts covers no offsets and counts no events. Its rows have a sign: they are a part of a plan, see metering.records.adjustment.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

import orjson
from taximeter_emitter.wire.event import Dimensions

from metering.records.adjustment import Adjustment, AdjustmentKind, decode_adjustment, encode_adjustment, rows_problem
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import RecordCorrupt

TALLY_FORMAT: Final = "tally/2"
EMITTER_DIGEST_BYTES: Final = 16
# With latest values: a reader of the other formats would leave them out.
LATEST_TALLY_FORMAT: Final = "tally/3"
OLD_TALLY_FORMAT: Final = "tally/1"  # it is read, but does not say all that did not count, nor the horizon
_FORMATS: Final = (OLD_TALLY_FORMAT, TALLY_FORMAT, LATEST_TALLY_FORMAT)
_DETAILS: Final = (
    "rows",
    "latest",
    "customers",
    "dimensions",
    "ranges",
    "finals",
    "abandoned",
    "emitter_states",
    "set_aside",
    "not_counted",
    "repeats",
)

CatalogueDefinition = Sequence[Sequence[Any]]
"""The meters in the form that their version is the digest of, see metering.records.meters."""

Range = tuple[int, int]
"""First and last sequence number, both included."""


class TallyRow(NamedTuple):
    """The sum of one customer, meter, set of dimensions and window. `quantity` and `events` are positive, but in an adjustment.

    A named tuple and not a dataclass, because one is made of every row that is written and read: 0.4 us against 1.5 us.
    """

    customer: str
    meter: str
    dimensions: Dimensions
    window_start_ms: int
    quantity: int
    events: int


class LatestValue(NamedTuple):
    """The value of the latest event of one customer and meter within one second, when that event happened (Unix ms), and of how many events it is
    the latest. Of two events of one millisecond the later in the log is the later. Such values are never added up.
    """

    customer: str
    meter: str
    time_ms: int
    value: int
    events: int


_quantity, _events = attrgetter("quantity"), attrgetter("events")


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """How many offsets of the range held what."""

    heartbeats: int = 0
    batches: int = 0
    singles: int = 0
    skipped: int = 0
    lost: int = 0
    stepped_over: int = 0

    @property
    def total(self) -> int:
        """The length of the range."""
        return self.heartbeats + self.batches + self.singles + self.skipped + self.lost + self.stepped_over


@dataclass(frozen=True, slots=True)
class EventCounts:
    """What became of each event. `forwarded`: moved to the partition that its customer belongs to, and counted there."""

    counted: int = 0
    duplicates: int = 0
    forwarded: int = 0
    dead_lettered: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All events of the range."""
        return self.counted + self.duplicates + self.forwarded + sum(self.dead_lettered.values())


class WhyNotCounted(Enum):
    """Why an event that is no dead letter was not counted where it stands."""

    DUPLICATE = "duplicate"  # its identity was counted before
    KNOWN_NUMBER = "known_number"  # its number had been seen before
    FORWARDED = "forwarded"  # it is counted in the partition of its customer


class NotCounted(NamedTuple):
    """Events that did not count, and are not set aside: of each record in the `offsets` offsets from `offset` on, `events` from the place
    `first` on, or all its events if that is 0. Offsets without a record, and heartbeats, may lie between.
    """

    offset: int
    offsets: int
    first: int
    events: int
    why: WhyNotCounted


@dataclass(frozen=True, slots=True)
class EmitterState:
    """What is known of one emitter in one partition: the numbers seen, when it was last heard of (log time, ms), and, once it closed, how
    many events it ever numbered.

    No event of it that counted is younger than `latest_ms` (own time, Unix ms). What was forgotten of it, where there was too much to remember:
    events older than `known_from_ms` (own time) may have been counted before it was known, and of the numbers below `told_from` that are in `seen`,
    some may never have come.
    """

    emitter: str
    seen: tuple[Range, ...]
    last_log_time_ms: int
    final: int | None = None
    latest_ms: int = 0
    known_from_ms: int = 0
    told_from: int = 0


@dataclass(frozen=True, slots=True)
class DigestedEmitters:
    """Emitters of which no number is missing, by the digest of their names, one after the other: BLAKE2b, EMITTER_DIGEST_BYTES each. For each of
    them the number after the last that was seen, and the own time of its latest event: Unix seconds, rounded up.
    """

    digests: bytes = b""
    following: Sequence[int] = ()
    latest_s: Sequence[int] = ()

    def __post_init__(self) -> None:
        if len(self.digests) != EMITTER_DIGEST_BYTES * len(self.following) or len(self.following) != len(self.latest_s):
            raise RecordCorrupt(f"{len(self.digests)} bytes of digests for {len(self.following)} emitters")


NO_DIGESTED_EMITTERS: Final = DigestedEmitters()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A person accepted that something is lost: why, who, and when by the clock of their machine (Unix ms)."""

    reason: str
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class SteppedOver:
    """A person decided that a record is passed over uncounted: why, who, when by the clock of their machine (Unix ms), and how many events the
    record said that it holds (None: it could not be read).
    """

    reason: str
    by: str
    at_ms: int
    events: int | None


@dataclass(frozen=True, slots=True)
class Losses:
    """What was accepted as lost in a partition; each tally says what was accepted before it, so that its reader needs nothing older.

    `records` is the sum of the lost offsets, `last` the offset of the latest tally with an acceptance (-1: none). Ids of events that were
    counted are known for own times of `ids_from_ms` (Unix ms) and later; an older event that is not known may have been counted.
    """

    records: int = 0
    ids_from_ms: int = 0
    last: int = NO_OFFSET


NO_LOSSES: Final = Losses()


@dataclass(frozen=True, slots=True)
class Tally:
    """One record of usage.tallies.

    `chain_id` names the chain: drawn when its first tally is written, so that a topic that was deleted and created again is recognised.
    `checkpoint` is the offset of the last accepted tally, before this one, that carries `emitter_states` whole (-1: none): a reader needs
    nothing older. Every tally carries what its range added: `ranges` (emitter, first, last), `finals` (emitter, count), `abandoned`
    (emitter, first, last) and `dropped` (emitter, count since it started). `set_aside` are the dead-lettered events, as offset and indexes
    within the batch (empty: the whole record): their ids were not counted, so they may come again, corrected. `not_counted` are all
    others that are in no row, by offset. Ids are remembered for `horizon_ms`; None: not known, or nothing is counted. A tally with
    `emitter_states`, and one whose predecessor names another catalogue, carries the `catalogue_definition` that `catalogue` is the digest of.
    Beside `emitter_states` it carries the `digested_emitters`, and both are all that is known of emitters. Of those that are not known, events that
    are older than `emitters_from_ms` (own time, Unix ms; 0: there are none) may have been counted.
    `losses` are those accepted before this tally, but for `ids_from_ms`, which holds from this tally on. A tally with an `acceptance`
    covers lost offsets only, or none where it accepts nothing but that ids are not known. A tally with `stepped_over` covers the record that was
    passed over, or all records of a batch that is damaged, and nothing else.
    `unknown_usage` (field, events, units) is what the events that it counted have of fields that the catalogue does not know.
    `latest` are the values of meters that tell the latest one; an adjustment has none.
    A tally with an `adjustment` covers no offsets, and only its rows are its own: log time, catalogue, losses and checkpoint are those of the
    fold before it.
    """

    chain_id: str
    partition: int
    link: ChainLink
    checkpoint: int
    instance: str
    catalogue: str
    log_time_ms: int
    records: RecordCounts
    events: EventCounts
    rows: Sequence[TallyRow]
    ranges: Sequence[tuple[str, int, int]] = ()
    finals: Sequence[tuple[str, int]] = ()
    abandoned: Sequence[tuple[str, int, int]] = ()
    dropped: Sequence[tuple[str, int]] = ()
    emitter_states: Sequence[EmitterState] | None = None
    digested_emitters: DigestedEmitters = NO_DIGESTED_EMITTERS
    emitters_from_ms: int = 0
    set_aside: Sequence[tuple[int, Sequence[int]]] = ()
    not_counted: Sequence[NotCounted] = ()
    horizon_ms: int | None = None
    catalogue_definition: CatalogueDefinition | None = None
    losses: Losses = NO_LOSSES
    acceptance: Acceptance | None = None
    stepped_over: SteppedOver | None = None
    unknown_usage: Sequence[tuple[str, int, int]] = ()
    adjustment: Adjustment | None = None
    latest: Sequence[LatestValue] = ()

    def __post_init__(self) -> None:
        if self.adjustment is not None:
            self._check_adjustment(self.adjustment)
        elif self.rows and (min(map(_quantity, self.rows)) <= 0 or min(map(_events, self.rows)) <= 0):
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) has a row that is not positive, and adjusts nothing")
        if self.latest and (min(each.value for each in self.latest) < 0 or min(each.events for each in self.latest) <= 0):
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) has a latest value that is below zero, or of no event")
        if self.link.end - self.link.start != self.records.total:
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) accounts for {self.records.total} records")
        if self.records.lost != (self.records.total if self.acceptance is not None else 0):
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) has {self.records.lost} lost records, which nobody accepted alone")
        if self.acceptance is not None and (self.rows or self.latest or self.events.total):
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) accepts a loss and counts events")
        if self.records.stepped_over != (self.records.total if self.stepped_over is not None else 0):
            raise RecordCorrupt(
                f"tally [{self.link.start}, {self.link.end}) passes over {self.records.stepped_over} records, which nobody decided alone"
            )
        if self.stepped_over is not None and (self.rows or self.latest or self.events.total):
            raise RecordCorrupt(f"tally [{self.link.start}, {self.link.end}) passes over records and counts events")

    def _check_adjustment(self, adjustment: Adjustment) -> None:
        counts = (self.ranges, self.finals, self.abandoned, self.dropped, self.set_aside, self.not_counted, self.unknown_usage, self.latest)
        decides = (self.acceptance, self.stepped_over, self.emitter_states, self.catalogue_definition)
        if self.link.start != self.link.end or self.events.total or any(counts) or any(found is not None for found in decides):
            raise RecordCorrupt(f"{adjustment.name} covers [{self.link.start}, {self.link.end}) or counts, and an adjustment does neither")
        if self.link.previous == NO_OFFSET:
            raise RecordCorrupt(f"{adjustment.name} follows no tally, and an adjustment founds no chain")
        problem = "rows" if adjustment.kind is AdjustmentKind.ABANDON and self.rows else rows_problem(self.rows)
        if problem is not None:
            raise RecordCorrupt(f"{adjustment.name} has {problem}")


def encode_tally(tally: Tally) -> bytes:
    """The JSON bytes of a tally; the strings of its rows are there once, in dictionaries."""
    customers: dict[str, int] = {}
    meters: dict[str, int] = {}
    dimensions: dict[Dimensions, int] = {}
    rows = [
        (
            customers.setdefault(customer, len(customers)),
            meters.setdefault(meter, len(meters)),
            dimensions.setdefault(pairs, len(dimensions)),
            window_start_ms,
            quantity,
            events,
        )
        for customer, meter, pairs, window_start_ms, quantity, events in tally.rows
    ]
    latest = [
        (customers.setdefault(each.customer, len(customers)), meters.setdefault(each.meter, len(meters)), each.time_ms, each.value, each.events)
        for each in tally.latest
    ]
    document: dict[str, Any] = {
        "format": LATEST_TALLY_FORMAT if latest else TALLY_FORMAT,
        "chain": tally.chain_id,
        "partition": tally.partition,
        "start": tally.link.start,
        "end": tally.link.end,
        "previous": tally.link.previous,
        "checkpoint": tally.checkpoint,
        "instance": tally.instance,
        "catalogue": tally.catalogue,
        "log_time": tally.log_time_ms,
        "records": {
            "heartbeats": tally.records.heartbeats,
            "batches": tally.records.batches,
            "singles": tally.records.singles,
            "skipped": tally.records.skipped,
        },
        "events": {
            "counted": tally.events.counted,
            "duplicates": tally.events.duplicates,
            "forwarded": tally.events.forwarded,
            "dead_lettered": dict(tally.events.dead_lettered),
        },
        "customers": list(customers),
        "meters": list(meters),
        "dimensions": [dict(pairs) for pairs in dimensions],
        "rows": rows,
        "ranges": tally.ranges,
        "finals": tally.finals,
        "abandoned": tally.abandoned,
        "dropped": tally.dropped,
        "set_aside": tally.set_aside,
        "not_counted": [(*run[:4], run.why.value) for run in tally.not_counted],
    }
    if latest:
        document["latest"] = latest
    if tally.unknown_usage:
        document["unknown_usage"] = tally.unknown_usage
    if tally.horizon_ms is not None:
        document["horizon"] = tally.horizon_ms
    if tally.catalogue_definition is not None:
        document["catalogue_definition"] = tally.catalogue_definition
    if tally.emitter_states is not None:
        document["emitter_states"] = list(map(_encoded_state, tally.emitter_states))
    digested = tally.digested_emitters
    if digested.following:
        document["digested_emitters"] = (b2a_base64(digested.digests, newline=False).decode(), digested.following, digested.latest_s)
    if tally.emitters_from_ms:
        document["emitters_from"] = tally.emitters_from_ms
    if tally.losses != NO_LOSSES:
        document["losses"] = (tally.losses.records, tally.losses.ids_from_ms, tally.losses.last)
    if tally.acceptance is not None:
        # Only here, so that a version that knows of no losses refuses the record instead of reading over it.
        document["records"]["lost"] = tally.records.lost
        document["acceptance"] = (tally.acceptance.reason, tally.acceptance.by, tally.acceptance.at_ms)
    if tally.stepped_over is not None:
        document["records"]["stepped_over"] = tally.records.stepped_over
        document["stepped_over"] = (tally.stepped_over.reason, tally.stepped_over.by, tally.stepped_over.at_ms, tally.stepped_over.events)
    if tally.adjustment is not None:
        document["records"]["adjusted"] = 0
        document["adjustment"] = encode_adjustment(tally.adjustment)
    return orjson.dumps(document)


def _encoded_state(state: EmitterState) -> tuple[Any, ...]:
    forgotten = (state.known_from_ms, state.told_from) if state.known_from_ms or state.told_from else ()
    latest = (state.latest_ms, *forgotten) if state.latest_ms or forgotten else ()
    return (state.emitter, state.seen, state.last_log_time_ms, state.final, *latest)


def decode_tally(value: bytes | None) -> Tally:
    """Read a record of usage.tallies. Raises RecordCorrupt: nobody else writes there, so anything else is a reason to stop."""
    return _decoded(value, lambda _document: None)


def decode_tally_of(customer: str) -> Callable[[bytes | None], Tally]:
    """As `decode_tally` does, with the rows of this customer alone: nine tenths of the time are for rows, where a tally has a thousand."""

    def choose_rows(document: dict[str, Any]) -> None:
        customers = document["customers"]
        owner = customers.index(customer) if customer in customers else None
        document["rows"] = [row for row in document["rows"] if row[0] == owner]
        document["latest"] = [value for value in document.get("latest", ()) if value[0] == owner]

    return lambda value: _decoded(value, choose_rows)


def decode_outline(value: bytes | None) -> Tally:
    """As `decode_tally` does, without what only its own events say: rows, ranges, emitter states, what did not count. It costs a third.

    A tally that adjusts is whole.
    """
    return _decoded(value, _leave_out_details)


def _leave_out_details(document: dict[str, Any]) -> None:
    if "adjustment" not in document:
        document |= {name: [] for name in _DETAILS if document.get(name)}


def _decoded(value: bytes | None, prepare: Callable[[dict[str, Any]], None]) -> Tally:
    try:
        document = orjson.loads(value or b"")
        if document["format"] not in _FORMATS:
            raise RecordCorrupt(f"unknown format {document['format']!r}; this version reads {', '.join(_FORMATS)}")
        if ("latest" in document) != (document["format"] == LATEST_TALLY_FORMAT):
            raise RecordCorrupt(f"latest values in a tally of format {document['format']}, or none in one that says that it has them")
        prepare(document)
        return _tally(document)
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a tally: {error!r}") from error


def _tally(document: Mapping[str, Any]) -> Tally:
    customers, meters = document["customers"], document["meters"]
    dimensions = [tuple(sorted(pairs.items())) for pairs in document["dimensions"]]
    states, acceptance = document.get("emitter_states"), document.get("acceptance")
    records = dict(document["records"])
    if ("adjustment" in document) != (records.pop("adjusted", None) is not None):
        raise RecordCorrupt("a tally adjusts, or says that it does, and not both")
    return Tally(
        chain_id=document["chain"],
        partition=document["partition"],
        link=ChainLink(document["start"], document["end"], document["previous"]),
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        catalogue=document["catalogue"],
        log_time_ms=document["log_time"],
        records=RecordCounts(**records),
        events=EventCounts(**document["events"]),
        rows=[TallyRow(customers[c], meters[m], dimensions[d], start, quantity, events) for c, m, d, start, quantity, events in document["rows"]],
        ranges=[tuple(entry) for entry in document["ranges"]],
        finals=[tuple(entry) for entry in document["finals"]],
        abandoned=[tuple(entry) for entry in document["abandoned"]],
        dropped=[tuple(entry) for entry in document["dropped"]],
        emitter_states=None if states is None else [EmitterState(e, tuple((a, b) for a, b in seen), *rest) for e, seen, *rest in states],
        digested_emitters=_digested(*document["digested_emitters"]) if "digested_emitters" in document else NO_DIGESTED_EMITTERS,
        emitters_from_ms=document.get("emitters_from", 0),
        set_aside=[(offset, tuple(indexes)) for offset, indexes in document["set_aside"]],
        not_counted=_repeats(document) if document["format"] == OLD_TALLY_FORMAT else [_not_counted(*run) for run in document["not_counted"]],
        horizon_ms=document.get("horizon"),
        catalogue_definition=document.get("catalogue_definition"),
        losses=Losses(*document.get("losses", ())),
        acceptance=None if acceptance is None else Acceptance(*acceptance),
        stepped_over=SteppedOver(*document["stepped_over"]) if "stepped_over" in document else None,
        unknown_usage=[tuple(entry) for entry in document.get("unknown_usage", ())],
        adjustment=decode_adjustment(document["adjustment"]) if "adjustment" in document else None,
        latest=tuple(LatestValue(customers[c], meters[m], time_ms, value, events) for c, m, time_ms, value, events in document.get("latest", ())),
    )


def _not_counted(offset: int, offsets: int, first: int, events: int, why: str) -> NotCounted:
    return NotCounted(offset, offsets, first, events, WhyNotCounted(why))


def _repeats(document: Mapping[str, Any]) -> list[NotCounted]:
    """What a tally of the old format says: events with ids in batches whose numbers were known, and no others."""
    known = WhyNotCounted.KNOWN_NUMBER
    return [
        run
        for offset, indexes in document["repeats"]
        for run in (runs_of(offset, indexes, known) if indexes else (NotCounted(offset, 1, 0, 0, known),))
    ]


def runs_of(offset: int, indexes: Sequence[int], why: WhyNotCounted) -> list[NotCounted]:
    """These events of one record, their places in ascending order."""
    runs = []
    for _, places in groupby(enumerate(indexes), lambda pair: pair[1] - pair[0]):
        run = [index for _, index in places]
        runs.append(NotCounted(offset, 1, run[0], len(run), why))
    return runs


def _digested(digests: str, following: Sequence[int], latest_s: Sequence[int]) -> DigestedEmitters:
    return DigestedEmitters(a2b_base64(digests), following, latest_s)
