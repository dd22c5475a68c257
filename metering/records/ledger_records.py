"""The ledger: what was about to be sent to Stripe, and what became of it. Records of usage.ledger.

An *intent* covers a range of offsets of usage.tallies and lists the meter events that report it. It is a link of a chain, so only one intent
ever covers a tally, no matter who wrote it. Meter events are sent only after their intent is accepted.

A *receipt* records outcomes of meter events. Any writer can know that Stripe has one, because only an accepted intent is ever sent, so a
receipt needs no place in the chain. Only a writer who alone could send it can know that Stripe does *not* have it: an intent is *contested*
from the first entry of another `instance` (a process's name and a number drawn at each takeover) after it, and a refusal of a contested
meter event parks it. A process that takes over open intents therefore writes an empty receipt before its first send.

A *correction* takes back, or sends again, one meter event of an accepted intent. Its writer has read the whole partition and names the
offset where the correction must land: it is accepted if it landed there, so that nothing came between what its writer knew and the correction.
Every reader decides that alike, even one that began at a checkpoint; which targets are allowed is the writer's duty (metering.folds.corrections). It
is sent and settled as the meter event of an intent is. Its writer never sends, so it contests nothing, and the first intent or receipt behind
it says who does: an instance that wants to send a correction writes an entry behind it first, and a second instance that does so contests it.

Usage of a meter that Stripe refuses is *carried*: an intent lists it beside what it sends, and the next intent takes it in, together with the
meter events that were *postponed* since. So it belongs to exactly one intent at any time, and gets an identifier only when it is sent.

A *rejection* keeps what Stripe reported later about events that it had accepted. It is evidence for corrections, and changes nothing by itself.
*Evidence* keeps what Stripe's summaries showed, and a *resolution* what a person decided on it (metering.records.notes).

A *closing* is the last word of a ledger that goes on in another cluster: behind it no intent and no correction is accepted. An *adoption* opens
the copy of that ledger there. Both are accepted only at the offset that they name, as corrections are (metering.folds.ledger).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson
from taximeter_emitter.wire.event import Dimensions

from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.evidence import Evidence, encode_evidence, evidence_of
from metering.records.notes.resolution import Resolution, encode_resolution, resolution_of
from metering.records.service_limits import IDENTIFIER_CHARS_MAX, VALUE_MAX

INTENT_FORMAT: Final = "intent/1"
# With usage that is carried: a reader of the first format would drop it, so it must stop.
CARRYING_INTENT_FORMAT: Final = "intent/2"
# With values below zero: a reader of the other formats would send them by a way that Stripe does not take them.
SIGNED_INTENT_FORMAT: Final = "intent/3"
# With customers that are linked to others at Stripe: a reader of the other formats would bill nobody.
LINKED_INTENT_FORMAT: Final = "intent/4"
# With latest values: a reader of the other formats would leave them out, or add them up.
LATEST_INTENT_FORMAT: Final = "intent/5"
_SIGNED_FORMATS: Final = frozenset({SIGNED_INTENT_FORMAT, LINKED_INTENT_FORMAT, LATEST_INTENT_FORMAT})
RECEIPT_FORMAT: Final = "receipt/1"
CORRECTION_FORMAT: Final = "correction/1"
LINKED_CORRECTION_FORMAT: Final = "correction/2"
REJECTION_FORMAT: Final = "rejection/1"
REPORTS_PARTITION: Final = 0  # has what an error report only counts
CLOSING_FORMAT: Final = "closing/1"
ADOPTION_FORMAT: Final = "adoption/1"

SETTLEMENT_DETAIL_CHARS_MAX: Final = 500
REJECTION_IDENTIFIERS_MAX: Final = 1_000
BILLED_TO_NOBODY: Final = "-"
"""Where a Stripe customer would stand: nobody was billed, because the customer had no link and too many others waited for one."""
NO_LINK_CODE: Final = "no_link"  # the code of that refusal, which is ours and not Stripe's
REASON_CHARS_MAX: Final = 500
BY_CHARS_MAX: Final = 100


class Outcome(StrEnum):
    """What became of one meter event. All are final but UNKNOWN."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # Stripe has it from an earlier attempt: as good as accepted
    REJECTED = "rejected"  # Stripe refuses this event for what it says
    UNKNOWN = "unknown"  # an attempt may or may not have arrived
    PARKED = "parked"  # unknown for so long that Stripe may have forgotten the identifier: only evidence may decide
    UNBILLABLE = "unbillable"  # older than Stripe takes
    POSTPONED = "postponed"  # Stripe refuses its meter: the usage is in a later intent, under another identifier

    @property
    def is_final(self) -> bool:
        """Whether nothing more is sent for this meter event."""
        return self is not Outcome.UNKNOWN

    @property
    def says_not_taken(self) -> bool:
        """Whether it claims that Stripe does not have the meter event."""
        return self in {Outcome.REJECTED, Outcome.UNBILLABLE, Outcome.POSTPONED}


