"""What a verification found: counts, units by meter, and every sentence about what does not hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from audit.adjustments.plan_check import CheckedPlan
from audit.recount.aside_book import AsideTotals
from audit.refusal_answers.answer_fold import AnsweredReport
from audit.verification.plan_terms import plan_as_json
from audit.verification.stripe_evidence import StripeEvidence
from metering.records.ledger_records import CorrectionKind, MeterEvent, Outcome, Rejection

PROBLEMS_SHOWN: Final = 50
UNNAMED_REPORTS_MAX: Final = 1_000  # of a partition, that count more than they name
REPORTED: Final = frozenset({Outcome.ACCEPTED, Outcome.DUPLICATE})


def latest_name(meter: str) -> str:
    """The name, in a report, of a meter that tells the latest value: its units are values."""
    return f"{meter} (latest values)"


def weight(event: MeterEvent) -> int:
    """How many units of a report a meter event is, whatever its sign: a latest value is one."""
    return abs(event.value) if event.reading is None else 1


@dataclass(slots=True)
class MeterTotals:
    """Units of one meter, and the events behind `counted`. `outcomes`: units by what became of their meter event.

    `unrecorded` units Stripe accepted, and said later, or its sums show, that it did not record them. `proved` ones were parked, and Stripe's sums
    show that it has them. `corrected`: units that corrections took back or sent again; `correcting` ones are in corrections without an outcome.

    `uncovered` units are in tallies that no intent covers yet, `open` ones in intents without a final outcome. `carried` ones wait until Stripe
    takes their meter again: those that the verified intents leave to later ones, less those that they took over from earlier ones.

    Of a meter that tells the latest value, a unit is one value, and `passed` are those that a later one took the place of.

    `counted` is without `adjusted`, which plans added or took out. Both, and `uncovered`, have a sign. All other units are of meter events above
    zero. Those of meter events below zero are in `back`, without the sign: what could not be taken back must not be set off against what was
    not billed.
    """

    counted: int = 0
    adjusted: int = 0
    events: int = 0
    uncovered: int = 0
    open: int = 0
    carried: int = 0
    passed: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    unrecorded: int = 0
    proved: int = 0
    corrected: Counter[CorrectionKind] = field(default_factory=Counter)
    correcting: int = 0
    back: "MeterTotals | None" = None

    def told(self, value: int) -> "MeterTotals":
        """The totals that a meter event of this value is added to, without its sign: these or `back`."""
        if value >= 0:
            return self
        if self.back is None:
            self.back = MeterTotals()
        return self.back

    @property
    def reported(self) -> int:
        """Units that Stripe has, as the ledger says."""
        return sum(units for outcome, units in self.outcomes.items() if outcome in REPORTED)

    @property
    def not_billed(self) -> int:
        """Units with a final outcome that is not a bill: rejected, parked or unbillable."""
        return sum(units for outcome, units in self.outcomes.items() if outcome not in REPORTED)

    @property
    def unbillable(self) -> int:
        """Units that are older than Stripe takes."""
        return self.outcomes[Outcome.UNBILLABLE]

    @property
    def accounted(self) -> int:
        """Units by where they are: as many as were counted and adjusted."""
        here = self.reported + self.not_billed + self.uncovered + self.open + self.carried + self.passed
        return here - (self.back.accounted if self.back is not None else 0)

    @property
    def missing(self) -> int:
        """Units that Stripe should have, does not have, or may not have, and that no correction sent again."""
        return self.not_billed - self.unbillable + self.unrecorded - self.proved - self.sent_again

    @property
    def sent_again(self) -> int:
        """Units that corrections sent again, for the same customer or for another."""
        return self.corrected[CorrectionKind.RESEND] + self.corrected[CorrectionKind.MOVE]

    @property
    def unequal(self) -> int:
        """By how much what was counted and adjusted differs from what became of it; 0 if every unit is accounted for."""
        return self.counted + self.adjusted - self.accounted

    @property
    def billed(self) -> int:
        """Units that Stripe has in the end: what was reported, less what it did not record, less what was taken back, and what was sent again."""
        taken_back = self.corrected[CorrectionKind.CANCEL] + self.corrected[CorrectionKind.NEGATE]
        here = self.reported - self.unrecorded + self.proved - taken_back + self.sent_again
        return here - (self.back.billed if self.back is not None else 0)

    def add(self, other: "MeterTotals") -> None:
        """Add another partition's units."""
        self.counted += other.counted
        self.adjusted += other.adjusted
        self.events += other.events
        self.uncovered += other.uncovered
        self.open += other.open
        self.carried += other.carried
        self.passed += other.passed
        self.outcomes.update(other.outcomes)
        self.unrecorded += other.unrecorded
        self.proved += other.proved
        self.corrected.update(other.corrected)
        self.correcting += other.correcting
        if other.back is not None:
            self.told(-1).add(other.back)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "counted": self.counted,
            "adjusted": self.adjusted,
            "events": self.events,
            "reported": self.reported,
            "uncovered": self.uncovered,
            "open": self.open,
            "carried": self.carried,
            **({"passed": self.passed} if self.passed else {}),
            "outcomes": {outcome.value: units for outcome, units in sorted(self.outcomes.items())},
            "unrecorded": self.unrecorded,
            "proved": self.proved,
            "corrected": {kind.value: self.corrected[kind] for kind in CorrectionKind},
            "correcting": self.correcting,
            "billed": self.billed,
            **({} if self.back is None else {"back": self.back.as_json()}),
        }


