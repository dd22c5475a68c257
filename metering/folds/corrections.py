"""What may be corrected: the history of single meter events, and the rules for writing a correction. Pure.

A meter event may be corrected once: taken back if Stripe has it, sent again if Stripe certainly does not. A correction that Stripe certainly does
not have leaves its target as it was, free for another one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from metering.folds.ledger import Ledger
from metering.records.ledger_records import Correction, CorrectionKind, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection
from metering.records.notes.resolution import Resolution, Resolved

LATEST_OBJECTION: Final = "it tells a latest value, to which nothing can be added: emit an event with the right value, which takes its place"
TAKEN: Final = frozenset({Outcome.ACCEPTED, Outcome.DUPLICATE})
"""Stripe has it."""

# A chain's id may hold anything, the rest is numbers; the identifier in an idempotency key may be followed by the number of the key.
_OF_INTENT: Final = re.compile(r"tm-(.+)-(\d+)-(\d+)-(\d+)-(\d+)(?:\.\d+)?")
_OF_CORRECTION: Final = re.compile(r"tm-(.+)-(\d+)-c(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class MeterEventPlace:
    """The place of a meter event of an intent: the intent whose `place` is (start, end), most often the tallies [start, end)."""

    chain_id: str
    partition: int
    start: int
    end: int
    index: int


@dataclass(frozen=True, slots=True)
class CorrectionPlace:
    """The place of a correction: this offset of the ledger's partition."""

    chain_id: str
    partition: int
    offset: int

    @property
    def index(self) -> int:
        """A correction is one meter event."""
        return 0


def place_of(identifier: str) -> MeterEventPlace | CorrectionPlace | None:
    """What one of our identifiers (`tm-...`), or an idempotency key made from one, stands for; None if it is neither."""
    found = _OF_CORRECTION.fullmatch(identifier)
    if found is not None:
        return CorrectionPlace(found[1], int(found[2]), int(found[3]))
    found = _OF_INTENT.fullmatch(identifier)
    if found is not None:
        return MeterEventPlace(found[1], int(found[2]), int(found[3]), int(found[4]), int(found[5]))
    return None


def named_places(entry: Entry) -> list[MeterEventPlace]:
    """The meter events of intents whose identifiers this entry mentions. They must be watched to understand it."""
    match entry:
        case Correction() | Resolution():
            places = [place_of(entry.target_identifier)]
        case Rejection():
            places = [place_of(identifier) for identifier in entry.identifiers]
        case _:
            places = []
    return [place for place in places if isinstance(place, MeterEventPlace)]


@dataclass(slots=True)
class Fate:
    """What became of one thing that was sent. `outcome` is None while it is open.

    `repeated`: more than one attempt may have reached Stripe. `reported`: an error report of Stripe's names it: an attempt that Stripe had accepted
    was not recorded.
    """

    outcome: Outcome | None = None
    repeated: bool = False
    reported: bool = False
    resolution: Resolution | None = None

    @property
    def at_stripe(self) -> bool | None:
        """Whether Stripe has it; None if that is not known, or not yet. A resolution is the last word."""
        if self.resolution is not None:
            return self.resolution.resolved is Resolved.AT_STRIPE
        if self.outcome is None or self.outcome is Outcome.PARKED:
            return None
        if self.outcome not in TAKEN or not self.reported:
            return self.outcome in TAKEN
        # Whether an identifier is free again when its event was not recorded is not known: then another attempt may have been.
        return None if self.repeated else False


@dataclass(slots=True)
class Corrected:
    """An accepted correction at `offset`."""

    offset: int
    log_time_ms: int
    correction: Correction
    fate: Fate = field(default_factory=Fate)

    @property
    def value(self) -> int:
        """What Stripe's sum has more, if Stripe has it; below zero where it takes back."""
        sends = self.correction.kind in {CorrectionKind.RESEND, CorrectionKind.MOVE}
        return self.correction.event.value if sends else -self.correction.event.value


@dataclass(slots=True)
class Target:
    """A meter event of the accepted intent at offset `intent`, and all that happened to it. Or an accepted correction at this offset, which is
    decided of as a meter event is, and never corrected.
    """

    place: MeterEventPlace | CorrectionPlace
    intent: int
    identifier: str
    log_time_ms: int
    event: MeterEvent
    fate: Fate = field(default_factory=Fate)
    corrections: list[Corrected] = field(default_factory=list)

    @property
    def standing(self) -> Corrected | None:
        """The correction that Stripe has or may have; there is at most one."""
        return next((found for found in self.corrections if found.fate.at_stripe is not False), None)


def correction_as_target(corrected: Corrected) -> Target:
    """What a correction sent, with the value by which Stripe's sum changes if Stripe has it."""
    correction = corrected.correction
    place, event = CorrectionPlace(correction.chain_id, correction.partition, corrected.offset), replace(correction.event, value=corrected.value)
    return Target(place, corrected.offset, correction.identifier(), corrected.log_time_ms, event, corrected.fate)