class ReadingTime(NamedTuple):
    """What a latest value says of itself: when the event happened whose value it is (Unix ms), and where the billing period of its customer begins
    that was known when it was planned (Unix seconds; 0: none was).
    """

    happened_ms: int
    since_s: int = 0


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One meter event of an intent: `value` units at `time_ms` (milliseconds; whole seconds, in its earliest minute).

    The value is not 0, and has at most the digits that Stripe takes. Below zero it takes back, because something was adjusted.
    With a `reading` it is a latest value: it is never added to another, may be 0 and is not below, and `time_ms` is its second.
    `linked`: the Stripe customer that is billed for it, as it was linked when this was planned; "": the customer itself, or it is not planned yet;
    BILLED_TO_NOBODY: it is never sent, and its outcome is that it was rejected.
    """

    customer: str
    meter: str
    dimensions: Dimensions
    time_ms: int
    value: int
    linked: str = ""
    reading: ReadingTime | None = None

    @property
    def units(self) -> int:
        """What it adds to a sum of units: nothing, if it is a latest value."""
        return self.value if self.reading is None else 0

    @property
    def billed(self) -> str:
        """The Stripe customer that is billed for it, once it is planned."""
        return self.linked or self.customer

    @property
    def is_for_nobody(self) -> bool:
        """Whether it is in the ledger to be rejected, and Stripe never gets it."""
        return self.linked == BILLED_TO_NOBODY


class ToldReading(NamedTuple):
    """That a latest value of this customer and meter was planned before."""

    customer: str
    meter: str
    reading: ReadingTime


@dataclass(frozen=True, slots=True)
class Intent:
    """What will be sent to Stripe for the tallies in `link`.

    `tally_head` and `events_end` are the tally chain's head and end after the last covered tally: the next reader starts there.
    `checkpoint` is, when this record was written, the oldest accepted intent or correction with something open, or else the last accepted
    intent (-1: none).
    `unbillable` are sums too old for Stripe; they are recorded here and never sent. `carried` are sums of meters that Stripe refuses: the next
    intent takes them in. What an intent tells is what its tallies hold, what the intent before it carried, and what was postponed since.

    Of the latest values, `superseded` are those that are not sent because a later one of their billing period was planned before. Which those are
    is known from the intents at `told_from` and behind it: what older intents told and still matters is said again, in `told_again`.
    """

    chain_id: str
    partition: int
    link: ChainLink
    checkpoint: int
    instance: str
    tally_head: int
    events_end: int
    meter_events: Sequence[MeterEvent]
    unbillable: Sequence[MeterEvent] = ()
    carried: Sequence[MeterEvent] = ()
    superseded: Sequence[MeterEvent] = ()
    told_again: Sequence[ToldReading] = ()
    told_from: int = NO_OFFSET

    @property
    def all_events(self) -> Sequence[MeterEvent]:
        """Everything that it tells, sent or not."""
        return (*self.meter_events, *self.unbillable, *self.carried, *self.superseded)

    @property
    def place(self) -> tuple[int, int]:
        """What tells it from every other intent of its chain: its range of tallies; of no tallies, which may happen often at one place, a pair
        that is no range and is made of the intent before it.
        """
        start, end = self.link.start, self.link.end
        return (start, end) if start < end else (end + self.link.previous + 1, end)

    def identifier(self, index: int) -> str:
        """Stripe's identifier of a meter event: a function of its place in the chain, so that every copy of a service derives the same."""
        first, second = self.place
        return f"tm-{self.chain_id}-{self.partition}-{first}-{second}-{index}"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of meter event `index` of the intent, or of the correction (index 0), at offset `intent`; `detail` says what went wrong."""

    intent: int
    index: int
    outcome: Outcome
    at_ms: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Outcomes of meter events."""

    chain_id: str
    partition: int
    previous: int
    checkpoint: int
    instance: str
    settlements: Sequence[Settlement]


