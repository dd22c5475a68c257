"""Meter events and corrections that something later in the ledger speaks of: an error report, a decision, a correction. Each is kept by name.

All other meter events are forgotten once they are settled: only their sums stay.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from console.folding.usage_changes import NO_AMOUNTS, SpokenPlace, UsageAmounts
from metering.folds.corrections import CorrectionPlace, Fate, MeterEventPlace, place_of
from metering.records.ledger_records import Correction, CorrectionKind, MeterEvent, Outcome

SENT: Final = "sent"
"""The kind of what an intent sent; others are corrections."""


@dataclass(slots=True)
class SpokenEvent:
    """`value` is by what Stripe's sum changes if Stripe has it. `target`: what a cancellation cancels. `shown`: what of it is in the rows now."""

    event: MeterEvent
    value: int
    kind: str = SENT
    target: SpokenPlace | None = None
    identifier: str = ""
    fate: Fate = field(default_factory=Fate)
    shown: UsageAmounts = NO_AMOUNTS

    def amounts(self, target: "SpokenEvent | None") -> UsageAmounts:
        """What it adds to its row. `target`: what it cancels, if that is spoken of itself."""
        fate, value = self.fate, self.value
        if self.kind == SENT and fate.outcome is Outcome.POSTPONED and fate.resolution is None:
            return NO_AMOUNTS  # a later intent has it
        if self.kind == CorrectionKind.CANCEL and target is not None and target.fate.at_stripe is False:
            return NO_AMOUNTS  # what was not recorded is not cancelled: Stripe has nothing less
        planned = value if self.kind == SENT else 0
        if fate.outcome is None and fate.resolution is None:
            return UsageAmounts(planned=planned, open=value)
        if fate.at_stripe is None:
            return UsageAmounts(planned=planned, doubt=value)
        if fate.at_stripe:
            return UsageAmounts(planned=planned, told=value)
        return UsageAmounts(planned=planned, refused=value if self.kind == SENT else 0)


def spoken_correction(correction: Correction) -> SpokenEvent:
    """A correction that was accepted, and has no outcome yet."""
    adds = correction.kind in {CorrectionKind.RESEND, CorrectionKind.MOVE}
    value = correction.event.value if adds else -correction.event.value
    target = SpokenPlace(correction.intent, correction.index) if correction.kind is CorrectionKind.CANCEL else None
    return SpokenEvent(correction.event, value, correction.kind, target, correction.identifier())


class SpokenBook:
    """All of one partition, by place; found by identifier, too, and what was cancelled by its cancellations."""

    def __init__(self, events: Mapping[SpokenPlace, SpokenEvent] | None = None) -> None:
        self.events: dict[SpokenPlace, SpokenEvent] = {}
        self._by_name: dict[MeterEventPlace | CorrectionPlace | None, SpokenPlace] = {}
        self._cancelled_by: defaultdict[SpokenPlace, list[SpokenPlace]] = defaultdict(list)
        for place, spoken in (events or {}).items():
            self.add(place, spoken)

    def add(self, place: SpokenPlace, spoken: SpokenEvent) -> None:
        """One more."""
        self.events[place] = spoken
        self._by_name[place_of(spoken.identifier)] = place
        if spoken.target is not None:
            self._cancelled_by[spoken.target].append(place)

    def named(self, identifier: str) -> SpokenPlace | None:
        """The one that this identifier, or an idempotency key made of it, stands for; None if it is not here."""
        name = place_of(identifier)
        return None if name is None else self._by_name.get(name)

    def moved_with(self, place: SpokenPlace) -> Sequence[SpokenPlace]:
        """It, and what depends on how it stands."""
        return [place, *self._cancelled_by.get(place, ())]

    def amounts(self, place: SpokenPlace) -> UsageAmounts:
        """What it adds to its row as things stand."""
        spoken = self.events[place]
        return spoken.amounts(None if spoken.target is None else self.events.get(spoken.target))
