"""What a stretch of the log changes in the store's rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

HOURS_A_DAY: Final = 24


class UsagePlace(NamedTuple):
    """One row of usage: `hour` counts UTC hours since 1970."""

    customer: str
    meter: str
    dimensions: Dimensions
    hour: int


class UsageAmounts(NamedTuple):
    """Units, but for `events`. All but `counted` and `events` may go down; in sum over the log none is below zero but where Stripe's own is.

    `counted`: by the tallies, with what plans `adjusted`. `planned`: in an intent, to be sent or too old for Stripe. Of that, `open` has no
    outcome yet, `told` is at Stripe for sure, with corrections, `doubt` is there or not, `refused` is not and will not be. What is counted and not
    planned waits.
    """

    counted: int = 0
    adjusted: int = 0
    events: int = 0
    planned: int = 0
    open: int = 0
    told: int = 0
    doubt: int = 0
    refused: int = 0

    def plus(self, other: "UsageAmounts") -> "UsageAmounts":
        """The sum of both."""
        return UsageAmounts(*(mine + its for mine, its in zip(self, other, strict=True)))


NO_AMOUNTS: Final = UsageAmounts()


class SpokenPlace(NamedTuple):
    """The entry of the ledger at `offset`, and the place in it."""

    offset: int
    at: int


class PlanPart(NamedTuple):
    """An accepted adjustment: one part of a plan in one partition, and the units that it changed."""

    plan: str
    part: int
    parts: int
    kind: str
    by: str
    reason: str
    at_ms: int
    units: int


class RefusalLine(NamedTuple):
    """A meter event that Stripe has not, or may not have. `at` below zero: usage that was too old to be sent at all."""

    intent: int
    at: int
    customer: str
    meter: str
    time_ms: int
    value: int
    outcome: str
    detail: str
    at_ms: int


class LetterLine(NamedTuple):
    """A dead letter in one line; `origin` is the offset in usage.events that it is about, `first` the first of its events there."""

    offset: int
    origin: int
    first: int
    log_time_ms: int
    reason: str
    field: str
    detail: str
    events: int
    source: str
    customer: str


class IntentAt(NamedTuple):
    """Where an accepted intent is, by what its identifiers say."""

    first: int
    second: int
    offset: int
    hour: int


class HeldSum(NamedTuple):
    """Units that wait in the ledger because their meter, or their customer, is refused; `oldest_ms` is their earliest time."""

    customer: str
    meter: str
    units: int
    oldest_ms: int


@dataclass(slots=True)
class FoldChanges:
    """Gathered, and written in one transaction with the place up to which the log was folded. `held` None: as before.

    `billed`: by customer, who is billed for it at Stripe.
    """

    usage: dict[UsagePlace, UsageAmounts] = field(default_factory=dict)
    outcomes: Counter[tuple[int, str]] = field(default_factory=Counter)
    plans: list[PlanPart] = field(default_factory=list)
    refused: list[RefusalLine] = field(default_factory=list)
    letters: list[LetterLine] = field(default_factory=list)
    intents: list[IntentAt] = field(default_factory=list)
    spoken: set[SpokenPlace] = field(default_factory=set)
    held: Sequence[HeldSum] | None = None
    billed: dict[str, str] = field(default_factory=dict)

    def add(self, key: UsagePlace, amounts: UsageAmounts) -> None:
        """Add to a row. What is nothing, as a latest value is to a sum, makes none."""
        if not any(amounts):
            return
        before = self.usage.get(key)
        self.usage[key] = amounts if before is None else before.plus(amounts)

    @property
    def rows(self) -> int:
        """How much there is to write."""
        return len(self.usage) + len(self.refused) + len(self.letters) + len(self.intents) + len(self.spoken)


def hour_of(time_ms: int) -> int:
    """The UTC hour of a time in Unix ms."""
    return time_ms // HOUR_MS


def day_of(time_ms: int) -> int:
    """The UTC day of a time in Unix ms."""
    return time_ms // DAY_MS
