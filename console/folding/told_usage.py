"""The ledger of one partition, folded into rows of usage: what is planned, what Stripe has, what is in doubt and what it refused.

Which entries count, and how each outcome is to be judged, is decided by the fold that all services share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from console.folding.spoken_events import SpokenBook, SpokenEvent, spoken_correction
from console.folding.usage_changes import FoldChanges, HeldSum, IntentAt, RefusalLine, SpokenPlace, UsageAmounts, UsagePlace, hour_of
from metering.folds.corrections import TAKEN, MeterEventPlace, place_of
from metering.folds.ledger import Ledger
from metering.records.ledger_records import Correction, CorrectionKind, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection, Settlement
from metering.records.notes.resolution import Resolution, Resolved


@dataclass(slots=True)
class ToldUsage:
    """`ledger` stands where the next entry is. `spoken` are the meter events and corrections that something spoke of before."""

    partition: int
    ledger: Ledger
    spoken: SpokenBook = field(default_factory=SpokenBook)

    def pass_by(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """Take in an entry that is in the store already."""
        self.ledger.fold(offset, log_time_ms, entry)

    def names(self, entry: Entry) -> Iterator[MeterEventPlace]:
        """The meter events of this partition that the entry speaks of, and that must be known before it is folded."""
        for identifier in named_in(entry):
            place = place_of(identifier)
            if isinstance(place, MeterEventPlace) and place.partition == self.partition:
                yield place

    def know(self, place: SpokenPlace, found: SpokenEvent, changes: FoldChanges) -> None:
        """A meter event that will be spoken of; `shown` is what the rows have of it."""
        if place not in self.spoken.events:
            self.spoken.add(place, found)
            changes.spoken.add(place)

    def know_open(self, place: SpokenPlace, changes: FoldChanges) -> bool:
        """The same, if it is known, or has no outcome yet; returns whether that is so."""
        open_entry = self.ledger.open.get(place.offset)
        if place not in self.spoken.events and open_entry is not None and place.at in open_entry.open and isinstance(open_entry.entry, Intent):
            event = open_entry.entry.meter_events[place.at]
            shown = UsageAmounts(planned=event.units, open=event.units)
            self.know(place, SpokenEvent(event, event.units, identifier=open_entry.entry.identifier(place.at), shown=shown), changes)
        return place in self.spoken.events

    def fold(self, offset: int, log_time_ms: int, entry: Entry, changes: FoldChanges) -> None:
        """Take in the next entry, and gather what it changes. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            self._settle(entry, changes)
        accepted = self.ledger.fold(offset, log_time_ms, entry)
        match entry:
            case Intent() if accepted:
                self._plan(offset, log_time_ms, entry, changes)
            case Correction() if accepted:
                self.know(SpokenPlace(offset, 0), spoken_correction(entry), changes)
                self._show(SpokenPlace(offset, 0), changes)
            case Rejection():
                self._report(entry, changes)
            case Resolution() if accepted:
                self._resolve(entry, changes)
            case _:
                pass

    def held(self) -> Sequence[HeldSum]:
        """What the next intent takes in besides tallies, by customer and meter."""
        found: dict[tuple[str, str], HeldSum] = {}
        for event in self.ledger.waiting:
            before = found.get((event.customer, event.meter), HeldSum(event.customer, event.meter, 0, event.time_ms))
            found[event.customer, event.meter] = before._replace(
                units=before.units + (event.value if event.reading is None else 1), oldest_ms=min(before.oldest_ms, event.time_ms)
            )
        return [found[key] for key in sorted(found)]

    def _plan(self, offset: int, log_time_ms: int, intent: Intent, changes: FoldChanges) -> None:
        for event in intent.meter_events:
            changes.add(_key(event), UsageAmounts(planned=event.units, open=event.units))
            changes.billed[event.customer] = event.billed
        for number, event in enumerate(intent.unbillable):
            changes.add(_key(event), UsageAmounts(planned=event.units, refused=event.units))
            changes.refused.append(_refused(SpokenPlace(offset, -1 - number), event, Outcome.UNBILLABLE, "older than Stripe takes", log_time_ms))
        if intent.meter_events:
            changes.intents.append(IntentAt(*intent.place, offset, hour_of(log_time_ms)))

    def _settle(self, receipt: Receipt, changes: FoldChanges) -> None:
        unknown = {(told.intent, told.index) for told in receipt.settlements if not told.outcome.is_final}
        for settlement in self.ledger.news(receipt):
            entry = self.ledger.open[settlement.intent]
            place = SpokenPlace(settlement.intent, settlement.index)
            event = entry.entry.meter_events[settlement.index]
            spoken = self.spoken.events.get(place)
            if spoken is None:
                changes.add(_key(event), _settled(event.units, settlement.outcome))
            else:
                twice = settlement.index in entry.unknown or place in unknown
                repeated = twice or entry.contested or entry.sender != receipt.instance or settlement.outcome is Outcome.DUPLICATE
                spoken.fate.outcome, spoken.fate.repeated = settlement.outcome, repeated
                self._show(place, changes)
            if settlement.outcome not in TAKEN and settlement.outcome is not Outcome.POSTPONED:
                changes.refused.append(_refused_by(settlement, event))

    def _report(self, rejection: Rejection, changes: FoldChanges) -> None:
        for identifier in rejection.identifiers:
            place = self.spoken.named(identifier)
            if place is not None and not self.spoken.events[place].fate.reported:
                spoken = self.spoken.events[place]
                spoken.fate.reported = True
                self._show(place, changes)
                changes.refused.append(_refused(place, spoken.event, "reported", f"{rejection.code}: {rejection.message}", rejection.at_ms))

    def _resolve(self, resolution: Resolution, changes: FoldChanges) -> None:
        """The first accepted resolution of a meter event stands, but that what was found missing may be moved afterwards."""
        place = self.spoken.named(resolution.target_identifier)
        if place is None or place.offset != resolution.intent:
            return
        fate = self.spoken.events[place].fate
        if fate.resolution is None or (fate.resolution.resolved is Resolved.NOT_AT_STRIPE and resolution.resolved is Resolved.MOVED):
            fate.resolution = resolution
            self._show(place, changes)

    def _show(self, place: SpokenPlace, changes: FoldChanges) -> None:
        """Bring the row in line with what is known of it now, and of cancellations of it."""
        for each in self.spoken.moved_with(place):
            spoken, now = self.spoken.events[each], self.spoken.amounts(each)
            changes.add(_key(spoken.event), UsageAmounts(*(new - old for new, old in zip(now, spoken.shown, strict=True))))
            spoken.shown = now
            changes.spoken.add(each)


