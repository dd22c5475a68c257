"""The ledger: what was about to be told to Stripe, and what became of it. Records of usage.ledger.

An *intent* covers a range of offsets of usage.tallies and lists the meter events that report it. It is a link of a chain, so only one intent
ever covers a tally, whoever wrote it. Meter events are sent only after their intent is accepted.

A *receipt* tells outcomes of meter events. That Stripe has one is true whoever says so, because only an accepted intent is ever sent, so a
receipt needs no place in the chain. That Stripe has it *not* is only known to a writer who alone could send it: an intent is *contested*
from the first entry of another `instance` (a process's name and a number drawn at each takeover) after it, and a refusal of a contested
meter event parks it. Who takes over what is open therefore writes a receipt, an empty one, before the first send.

A *rejection* keeps what Stripe told later of events that it had accepted. It is evidence for whoever corrects, and changes nothing by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from metering.chain import NO_OFFSET, Chain, Link
from metering.errors import ChainBroken, RecordCorrupt
from metering.event import Dimensions
from metering.limits import IDENTIFIER_CHARS_MAX

INTENT_FORMAT: Final = "intent/1"
RECEIPT_FORMAT: Final = "receipt/1"
REJECTION_FORMAT: Final = "rejection/1"

DETAIL_CHARS_MAX: Final = 500
REJECTION_IDENTIFIERS_MAX: Final = 1_000


class Outcome(StrEnum):
    """What became of one meter event. All are final but UNKNOWN."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # Stripe has it from an earlier attempt: as good as accepted
    REJECTED = "rejected"  # Stripe refuses this event for what it says
    UNKNOWN = "unknown"  # an attempt may or may not have arrived
    PARKED = "parked"  # unknown for so long that Stripe may have forgotten the identifier: only evidence may decide
    UNBILLABLE = "unbillable"  # older than Stripe takes

    @property
    def is_final(self) -> bool:
        """Whether nothing more is sent for this meter event."""
        return self is not Outcome.UNKNOWN

    @property
    def says_not_taken(self) -> bool:
        """Whether it claims that Stripe does not have the meter event."""
        return self in {Outcome.REJECTED, Outcome.UNBILLABLE}


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One meter event of an intent: `value` units at `time_ms` (milliseconds; the start of its earliest window)."""

    customer: str
    meter: str
    dimensions: Dimensions
    time_ms: int
    value: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What will be sent to Stripe for the tallies in `link`.

    `tally_head` and `events_end` are the tally chain's head and end after the last covered tally: the next reader starts there.
    `checkpoint` is the oldest accepted intent with an open meter event, or the last accepted one (-1: none), when this record was written.
    `unbillable` are sums too old for Stripe; they are recorded here and never sent.
    """

    chain_id: str
    partition: int
    link: Link
    checkpoint: int
    instance: str
    tally_head: int
    events_end: int
    meter_events: Sequence[MeterEvent]
    unbillable: Sequence[MeterEvent] = ()

    def identifier(self, index: int) -> str:
        """Stripe's identifier of a meter event: a function of its place in the chain, so that every copy of a service derives the same."""
        return f"tm-{self.chain_id}-{self.partition}-{self.link.start}-{self.link.end}-{index}"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of meter event `index` of the intent at offset `intent`; `detail` is a code or message for what went wrong."""

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


@dataclass(frozen=True, slots=True)
class Rejection:
    """What Stripe told, in an error report, of meter events that it had accepted before: they were not recorded.

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


Entry = Intent | Receipt | Rejection
"""A record of usage.ledger."""


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
        ]

    meter_events, unbillable = columns(intent.meter_events), columns(intent.unbillable)
    assert len(intent.identifier(max(0, len(meter_events) - 1))) <= IDENTIFIER_CHARS_MAX
    return orjson.dumps(
        {
            "format": INTENT_FORMAT,
            "chain": intent.chain_id,
            "partition": intent.partition,
            "start": intent.link.start,
            "end": intent.link.end,
            "previous": intent.link.previous,
            "checkpoint": intent.checkpoint,
            "instance": intent.instance,
            "tally_head": intent.tally_head,
            "events_end": intent.events_end,
            "identifier": intent.identifier(0)[:-2] if meter_events else "",
            "customers": list(customers),
            "meters": list(meters),
            "dimensions": [dict(pairs) for pairs in dimensions],
            "meter_events": meter_events,
            "unbillable": unbillable,
        }
    )


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
            "settlements": [(s.intent, s.index, s.outcome, s.at_ms, s.detail[:DETAIL_CHARS_MAX]) for s in receipt.settlements],
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
            "message": rejection.message[:DETAIL_CHARS_MAX],
            "error_count": rejection.error_count,
            "identifiers": rejection.identifiers,
            "window_start_ms": rejection.window_start_ms,
            "window_end_ms": rejection.window_end_ms,
            "at_ms": rejection.at_ms,
        }
    )