@dataclass(frozen=True, slots=True)
class EmitterLine:
    """One emitter over all partitions: numbers sent (known exactly once it `closed`) and received, and those missing.

    `abandoned`: missing numbers whose sender knows that they may not have arrived. `dropped`: events lost before they were numbered.
    `lost`: missing numbers that may be among records which somebody accepted as lost. `silent`: it did not close, and has not been heard of
    for so long that it must have died; what it sent last may be missing without a trace.
    """

    emitter: str
    sent: int
    received: int
    missing: int
    abandoned: int
    dropped: int
    closed: bool
    lost: int = 0
    silent: bool = False

    @property
    def state(self) -> str:
        """closed, open, or silent."""
        return "closed" if self.closed else "silent" if self.silent else "open"


@dataclass(frozen=True, slots=True)
class AcceptedLoss:
    """A tally by which somebody accepted that the records [start, end) of usage.events are lost, or that ids are known only from `ids_from_ms` on."""

    partition: int
    tally: int
    start: int
    end: int
    ids_from_ms: int
    reason: str
    by: str
    at_ms: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "partition": self.partition,
            "tally": self.tally,
            "start": self.start,
            "end": self.end,
            "lost_records": self.end - self.start,
            "ids_known_from_ms": self.ids_from_ms,
            "reason": self.reason,
            "by": self.by,
            "at_ms": self.at_ms,
        }


@dataclass(frozen=True, slots=True)
class AcceptedStep:
    """A tally by which somebody passed over the records [start, end) of usage.events. `events`: how many they said to hold, if they could be read."""

    partition: int
    tally: int
    start: int
    end: int
    events: int | None
    reason: str
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class AcceptedHandover:
    """An accepted closing or adoption at `offset` of usage.ledger. `cluster` is the id of the other one, "" if it is not known.

    Of an adoption of a ledger that nobody had closed, `in_doubt` are units by meter, and `uncounted` the records of usage.events, of which nobody
    knows whether the cluster that was left told Stripe.
    """

    partition: int
    offset: int
    kind: str
    cluster: str
    in_doubt: Sequence[tuple[str, int]]
    uncounted: int
    reason: str
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Covered:
    """What of one partition a verification of a time range covers: [first, end) of usage.tallies, of usage.events, and the intents that
    report those tallies (None: none does), by the first and last of their offsets in usage.ledger."""

    partition: int
    tallies: tuple[int, int]
    events: tuple[int, int]
    intents: tuple[int, int] | None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"partition": self.partition, "tallies": self.tallies, "events": self.events, "intents": self.intents}