def named_in(entry: Entry) -> Sequence[str]:
    """The identifiers of what this entry says something about that matters here: how a cancellation counts depends on what it cancels."""
    match entry:
        case Resolution() | Correction(kind=CorrectionKind.CANCEL):
            return (entry.target_identifier,)
        case Rejection():
            return entry.identifiers
        case _:
            return ()


def _settled(value: int, outcome: Outcome) -> UsageAmounts:
    if outcome in TAKEN:
        return UsageAmounts(open=-value, told=value)
    if outcome is Outcome.PARKED:
        return UsageAmounts(open=-value, doubt=value)
    if outcome is Outcome.POSTPONED:
        return UsageAmounts(open=-value, planned=-value)
    return UsageAmounts(open=-value, refused=value)


def _key(event: MeterEvent) -> UsagePlace:
    return UsagePlace(event.customer, event.meter, event.dimensions, hour_of(event.time_ms))


def _refused_by(settlement: Settlement, event: MeterEvent) -> RefusalLine:
    return _refused(SpokenPlace(settlement.intent, settlement.index), event, settlement.outcome, settlement.detail, settlement.at_ms)


def _refused(place: SpokenPlace, event: MeterEvent, outcome: str, detail: str, at_ms: int) -> RefusalLine:
    return RefusalLine(*place, event.customer, event.meter, event.time_ms, event.value, str(outcome), detail, at_ms)