def objection(target: Target, kind: CorrectionKind) -> str | None:
    """Why a correction of this kind must not be written for this target, as a sentence; None if it may be."""
    standing, fate = target.standing, target.fate
    if target.event.reading is not None:
        return LATEST_OBJECTION
    if fate.resolution is not None and fate.resolution.resolved is Resolved.MOVED:
        return f"{fate.resolution.to_customer} is billed for it, by {fate.resolution.by}"
    if standing is not None:
        state = "has no outcome yet" if standing.fate.outcome is None else f"is {standing.fate.outcome}"
        return f"it is corrected already: {standing.correction.kind} at offset {standing.offset}, by {standing.correction.by}, which {state}"
    if fate.outcome is None:
        return "it has no outcome yet, so Stripe may or may not have it: try again when the reporter has settled it"
    if fate.outcome is Outcome.UNBILLABLE:
        return "its usage is older than Stripe takes, so it was never billed and cannot be"
    if fate.outcome is Outcome.POSTPONED:
        return "Stripe refused its meter, so its usage is in a later intent, under another identifier: correct that one"
    if fate.at_stripe is None:
        return f"it is {fate.outcome}, and nobody knows whether Stripe has it: compare Stripe's sums with the ledger first"
    if kind is CorrectionKind.RESEND and target.event.is_for_nobody:
        return "its customer had no link: taximeter customers link, then taximeter correct --resend --code no_link --plan bills who is linked now"
    if kind in {CorrectionKind.RESEND, CorrectionKind.MOVE}:
        return "Stripe has it: sent again it would be billed twice" if fate.at_stripe else None
    return None if fate.at_stripe else "Stripe does not have it, so there is nothing to take back"


class CorrectionHistory:
    """The fold of a partition of the ledger from its start, that remembers every correction, and the meter events to `watch`.

    What is watched must be known before, so that memory is bound by what is asked for and not by the length of the log.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.targets: dict[tuple[int, int], Target] = {}
        self.corrections: dict[int, Corrected] = {}
        self.refused = 0  # corrections that did not land where their writer wanted
        self._watched: dict[tuple[int, int], set[MeterEventPlace]] = defaultdict(set)
        self._by_place: dict[MeterEventPlace, Target] = {}

    def watch(self, places: Iterable[MeterEventPlace]) -> None:
        """Remember these meter events. Call this before the entries are folded."""
        for place in places:
            self._watched[place.start, place.end].add(place)

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> bool:
        """Take in the entry at `offset`; say whether it was accepted. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            self._settle(entry)
        accepted = self.ledger.fold(offset, log_time_ms, entry)
        match entry:
            case Intent() if accepted:
                self._watch(offset, log_time_ms, entry)
            case Correction() if accepted:
                self.corrections[offset] = corrected = Corrected(offset, log_time_ms, entry)
                target = None if entry.kind is CorrectionKind.MOVE else self.targets.get((entry.intent, entry.index))
                if target is not None:
                    target.corrections.append(corrected)
            case Correction():
                self.refused += 1
            case Rejection():
                self._note_report(entry)
            case Resolution() if accepted:
                self._resolve(entry)
            case _:
                pass
        return accepted

    def target(self, place: MeterEventPlace) -> Target | None:
        """The watched meter event at this place; None if no accepted intent has it."""
        return self._by_place.get(place)

    def _watch(self, offset: int, log_time_ms: int, intent: Intent) -> None:
        for place in self._watched.get(intent.place, ()):
            if (place.chain_id, place.partition) == (intent.chain_id, intent.partition) and place.index < len(intent.meter_events):
                event = intent.meter_events[place.index]
                target = Target(place, offset, intent.identifier(place.index), log_time_ms, event)
                self.targets[offset, place.index] = self._by_place[place] = target

    def _settle(self, receipt: Receipt) -> None:
        unknown = {(told.intent, told.index) for told in receipt.settlements if not told.outcome.is_final}
        for settlement in self.ledger.news(receipt):
            fate = self._fate(settlement.intent, settlement.index)
            if fate is None:
                continue
            entry = self.ledger.open[settlement.intent]
            twice = settlement.index in entry.unknown or (settlement.intent, settlement.index) in unknown
            fate.outcome = settlement.outcome
            fate.repeated = twice or entry.contested or entry.sender != receipt.instance or settlement.outcome is Outcome.DUPLICATE

    def _resolve(self, resolution: Resolution) -> None:
        """The first accepted resolution of a meter event stands, but that what was found missing may be moved afterwards."""
        target, corrected = self.targets.get((resolution.intent, resolution.index)), self.corrections.get(resolution.intent)
        if target is not None and target.identifier == resolution.target_identifier:
            fate = target.fate
        elif corrected is not None and corrected.correction.identifier() == resolution.target_identifier:
            fate = corrected.fate
        else:
            return
        before = fate.resolution
        if before is None or (before.resolved is Resolved.NOT_AT_STRIPE and resolution.resolved is Resolved.MOVED):
            fate.resolution = resolution

    def _fate(self, offset: int, index: int) -> Fate | None:
        target, corrected = self.targets.get((offset, index)), self.corrections.get(offset)
        if target is not None:
            return target.fate
        return None if corrected is None else corrected.fate

    def _note_report(self, rejection: Rejection) -> None:
        for identifier in rejection.identifiers:
            match place_of(identifier):
                case CorrectionPlace() as place:
                    corrected = self.corrections.get(place.offset)
                    if corrected is not None and place_of(corrected.correction.identifier()) == place:
                        corrected.fate.reported = True
                case MeterEventPlace() as place:
                    target = self._by_place.get(place)
                    if target is not None:
                        target.fate.reported = True
                case _:
                    pass
