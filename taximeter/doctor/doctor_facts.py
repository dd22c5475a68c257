"""What the doctor knows, by source. A source that did not answer says so in its own place and hides no other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audit.next_boundary import NextBoundary
from audit.positions import PACE_MS, PartitionPosition
from audit.stops import GroupSeen
from billing.checkup.checks import Check
from metering.folds.catalogue_timeline import CatalogueVersion
from taximeter.account_prices import PlanMoney

NO_PRICES: Final = PlanMoney(None, "Stripe was not asked for the prices")
COUNTED_WITHIN_MS: Final = 60_000  # of its use, where nothing is wrong
REPORT_ROUNDS: Final = 2  # what is gone after two reports is no backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeFacts:
    """What Stripe said. `problem`: why it cannot be asked; `refused`: whether that is because of the key. `events_limit`: meter events a second."""

    configured: bool = False
    problem: str = ""
    refused: bool = False
    checks: Sequence[Check] = ()
    boundary: NextBoundary | None = None
    money: PlanMoney = NO_PRICES
    events_limit: int = 0
    webhooks: bool = False


@dataclass(frozen=True, slots=True)
class GatewaySeen:
    """What the admin port at `address` said. `problem`: why the gateway takes no events, or does not answer; "" if it takes them."""

    address: str
    problem: str = ""
    answers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`kafka_problem`: why Kafka does not answer; then nothing of the log is known. `unasked`: what could not be read, each with the reason.

    `set_aside` are events by reason that nobody took back, `refused` meter events by code that nobody answered; None where they could not be read in
    time. `unnamed` are refusals that Stripe counts without naming them. `report_seconds` is the reporter's setting. Times are Unix ms.
    """

    now_ms: int
    version: str
    partitions: int
    hours: float
    report_seconds: float = 60.0
    kafka_problem: str = ""
    brokers: int = 0
    positions: Sequence[PartitionPosition] = ()
    groups: Mapping[str, GroupSeen] = field(default_factory=dict)
    gateways: Sequence[GatewaySeen] = ()
    topic_problems: Sequence[str] = ()
    set_aside: Mapping[str, int] | None = None
    refused: Mapping[str, int] | None = None
    unnamed: int = 0
    versions: Sequence[CatalogueVersion] | None = None
    stripe: StripeFacts = StripeFacts()
    unasked: Sequence[str] = ()

    @property
    def waiting_events(self) -> int:
        """Sums and meter events without a final outcome; corrections are none, and held usage is not among them."""
        return sum(each.uncovered_rows + each.open_meter_events - each.open_corrections for each in self.positions)

    @property
    def waits_since_ms(self) -> int | None:
        """When the oldest usage without a final outcome was counted; held usage has its own time."""
        return min((each.waits_since_ms for each in self.positions if each.waits_since_ms is not None), default=None)

    @property
    def is_stuck(self) -> bool:
        """Whether usage has waited for some minutes while nothing reached Stripe, or came back from it."""
        since = self.waits_since_ms
        still = not any(each.settled_lately for each in self.positions)
        return still and since is not None and self.now_ms - since > PACE_MS + self.report_seconds * 1000

    @property
    def uncounted(self) -> int:
        """Records that no tally covers yet."""
        return sum(each.uncounted for each in self.positions)

    @property
    def customer_units(self) -> list[tuple[str, int]]:
        """Meter and units of each customer whose usage waits, as prices want them."""
        found: Counter[tuple[str, str]] = Counter()
        for each in self.positions:
            found.update(each.waiting)
        return [(meter, units) for (_, meter), units in sorted(found.items()) if units]

    @property
    def catch_up_seconds(self) -> float | None:
        """How long what waits for Stripe takes; None if nobody can say.

        A backlog goes at the pace of the last minutes. What fits in two reports goes with the next ones, at the rate that the account allows.
        """
        waiting = self.waiting_events
        if not waiting:
            return None if self.kafka_problem else 0.0
        nobody = "reporter" in self.groups and not self.groups["reporter"].members
        if nobody or self.stripe.problem or not self.stripe.configured:
            return None
        pace = sum(each.settled_lately for each in self.positions) * 1000 / PACE_MS
        if pace and waiting > pace * self.report_seconds * REPORT_ROUNDS:
            return waiting / pace
        return self.report_seconds + waiting / max(1, self.stripe.events_limit)

    @property
    def deadline_ms(self) -> int | None:
        """When the next invoices become final that take some of what waits: those of a period that has just ended, if usage waits since before."""
        boundary, since = self.stripe.boundary, self.waits_since_ms
        if boundary is None:
            return None
        if boundary.ended_s is not None and since is not None and since <= boundary.ended_s * 1000 + COUNTED_WITHIN_MS:
            return (boundary.ended_s + boundary.grace_s) * 1000
        return None if boundary.at_s is None else (boundary.at_s + boundary.grace_s) * 1000