@dataclass(slots=True)
class Problems:
    """Sentences about what does not hold; all are counted, the first PROBLEMS_SHOWN kept."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.shown) < PROBLEMS_SHOWN:
            self.shown.append(sentence)

    def add_all(self, other: "Problems") -> None:
        """Note those of a part."""
        self.count += other.count
        self.shown += other.shown[: max(0, PROBLEMS_SHOWN - len(self.shown))]


@dataclass(slots=True)
class Underived:
    """Tallies whose rows were taken as they are: their records were deleted, or they do not say all that they leave out."""

    tallies: int = 0
    units: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """An open transaction of another producer: `records` offsets from `offset` on cannot be read before it ends."""

    partition: int
    offset: int
    records: int


@dataclass(slots=True)
class AcceptedRedrive:
    """A redrive at `offset` of usage.deadletters, which takes back `events` events; its emitter writes them. `ended`: all of them are written."""

    partition: int
    offset: int
    emitter: str
    events: int
    ended: bool = False


@dataclass(frozen=True, slots=True)
class PassedRecord:
    """A person's decision that nobody takes in the record at `offset` of `topic` (tallies or ledger)."""

    topic: str
    partition: int
    offset: int
    reason: str
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PassedBatchLine:
    """A person's decision that nobody takes in the batch [start, end) of `topic` (tallies or ledger), which could not be read: `why`."""

    topic: str
    partition: int
    start: int
    end: int
    why: str
    reason: str
    by: str
    at_ms: int


@dataclass(slots=True)
class Refusals:
    """What Stripe's error reports say: `named` meter events, and the `reports` that count more than they name, with what answers them.

    `unkept`: how many refusals without a name further reports count, by code.
    """

    named: int = 0
    reports: list[AnsweredReport] = field(default_factory=list)
    unkept: Counter[str] = field(default_factory=Counter)

    def add_report(self, report: Rejection) -> None:
        """A report that counts more than it names."""
        if len(self.reports) < UNNAMED_REPORTS_MAX:
            self.reports.append(AnsweredReport(report))
        else:
            self.unkept[report.code] += report.unnamed

    def add(self, other: "Refusals") -> None:
        """Another partition's."""
        self.named += other.named
        self.reports += other.reports
        self.unkept += other.unkept

    @property
    def unnamed(self) -> Counter[str]:
        """By code, how many refusals without a name nothing answers."""
        left = self.unkept.copy()
        for each in self.reports:
            left[each.report.code] += each.left
        return +left

    @property
    def answered(self) -> list[AnsweredReport]:
        """Reports of which at least one refusal is answered."""
        return [each for each in self.reports if each.answered]


@dataclass(slots=True)
class Moves:
    """Usage of one customer that another is billed for: what resolutions say so of, and what corrections bill, by the identifier of the meter
    event. They are in two partitions.
    """

    said: dict[str, MeterEvent] = field(default_factory=dict)
    billed: list[tuple[str, MeterEvent]] = field(default_factory=list)

    def add(self, other: "Moves") -> None:
        """Another partition's."""
        self.said |= other.said
        self.billed += other.billed

    @property
    def unbilled(self) -> dict[str, MeterEvent]:
        """Those that no correction bills yet."""
        done = {identifier for identifier, _ in self.billed}
        return {identifier: event for identifier, event in self.said.items() if identifier not in done}

    @property
    def problems(self) -> list[str]:
        """What was billed to another customer although nobody said so, or twice, or otherwise than it was."""
        times = Counter(identifier for identifier, _ in self.billed)
        found = [f"{identifier} is billed to another customer {count:,} times" for identifier, count in times.items() if count > 1]
        for identifier, event in self.billed:
            if self.said.get(identifier) != event:
                found.append(f"{identifier} is billed to {event.customer}, as no resolution says")
        return found


