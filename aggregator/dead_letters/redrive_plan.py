"""What taking set-aside events back would do: which would count, which were counted already, which would fail again. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from taximeter_emitter.buffer.batching import Batcher, PartitionBatch
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS, HOUR_MS
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.dead_letters.letter_book import EventPlace, LetterBook, SetAsideState
from aggregator.dead_letters.letter_events import Identity, LetterEvent, events_of
from metering.records.dead_letter import DeadLetter
from metering.records.meters import Catalogue, below_zero_text
from metering.records.notes.looked_up_ids import looked_up_headers
from metering.records.redrive import Edit, Places, Redrive
from metering.records.service_limits import EVENT_AGE_MAX_MS

PLACES_PER_REDRIVE_MAX: Final = 5_000
BATCH_EVENTS: Final = 500
# How far the clock here may be ahead of Kafka's. Nor is written what becomes too old to be billed in this time.
HORIZON_MARGIN_MS: Final = HOUR_MS


class RedriveVerdict(StrEnum):
    """What would become of an event."""

    COUNTED = "would be counted"
    KNOWN = "was counted already"
    FAILS = "would be set aside again"


class Judged(NamedTuple):
    """An event that was selected. `event` is None where it cannot be read; `look_up`: whether its identity must be looked for in the log; and
    when that began (Unix ms), once it was.
    """

    place: EventPlace
    event: LetterEvent | None
    verdict: RedriveVerdict
    why: str = ""
    look_up: bool = False
    searched_ms: int = 0


@dataclass(frozen=True, slots=True)
class RedriveRules:
    """What judging needs: the catalogue in force, the time, and how long the aggregator remembers ids (ms)."""

    catalogue: Catalogue
    now_ms: int
    horizon_ms: int


@dataclass(slots=True)
class RedrivePlan:
    """One partition's part of a redrive, before anything is written."""

    partition: int
    judged: list[Judged] = field(default_factory=list)

    def to_look_up(self) -> set[Identity]:
        """The identities that must be looked for in the log."""
        return {each.event.identity for each in self.judged if each.look_up and each.event is not None}

    def looked_up(self, counted: Iterable[Identity], searched_ms: int) -> None:
        """Take in which identities were counted before `searched_ms` (Unix ms). Of several events with one identity the first is taken."""
        seen = set(counted)
        for position, each in enumerate(self.judged):
            if not each.look_up or each.event is None:
                continue
            if each.event.identity in seen:
                self.judged[position] = each._replace(verdict=RedriveVerdict.KNOWN, why="an event with its identity was counted", look_up=False)
            else:
                self.judged[position] = each._replace(searched_ms=searched_ms)
            seen.add(each.event.identity)

    def cannot_look_up(self, why: str) -> None:
        """Nobody can say which of these identities were counted."""
        self.judged = [each._replace(verdict=RedriveVerdict.FAILS, why=why, look_up=False) if each.look_up else each for each in self.judged]

    def units(self, catalogue: Catalogue) -> Counter[tuple[str, str]]:
        """Units by meter and customer that would be counted."""
        found: Counter[tuple[str, str]] = Counter()
        for each in self.judged:
            if each.verdict is RedriveVerdict.COUNTED and each.event is not None:
                for meter, units in catalogue.of(each.event.dimensions).units(each.event.usage).items():
                    found[meter, each.event.customer] += units
        return found

    def parts(self) -> Iterable[Sequence[Judged]]:
        """What is to be written down, in pieces of one redrive each."""
        rest = iter([each for each in self.judged if each.verdict is not RedriveVerdict.FAILS])
        while part := list(islice(rest, PLACES_PER_REDRIVE_MAX)):
            yield part


def plan_redrive(book: LetterBook, selected: Iterable[EventPlace], edit: Edit, rules: RedriveRules) -> RedrivePlan:
    """Judge the selected events that are open; others are passed over."""
    plan = RedrivePlan(book.partition)
    read: dict[int, dict[int, LetterEvent] | EventRejected] = {}
    for place in sorted(selected):
        if book.state(place) is not SetAsideState.OPEN:
            continue
        letter = book.letter_of(place)
        events = read.get(id(letter))
        if events is None:
            events = read[id(letter)] = _read(letter, edit)
        plan.judged.append(_judge(place, letter, events, edit, rules))
    return plan