class CorrectionKind(StrEnum):
    """What a correction does at Stripe."""

    CANCEL = "cancel"  # an adjustment that cancels the meter event; Stripe takes it within 24 hours of the event
    NEGATE = "negate"  # a meter event with the negative value
    RESEND = "resend"  # the same meter event under a new identifier
    MOVE = "move"  # the same meter event for another customer, in that customer's partition; a resolution says so beside the meter event


@dataclass(frozen=True, slots=True)
class Correction:
    """Takes back or sends again meter event `index` of the accepted intent at offset `intent`.

    For MOVE the intent is in the partition that `target_identifier` names, and `event` is the meter event as it is sent, for the other customer.

    `offset` is where it must land. `chain_head`, `chain_end`, `tally_head` and `events_end` are those of the fold before it: a reader may start
    here. `target_identifier` and `event` repeat what the target is, because such a reader does not see the intent. `reason` and `by` say why
    and who, at most REASON_CHARS_MAX and BY_CHARS_MAX characters.
    """

    chain_id: str
    partition: int
    offset: int
    checkpoint: int
    instance: str
    chain_head: int
    chain_end: int
    tally_head: int
    events_end: int
    kind: CorrectionKind
    intent: int
    index: int
    target_identifier: str
    event: MeterEvent
    reason: str
    by: str
    at_ms: int

    @property
    def place(self) -> "LedgerPlace":
        """Where it must land, and behind what."""
        return LedgerPlace(self.offset, self.chain_head, self.chain_end, self.tally_head, self.events_end)

    @property
    def meter_events(self) -> Sequence[MeterEvent]:
        """The one thing to be sent: for NEGATE with the negative value; for CANCEL it is what the adjustment takes back."""
        return (replace(self.event, value=-self.event.value) if self.kind is CorrectionKind.NEGATE else self.event,)

    def identifier(self, _index: int = 0) -> str:
        """Its identifier at Stripe, and for CANCEL its idempotency key: a function of its place, so that every copy derives the same."""
        return f"tm-{self.chain_id}-{self.partition}-c{self.offset}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Meter events that Stripe had accepted, and did not record, as it said in an error report.

    `event_id` is the report's (`evt_...`; a report may come more than once, and one report may need several rejections). `meter` is the event
    name, "" if Stripe does not say; `code` and `message` are Stripe's. `error_count` is how many events failed so; `identifiers` are those that
    Stripe names of them, a sample. The window is when Stripe validated them, [start, end) in milliseconds; `at_ms` is when this was written.
    It belongs to no chain and contests nothing: `instance` only says who wrote it.
    """

    partition: int
    instance: str
    event_id: str
    meter: str
    code: str
    message: str
    error_count: int
    identifiers: tuple[str, ...]
    window_start_ms: int
    window_end_ms: int
    at_ms: int

    @property
    def unnamed(self) -> int:
        """How many of its errors Stripe counts and does not name, so that nobody can send them again by name."""
        return max(0, self.error_count - len(self.identifiers))


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """Where an entry must land, at `offset`, and the fold before it: a reader may check that nothing came between.

    `chain_head`, `chain_end`, `tally_head` and `events_end` are those of the fold; NO_OFFSET where no intent is.
    """

    offset: int
    chain_head: int
    chain_end: int
    tally_head: int
    events_end: int


@dataclass(frozen=True, slots=True)
class LedgerClosing:
    """Nothing more is planned in this ledger: it goes on in the cluster with the id `successor`, as a copy that ends with this record.

    `chain_id` is "" where no intent is. `reason` and `by` say why and who, at most REASON_CHARS_MAX and BY_CHARS_MAX characters; `at_ms` is the
    time by their clock (Unix ms).
    """

    chain_id: str
    partition: int
    place: LedgerPlace
    checkpoint: int
    instance: str
    successor: str
    reason: str
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class LedgerAdoption:
    """This ledger, a copy of one in the cluster `predecessor` ("": not known), goes on here.

    `closing` is the offset of the closing that the copy ends with; NO_OFFSET: nobody closed the ledger that was copied. Then its reporters may have
    told Stripe of what the copy has no intent for, or no outcome: `in_doubt` are those units, by meter, and `uncounted` the records of
    usage.events that no copied tally accounts for. `copied_to` is the end of what was copied of usage.events. The rest is as in a LedgerClosing.
    """

    chain_id: str
    partition: int
    place: LedgerPlace
    checkpoint: int
    instance: str
    predecessor: str
    closing: int
    copied_to: int
    in_doubt: Sequence[tuple[str, int]]
    uncounted: int
    reason: str
    by: str
    at_ms: int

    @property
    def is_closed(self) -> bool:
        """Whether the ledger that was copied was closed before, so that nobody plans in it any more."""
        return self.closing != NO_OFFSET


Note = Rejection | Evidence | Resolution
"""What is in no chain, contests nothing and knows no checkpoint."""

Entry = Intent | Receipt | Correction | LedgerClosing | LedgerAdoption | Note
"""A record of usage.ledger."""

Handover = LedgerClosing | LedgerAdoption
"""What moves a ledger from one cluster to another."""

Planned = Intent | Correction
"""What is sent once it is accepted, and is open until it is settled."""


def encode_intent(intent: Intent) -> bytes:
    """The JSON bytes of an intent."""
    customers: dict[str, int] = {}
    meters: dict[str, int] = {}
    dimensions: dict[Dimensions, int] = {}

    def columns(events: Sequence[MeterEvent]) -> list[tuple[int, int, int, int, int]]:
        return [
            (
                customers.setdefault(event.customer, len(customers)),
                meters.setdefault(event.meter, len(meters)),
                dimensions.setdefault(event.dimensions, len(dimensions)),
                event.time_ms,
                event.value,
            )
            for event in events
            if event.reading is None
        ]

    def readings(events: Sequence[MeterEvent]) -> list[tuple[int, int, int, int, int, int]]:
        return [
            (
                customers.setdefault(event.customer, len(customers)),
                meters.setdefault(event.meter, len(meters)),
                event.time_ms,
                event.value,
                *event.reading,
            )
            for event in events
            if event.reading is not None
        ]

    meter_events, unbillable, carried = columns(intent.meter_events), columns(intent.unbillable), columns(intent.carried)
    latest: dict[str, Any] = {name: found for name, events in _latest_lists(intent) if (found := readings(events))}
    if intent.told_again:
        latest["told_again"] = [
            (customers.setdefault(each.customer, len(customers)), meters.setdefault(each.meter, len(meters)), *each.reading)
            for each in intent.told_again
        ]
    if intent.told_from != NO_OFFSET:
        latest["told_from"] = intent.told_from
    assert len(intent.identifier(max(0, len(intent.meter_events) - 1))) <= IDENTIFIER_CHARS_MAX
    problem = _value_problem(intent)
    assert problem is None, problem
    return orjson.dumps(
        {
            "format": _intent_format(intent),
            "chain": intent.chain_id,
            "partition": intent.partition,
            "start": intent.link.start,
            "end": intent.link.end,
            "previous": intent.link.previous,
            "checkpoint": intent.checkpoint,
            "instance": intent.instance,
            "tally_head": intent.tally_head,
            "events_end": intent.events_end,
            "identifier": intent.identifier(0)[:-2] if intent.meter_events else "",
            "customers": list(customers),
            "meters": list(meters),
            "dimensions": [dict(pairs) for pairs in dimensions],
            "meter_events": meter_events,
            "unbillable": unbillable,
            **({"carried": carried} if carried else {}),
            **({"latest": latest} if latest else {}),
            **({"links": links} if (links := _links(intent)) else {}),
        }
    )


def _latest_lists(intent: Intent) -> Sequence[tuple[str, Sequence[MeterEvent]]]:
    return (
        ("meter_events", intent.meter_events),
        ("unbillable", intent.unbillable),
        ("carried", intent.carried),
        ("superseded", intent.superseded),
    )


def _links(intent: Intent) -> dict[str, str]:
    """Whom Stripe bills for customers that are linked to another; one intent links a customer to one."""
    return {event.customer: event.linked for event in intent.meter_events if event.linked}


def _intent_format(intent: Intent) -> str:
    if intent.told_again or intent.told_from != NO_OFFSET or any(event.reading is not None for event in intent.all_events):
        return LATEST_INTENT_FORMAT
    if any(event.linked for event in intent.meter_events):
        return LINKED_INTENT_FORMAT
    if any(event.value < 0 for events in (intent.meter_events, intent.unbillable, intent.carried) for event in events):
        return SIGNED_INTENT_FORMAT
    return CARRYING_INTENT_FORMAT if intent.carried else INTENT_FORMAT


def _value_problem(intent: Intent) -> str | None:
    for event in intent.all_events:
        least, value = (1, abs(event.value)) if event.reading is None else (0, event.value)
        if not least <= value <= VALUE_MAX:
            return f"an intent cannot tell {event.value} units of {event.meter}"
    if any(event.reading is None for event in intent.superseded):
        return "an intent cannot leave out what is to be added up"
    places = [event.reading is not None for event in intent.meter_events]
    return None if places == sorted(places) else "an intent has latest values before what is added up"


def encode_receipt(receipt: Receipt) -> bytes:
    """The JSON bytes of a receipt."""
    return orjson.dumps(
        {
            "format": RECEIPT_FORMAT,
            "chain": receipt.chain_id,
            "partition": receipt.partition,
            "previous": receipt.previous,
            "checkpoint": receipt.checkpoint,
            "instance": receipt.instance,
            "settlements": [(s.intent, s.index, s.outcome, s.at_ms, s.detail[:SETTLEMENT_DETAIL_CHARS_MAX]) for s in receipt.settlements],
        }
    )


def encode_correction(correction: Correction) -> bytes:
    """The JSON bytes of a correction. `reason` and `by` must be within their bounds."""
    assert len(correction.reason) <= REASON_CHARS_MAX
    assert len(correction.by) <= BY_CHARS_MAX
    assert len(correction.identifier()) <= IDENTIFIER_CHARS_MAX
    event = correction.event
    return orjson.dumps(
        {
            "format": LINKED_CORRECTION_FORMAT if event.linked else CORRECTION_FORMAT,
            "chain": correction.chain_id,
            "partition": correction.partition,
            "offset": correction.offset,
            "checkpoint": correction.checkpoint,
            "instance": correction.instance,
            "chain_head": correction.chain_head,
            "chain_end": correction.chain_end,
            "tally_head": correction.tally_head,
            "events_end": correction.events_end,
            "kind": correction.kind,
            "intent": correction.intent,
            "index": correction.index,
            "target": correction.target_identifier,
            "customer": event.customer,
            "meter": event.meter,
            "dimensions": dict(event.dimensions),
            "time_ms": event.time_ms,
            "value": event.value,
            **({"linked": event.linked} if event.linked else {}),
            "reason": correction.reason,
            "by": correction.by,
            "at_ms": correction.at_ms,
        }
    )


def encode_rejection(rejection: Rejection) -> bytes:
    """The JSON bytes of a rejection. It names at most REJECTION_IDENTIFIERS_MAX identifiers: more of them are several rejections."""
    assert len(rejection.identifiers) <= REJECTION_IDENTIFIERS_MAX
    return orjson.dumps(
        {
            "format": REJECTION_FORMAT,
            "partition": rejection.partition,
            "instance": rejection.instance,
            "event_id": rejection.event_id,
            "meter": rejection.meter,
            "code": rejection.code,
            "message": rejection.message[:SETTLEMENT_DETAIL_CHARS_MAX],
            "error_count": rejection.error_count,
            "identifiers": rejection.identifiers,
            "window_start_ms": rejection.window_start_ms,
            "window_end_ms": rejection.window_end_ms,
            "at_ms": rejection.at_ms,
        }
    )


def encode_handover(entry: Handover) -> bytes:
    """The JSON bytes of a closing or an adoption. `reason` and `by` must be within their bounds."""
    assert len(entry.reason) <= REASON_CHARS_MAX
    assert len(entry.by) <= BY_CHARS_MAX
    place = entry.place
    own: dict[str, Any]
    if isinstance(entry, LedgerClosing):
        kind, own = CLOSING_FORMAT, {"successor": entry.successor}
    else:
        doubt = {"copied_to": entry.copied_to, "in_doubt": entry.in_doubt, "uncounted": entry.uncounted}
        kind, own = ADOPTION_FORMAT, {"predecessor": entry.predecessor, "closing": entry.closing, **doubt}
    return orjson.dumps(
        {
            "format": kind,
            "chain": entry.chain_id,
            "partition": entry.partition,
            "offset": place.offset,
            "checkpoint": entry.checkpoint,
            "instance": entry.instance,
            "chain_head": place.chain_head,
            "chain_end": place.chain_end,
            "tally_head": place.tally_head,
            "events_end": place.events_end,
            **own,
            "reason": entry.reason,
            "by": entry.by,
            "at_ms": entry.at_ms,
        }
    )


def encode_entry(entry: Entry) -> bytes:
    """The bytes of any record of usage.ledger."""
    match entry:
        case Intent():
            return encode_intent(entry)
        case Receipt():
            return encode_receipt(entry)
        case Correction():
            return encode_correction(entry)
        case Rejection():
            return encode_rejection(entry)
        case Evidence():
            return encode_evidence(entry)
        case Resolution():
            return encode_resolution(entry)
        case LedgerClosing() | LedgerAdoption():
            return encode_handover(entry)


def decode_entry(value: bytes | None) -> Entry:
    """Read a record of usage.ledger. Raises RecordCorrupt: nobody else writes there, so anything else is a reason to stop."""
    try:
        document = orjson.loads(value or b"")
        match document["format"]:
            case "intent/1" | "intent/2" | "intent/3" | "intent/4" | "intent/5":
                return _intent(document)
            case "receipt/1":
                return _receipt(document)
            case "correction/1" | "correction/2":
                return _correction(document)
            case "rejection/1":
                return _rejection(document)
            case "closing/1" | "adoption/1":
                return _handover(document)
            case "evidence/1":
                return evidence_of(document)
            case "resolution/1":
                return resolution_of(document)
            case other:
                raise RecordCorrupt(f"unknown format {other!r} in the ledger")
    except (orjson.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a ledger entry: {error!r}") from error


def _intent(document: Mapping[str, Any]) -> Intent:
    customers, meters = document["customers"], document["meters"]
    dimensions = [tuple(sorted(pairs.items())) for pairs in document["dimensions"]]

    if ("latest" in document) != (document["format"] == LATEST_INTENT_FORMAT):
        raise RecordCorrupt(f"latest values in an intent of format {document['format']}, or none in one that says that it has them")
    latest = document.get("latest", {})
    links = document["links"] if document["format"] == LINKED_INTENT_FORMAT else document.get("links", {}) if latest else {}
    linked = [str(links.get(customer, "")) for customer in customers]

    def events(name: str, linked: Sequence[str]) -> list[MeterEvent]:
        sums = [MeterEvent(customers[c], meters[m], dimensions[d], time_ms, value, linked[c]) for c, m, d, time_ms, value in document[name]]
        return sums + latest_events(name, linked)

    def latest_events(name: str, linked: Sequence[str]) -> list[MeterEvent]:
        found = latest.get(name, ())
        return [MeterEvent(customers[c], meters[m], (), time_ms, value, linked[c], ReadingTime(*reading)) for c, m, time_ms, value, *reading in found]

    nobody = [""] * len(customers)
    intent = Intent(
        chain_id=document["chain"],
        partition=document["partition"],
        link=ChainLink(document["start"], document["end"], document["previous"]),
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        tally_head=document["tally_head"],
        events_end=document["events_end"],
        meter_events=events("meter_events", linked),
        unbillable=events("unbillable", nobody),
        carried=events("carried", nobody)
        if "carried" in document or document["format"] == CARRYING_INTENT_FORMAT
        else latest_events("carried", nobody),
        superseded=tuple(latest_events("superseded", nobody)),
        told_again=tuple(ToldReading(customers[c], meters[m], ReadingTime(*reading)) for c, m, *reading in latest.get("told_again", ())),
        told_from=latest.get("told_from", NO_OFFSET),
    )
    problem = _value_problem(intent)
    if problem is not None or (document["format"] not in _SIGNED_FORMATS and _intent_format(intent) == SIGNED_INTENT_FORMAT):
        raise RecordCorrupt(problem or f"values below zero in an intent of format {document['format']}")
    return intent


def _receipt(document: Mapping[str, Any]) -> Receipt:
    return Receipt(
        chain_id=document["chain"],
        partition=document["partition"],
        previous=document["previous"],
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        settlements=[Settlement(intent, index, Outcome(outcome), at, detail) for intent, index, outcome, at, detail in document["settlements"]],
    )


def _correction(document: Mapping[str, Any]) -> Correction:
    return Correction(
        chain_id=document["chain"],
        partition=document["partition"],
        offset=document["offset"],
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        chain_head=document["chain_head"],
        chain_end=document["chain_end"],
        tally_head=document["tally_head"],
        events_end=document["events_end"],
        kind=CorrectionKind(document["kind"]),
        intent=document["intent"],
        index=document["index"],
        target_identifier=document["target"],
        event=MeterEvent(
            document["customer"],
            document["meter"],
            tuple(sorted(document["dimensions"].items())),
            document["time_ms"],
            document["value"],
            document["linked"] if document["format"] == LINKED_CORRECTION_FORMAT else "",
        ),
        reason=document["reason"],
        by=document["by"],
        at_ms=document["at_ms"],
    )


def _rejection(document: Mapping[str, Any]) -> Rejection:
    return Rejection(
        partition=document["partition"],
        instance=document["instance"],
        event_id=document["event_id"],
        meter=document["meter"],
        code=document["code"],
        message=document["message"],
        error_count=document["error_count"],
        identifiers=tuple(document["identifiers"]),
        window_start_ms=document["window_start_ms"],
        window_end_ms=document["window_end_ms"],
        at_ms=document["at_ms"],
    )


def _handover(document: Mapping[str, Any]) -> Handover:
    place = LedgerPlace(document["offset"], document["chain_head"], document["chain_end"], document["tally_head"], document["events_end"])
    chain_id, partition, checkpoint, instance = document["chain"], document["partition"], document["checkpoint"], document["instance"]
    reason, by, at_ms = document["reason"], document["by"], document["at_ms"]
    if document["format"] == CLOSING_FORMAT:
        return LedgerClosing(chain_id, partition, place, checkpoint, instance, document["successor"], reason, by, at_ms)
    in_doubt = [(meter, units) for meter, units in document["in_doubt"]]
    doubt = document["predecessor"], document["closing"], document["copied_to"], in_doubt, document["uncounted"]
    return LedgerAdoption(chain_id, partition, place, checkpoint, instance, *doubt, reason, by, at_ms)