_SUMS: Final = (
    *("partitions", "tallies", "tallies_skipped", "intents", "intents_skipped", "receipts", "rejections", "corrections", "corrections_skipped"),
    *("uncounted_records", "not_recounted", "open_meter_events"),
)
_COUNTERS: Final = ("records", "events", "dead_lettered", "unknown_usage", "unread_partitions", "foreign_records")
_LISTS: Final = ("losses", "steps", "passed_over", "passed_batches", "covered", "open_transactions", "redrives", "handovers")


@dataclass(slots=True)
class Report:
    """Everything that was read, added up. Counts of records and events are those of the log, which the tallies were compared with.

    `unknown_usage`: units of counted events, by usage field, that are not billed because the catalogue did not know the field.
    `uncounted_records` can be read and are behind the end of the chains. `not_recounted` records were deleted by retention and are in tallies only.
    `foreign_records` are those of tallies and of the ledger that Taximeter did not write, by topic; `passed_over`, those that look as if it had.
    `passed_batches` could not be read, and a person decided that nobody takes them in.
    `unread_partitions`: records of partitions that exist and that nobody counts, by partition. `identity_share`: how many event ids there
    are for each that was looked at.
    """

    partitions: int = 0
    tallies: int = 0
    tallies_skipped: int = 0
    intents: int = 0
    intents_skipped: int = 0
    receipts: int = 0
    rejections: int = 0
    corrections: int = 0
    corrections_skipped: int = 0
    records: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    aside: dict[str, AsideTotals] = field(default_factory=dict)
    underived: Underived = field(default_factory=Underived)
    identity_share: int = 1
    redrives: list[AcceptedRedrive] = field(default_factory=list)
    unknown_usage: Counter[str] = field(default_factory=Counter)
    uncounted_records: int = 0
    open_transactions: list[OpenTransaction] = field(default_factory=list)
    unread_partitions: Counter[int] = field(default_factory=Counter)
    not_recounted: int = 0
    open_meter_events: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    evidence: StripeEvidence = field(default_factory=StripeEvidence)
    moves: Moves = field(default_factory=Moves)
    meters: dict[str, MeterTotals] = field(default_factory=dict)
    emitters: Sequence[EmitterLine] = ()
    losses: list[AcceptedLoss] = field(default_factory=list)
    steps: list[AcceptedStep] = field(default_factory=list)
    passed_over: list[PassedRecord] = field(default_factory=list)
    passed_batches: list[PassedBatchLine] = field(default_factory=list)
    foreign_records: Counter[str] = field(default_factory=Counter)
    handovers: list[AcceptedHandover] = field(default_factory=list)
    covered: list[Covered] = field(default_factory=list)
    plans: Sequence[CheckedPlan] = ()
    problems: Problems = field(default_factory=Problems)

    def meter(self, name: str) -> MeterTotals:
        """The totals of a meter, made at its first use."""
        return self.meters.setdefault(name, MeterTotals())

    def told(self, event: MeterEvent) -> MeterTotals:
        """The totals that this meter event is added to, without its sign."""
        return self.meter(event.meter if event.reading is None else latest_name(event.meter)).told(event.value)

    def add(self, other: "Report") -> None:
        """Add another partition's findings; emitters and plans are not added, they span partitions."""
        for name in (*_SUMS, *_LISTS):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name, totals in other.meters.items():
            self.meter(name).add(totals)
        for reason, aside in other.aside.items():
            self.aside.setdefault(reason, AsideTotals()).add(aside)
        self.underived.tallies += other.underived.tallies
        self.underived.units.update(other.underived.units)
        self.refusals.add(other.refusals)
        self.evidence.add(other.evidence)
        self.moves.add(other.moves)
        self.identity_share = max(self.identity_share, other.identity_share)
        self.problems.add_all(other.problems)

    @property
    def set_aside(self) -> Counter[str]:
        """Events that are set aside, by the reason that the tallies give, each once, and without those that came back."""
        return self.dead_lettered - Counter({reason: totals.came_back for reason, totals in self.aside.items()})

    @property
    def closed(self) -> list[AcceptedHandover]:
        """The closings of ledgers that are closed now."""
        last = {each.partition: each for each in self.handovers}
        return [each for each in last.values() if each.kind == "closing"]

    @property
    def is_left(self) -> bool:
        """Whether every ledger is closed: all goes on in another cluster."""
        return 0 < self.partitions == len(self.closed)

    @property
    def unfinished_redrives(self) -> list[tuple[AcceptedRedrive, int]]:
        """Redrives of which events are not counted or judged yet, and how many."""
        received = {line.emitter: line.received for line in self.emitters}
        waiting = [(redrive, redrive.events - received.get(redrive.emitter, 0)) for redrive in self.redrives]
        return [(redrive, missing) for redrive, missing in waiting if missing > 0]

    def as_json(self) -> dict[str, Any]:
        """For `--json`, without the verdict."""
        return {
            "partitions": self.partitions,
            "unread_partitions": {str(partition): records for partition, records in sorted(self.unread_partitions.items())},
            "tallies": {"accepted": self.tallies, "skipped": self.tallies_skipped},
            "underived": {"tallies": self.underived.tallies, "units": dict(self.underived.units)},
            "ledger": {
                "intents": self.intents,
                "skipped": self.intents_skipped,
                "receipts": self.receipts,
                "rejections": self.rejections,
                "corrections": self.corrections,
                "corrections_skipped": self.corrections_skipped,
                "open": self.open_meter_events,
            },
            "refusals": {
                "named": self.refusals.named,
                "unnamed": dict(self.refusals.unnamed),
                "answered": [each.as_json() for each in self.refusals.answered],
            },
            "stripe_evidence": self.evidence.as_json(),
            "moved": {"said": len(self.moves.said), "billed": len(self.moves.billed)},
            "records": dict(self.records),
            "plans": [plan_as_json(each) for each in self.plans],
            "losses": [loss.as_json() for loss in self.losses],
            "stepped_over": [asdict(step) for step in self.steps],
            "passed_over": [asdict(record) for record in self.passed_over],
            "passed_batches": [asdict(batch) for batch in self.passed_batches],
            "foreign_records": dict(self.foreign_records),
            "handovers": [{**asdict(each), "in_doubt": dict(each.in_doubt)} for each in self.handovers],
            "covered": [each.as_json() for each in self.covered],
            "uncounted_records": self.uncounted_records,
            "open_transactions": [{"partition": each.partition, "offset": each.offset, "records": each.records} for each in self.open_transactions],
            "not_recounted_records": self.not_recounted,
            "events": dict(self.events),
            "dead_lettered": dict(self.dead_lettered),
            "unknown_usage": dict(sorted(self.unknown_usage.items())),
            "set_aside": {
                reason: {
                    "events": events,
                    "units": {meter: units for meter, units in self.aside_of(reason).units.items() if units},
                    "counted_since": self.aside_of(reason).counted_since,
                    "redriven": self.aside_of(reason).redriven,
                }
                for reason, events in self.set_aside.items()
            },
            "redrives": [asdict(redrive) for redrive in self.redrives],
            "identities": {"one_in": self.identity_share},
            "meters": {name: totals.as_json() for name, totals in sorted(self.meters.items())},
            "emitters": [{**asdict(line), "state": line.state} for line in self.emitters],
            "problems": {"count": self.problems.count, "first": list(self.problems.shown)},
        }

    def aside_of(self, reason: str) -> AsideTotals:
        """What is known of the events that are set aside for this reason."""
        return self.aside.get(reason, AsideTotals())