def decode_entry(value: bytes | None) -> Entry:
    """Read a record of usage.ledger. Raises RecordCorrupt: nobody else writes there, so anything else is a reason to stop."""
    try:
        document = orjson.loads(value or b"")
        match document["format"]:
            case "intent/1":
                return _intent(document)
            case "receipt/1":
                return _receipt(document)
            case "rejection/1":
                return _rejection(document)
            case other:
                raise RecordCorrupt(f"unknown format {other!r} in the ledger")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a ledger entry: {error!r}") from error


def _intent(document: Mapping[str, Any]) -> Intent:
    customers, meters = document["customers"], document["meters"]
    dimensions = [tuple(sorted(pairs.items())) for pairs in document["dimensions"]]

    def events(name: str) -> list[MeterEvent]:
        return [MeterEvent(customers[c], meters[m], dimensions[d], time_ms, value) for c, m, d, time_ms, value in document[name]]

    return Intent(
        chain_id=document["chain"],
        partition=document["partition"],
        link=Link(document["start"], document["end"], document["previous"]),
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        tally_head=document["tally_head"],
        events_end=document["events_end"],
        meter_events=events("meter_events"),
        unbillable=events("unbillable"),
    )


def _receipt(document: Mapping[str, Any]) -> Receipt:
    return Receipt(
        chain_id=document["chain"],
        partition=document["partition"],
        previous=document["previous"],
        checkpoint=document["checkpoint"],
        instance=document["instance"],
        settlements=[Settlement(intent, index, Outcome(outcome), at, detail) for intent, index, outcome, at, detail in document["settlements"]],
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


@dataclass(slots=True)
class OpenIntent:
    """An accepted intent with meter events that have no final outcome. `log_time_ms` is when the broker took it: no attempt is older.

    `contested`: another instance has written since, and may send its meter events too.
    """

    intent: Intent
    log_time_ms: int
    open: set[int]
    unknown: set[int] = field(default_factory=set)
    contested: bool = False

    def judged(self, outcome: Outcome, instance: str) -> Outcome:
        """What an outcome is worth that `instance` tells: that Stripe does not have the meter event, only who alone may send it can know."""
        contested = self.contested or self.intent.instance != instance
        return Outcome.PARKED if contested and outcome.says_not_taken else outcome


@dataclass(slots=True)
class Ledger:
    """The fold of one partition of usage.ledger.

    `chain` runs over offsets of usage.tallies. `open` maps the offset of an accepted intent to what is still open of it, oldest first.
    `from_checkpoint` says that the fold began at a checkpoint: receipts may then speak of intents that were settled before it.
    """

    chain: Chain = field(default_factory=Chain)
    chain_id: str | None = None
    tally_head: int = NO_OFFSET
    events_end: int = NO_OFFSET
    open: dict[int, OpenIntent] = field(default_factory=dict)
    settled: dict[Outcome, int] = field(default_factory=dict)

    @property
    def checkpoint(self) -> int:
        """From which offset of the ledger a reader must start to know all that is open."""
        return next(iter(self.open), self.chain.head)

    @property
    def open_events(self) -> int:
        """How many meter events have no final outcome."""
        return sum(len(entry.open) for entry in self.open.values())

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> bool:
        """Take in the entry at `offset`; say whether it was accepted. Raises ChainBroken if it belongs to another chain."""
        if isinstance(entry, Rejection):
            self.chain.pass_over(offset)
            return True
        if self.chain_id is not None and entry.chain_id != self.chain_id:
            raise ChainBroken(f"ledger entry at {offset} is of chain {entry.chain_id}, the ledger is of chain {self.chain_id}")
        for found in self.open.values():
            found.contested |= found.intent.instance != entry.instance
        if isinstance(entry, Receipt):
            self.chain.pass_over(offset)
            self._settle(entry)
            return True
        if not self.chain.offer(offset, entry.link):
            return False
        self.chain_id = entry.chain_id
        self.tally_head = entry.tally_head
        self.events_end = entry.events_end
        if entry.meter_events:
            self.open[offset] = OpenIntent(entry, log_time_ms, set(range(len(entry.meter_events))))
        return True

    def _settle(self, receipt: Receipt) -> None:
        for settlement in receipt.settlements:
            entry = self.open.get(settlement.intent)
            # Not open any more: a second writer tells the same story again, or it was settled before the checkpoint.
            if entry is None or settlement.index not in entry.open:
                continue
            if not settlement.outcome.is_final:
                entry.unknown.add(settlement.index)
                continue
            entry.open.discard(settlement.index)
            entry.unknown.discard(settlement.index)
            outcome = entry.judged(settlement.outcome, receipt.instance)
            self.settled[outcome] = self.settled.get(outcome, 0) + 1
            if not entry.open:
                del self.open[settlement.intent]


def ledger_from(offset: int, intent: Intent) -> Ledger:
    """An empty fold placed just before the accepted intent at `offset`, ready to fold it."""
    if intent.link.previous == NO_OFFSET:
        return Ledger(chain=Chain(next_offset=offset))
    return Ledger(chain=Chain(head=intent.link.previous, end=intent.link.start, next_offset=offset))