def places_of(part: Sequence[Judged], verdict: RedriveVerdict, *, look_up: bool | None = None) -> Places:
    """The places with this verdict, as a redrive names them."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for each in part:
        if each.verdict is verdict and (look_up is None or each.look_up is look_up):
            found[each.place.offset].append(each.place.at)
    return [(offset, tuple(indexes)) for offset, indexes in sorted(found.items())]


class RedriveBatch(NamedTuple):
    """A record of usage.events that a redrive writes."""

    partition: int
    value: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()


def batches_of(redrive: Redrive, letters: LetterBook, partitions: int) -> list[RedriveBatch]:
    """What a redrive writes: batches with the numbers of its own emitter, and heartbeats that say how many there are. Always the same for one
    redrive. Raises KeyError for a letter that is gone.
    """
    nameless = {EventPlace(offset, index) for offset, indexes in redrive.nameless for index in indexes}
    batcher = Batcher(redrive.emitter, events_max=BATCH_EVENTS)
    looked_up: defaultdict[PartitionBatch, bytearray] = defaultdict(bytearray)
    read: dict[int, dict[int, LetterEvent]] = {}
    for offset, indexes in redrive.places:
        for index in indexes:
            place = EventPlace(offset, index)
            letter = letters.letter_of(place)
            if id(letter) not in read:
                read[id(letter)] = {event.at: event for event in events_of(letter, redrive.edit)}
            event = read[id(letter)][index]
            batch = batcher.add(
                partition_of(event.customer, partitions),
                customer=event.customer,
                dimensions=event.dimensions,
                time_ms=event.time_ms,
                usage=event.usage,
                fingerprint=NO_ID if place in nameless else event.fingerprint,
            )
            looked_up[batch] += event.fingerprint if place in nameless else NO_ID
    searched_ms = max(0, redrive.searched_ms - HORIZON_MARGIN_MS)
    written = [RedriveBatch(batch.partition, batch.value, looked_up_headers(searched_ms, bytes(looked_up[batch]))) for batch in batcher.take_all()]
    return written + [RedriveBatch(partition, batcher.heartbeat(partition, final=True)) for partition in sorted(batcher.next_seq)]


def _read(letter: DeadLetter, edit: Edit) -> dict[int, LetterEvent] | EventRejected:
    try:
        return {event.at: event for event in events_of(letter, edit)}
    except EventRejected as problem:
        return problem


def _judge(place: EventPlace, letter: DeadLetter, events: dict[int, LetterEvent] | EventRejected, edit: Edit, rules: RedriveRules) -> Judged:
    if isinstance(events, EventRejected):
        return Judged(place, None, RedriveVerdict.FAILS, f"{events.reason}: {events}")
    event = events[place.at]
    meters = rules.catalogue.of(event.dimensions)
    unknown = meters.unknown_in(event.usage)
    if unknown:
        name, _ = unknown[0]
        why = f"{Reason.UNKNOWN_USAGE_FIELD}: {name}: {meters.why_unknown(name)}; --rename or --drop it, or name it in [usage] unmetered"
        return Judged(place, event, RedriveVerdict.FAILS, why)
    below = meters.below_zero(event.usage)
    if below is not None:
        why = f"{Reason.BELOW_ZERO}: {below_zero_text(below, event.usage)}"
        return Judged(place, event, RedriveVerdict.FAILS, why)
    if event.time_ms > rules.now_ms + FUTURE_TOLERANCE_MS:
        why = f"{Reason.IN_FUTURE}: its time is still to come; --without-ids takes the log time for one that a clock ahead set"
        return Judged(place, event, RedriveVerdict.FAILS, why)
    if event.time_ms < rules.now_ms - EVENT_AGE_MAX_MS + HORIZON_MARGIN_MS:
        return Judged(place, event, RedriveVerdict.FAILS, f"{Reason.PAST_HORIZON}: Stripe takes no usage that is older than 35 days")
    if letter.reason is Reason.CONFLICT and not edit.without_ids:
        why = f"{Reason.CONFLICT}: another event with its identity counts; --without-ids counts both"
        return Judged(place, event, RedriveVerdict.FAILS, why)
    # Only of what is past the horizon for sure no copy counts after the search. What is about there keeps its id, and is set aside until it is.
    is_old = event.time_ms < rules.now_ms - rules.horizon_ms - HORIZON_MARGIN_MS
    return Judged(place, event, RedriveVerdict.COUNTED, look_up=is_old and event.fingerprint != NO_ID)
