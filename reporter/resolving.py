"""Decisions about meter events, on Stripe's sums or refusals: noted in the ledger, and carried out by corrections. Exact however often.

Nothing here talks to Stripe. One reading of a partition's history serves any number of meter events; each record that is written names the offset
where it must land, so what it was decided on is all there was.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from taximeter_emitter.clock import Clock

from metering.folds.corrections import Corrected, CorrectionPlace, MeterEventPlace, Target, correction_as_target, named_places, objection
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.topics import Topics
from metering.records.ledger_records import Correction, CorrectionKind, Entry, MeterEvent, Outcome
from metering.records.notes.resolution import Resolution, Resolved, SumRead
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.correcting import LEDGER_LOOK_SECONDS, TOO_OLD, CorrectionDraft, NotCorrectable, PartitionHistory, kind_of
from reporter.planning.planner import PLANNING_MARGIN_MS

Place = MeterEventPlace | CorrectionPlace
"""Of what was sent: a meter event of an intent, or a correction."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided of one meter event, and on which reads; `reason` and `by` go into the ledger. `to_customer` is for MOVED only."""

    resolved: Resolved
    reason: str
    by: str
    to_customer: str = ""
    reads: tuple[SumRead, ...] = ()


class Resolving:
    """Resolves, sends again and moves meter events. The reader and the appender stay their owner's; blocks on Kafka.

    Every method may raise LogUnavailable, and FailClosed for a log that is not sound.
    """

    def __init__(self, reader: LogReader, appender: Appender, topics: Topics, clock: Clock) -> None:
        self._reader = reader
        self._appender = appender
        self._topics = topics
        self._clock = clock
        self._histories: dict[int, PartitionHistory] = {}
        self._instance = f"correct-{secrets.token_hex(8)}"

    async def find(self, places: Iterable[Place]) -> dict[Place, Target]:
        """These meter events and corrections with all that happened to them; what is not accepted is left out. Call it once, before all else."""
        wanted = set(places)
        await self._read(wanted)
        corrections = [self._found(place) for place in wanted if isinstance(place, CorrectionPlace)]
        corrected = {original for each in corrections if each is not None for original in self._original_places(each)}
        if corrected - wanted:
            await self._read(wanted | corrected)
        found = {place: self._found(place) for place in wanted}
        return {place: target for place, target in found.items() if target is not None}

    async def _read(self, places: Collection[Place]) -> None:
        for partition in sorted({place.partition for place in places}):
            history = self._histories[partition] = PartitionHistory(self._reader, self._topics, partition)
            history.folded.watch(place for place in places if place.partition == partition and isinstance(place, MeterEventPlace))
            await history.read_on()

    def _found(self, place: Place) -> Target | None:
        folded = self._histories[place.partition].folded
        if isinstance(place, MeterEventPlace):
            return folded.target(place)
        corrected = folded.corrections.get(place.offset)
        found = None if corrected is None else correction_as_target(corrected)
        return found if found is not None and found.place == place else None

    def _original_places(self, target: Target) -> list[MeterEventPlace]:
        return named_places(self._histories[target.place.partition].folded.corrections[target.intent].correction)

    async def resolve(self, target: Target, decision: Decision) -> Resolution:
        """Note a decision, once. Raises NotCorrectable when it must not be, or when another one stands."""
        history = self._histories[target.place.partition]

        def planned() -> Entry:
            reason = resolution_objection(target, decision)
            if reason is not None:
                raise NotCorrectable(reason)
            return Resolution(
                chain_id=target.place.chain_id,
                partition=target.place.partition,
                offset=history.folded.ledger.chain.next_offset,
                instance=self._instance,
                intent=target.intent,
                index=target.place.index,
                target_identifier=target.identifier,
                resolved=decision.resolved,
                to_customer=decision.to_customer,
                reads=decision.reads,
                reason=decision.reason,
                by=decision.by,
                at_ms=self._clock.now_ms(),
            )

        return await history.append(self._appender, self._clock, lambda: _stands(target, decision), planned)

    async def resend(self, target: Target, decision: Decision, *, undo: bool = False) -> Corrected:
        """Send it again under a new identifier, once, or take it back (`undo`). Raises NotCorrectable."""
        history = self._histories[target.place.partition]

        def written() -> Corrected | None:
            return next((found for found in target.corrections if found.correction.instance == self._instance), None)

        def planned() -> Entry:
            kind = kind_of(target, max(self._clock.now_ms(), history.log_time_ms), undo=undo)
            return self._correction(history, target.place.partition, kind, target, event=target.event, decision=decision)

        return await history.append(self._appender, self._clock, written, planned)

    async def repeat(self, target: Target, decision: Decision) -> Corrected:
        """Do once more what a correction did, that Stripe has not, as a resolution says. Raises NotCorrectable."""
        (place,) = self._original_places(target)
        original = self._found(place)
        if original is None:
            raise NotCorrectable("no accepted intent has the meter event that it corrects")
        match self._histories[target.place.partition].folded.corrections[target.intent].correction.kind:
            case CorrectionKind.MOVE:
                return await self.bill(original, target.place.partition, decision)
            case kind:
                return await self.resend(original, decision, undo=kind is not CorrectionKind.RESEND)

    async def bill(self, target: Target, partition: int, decision: Decision) -> Corrected:
        """Bill what was moved to the customer that the resolution names, in that customer's partition, once. Raises NotCorrectable."""
        moved = target.fate.resolution
        if moved is None or moved.resolved is not Resolved.MOVED:
            raise NotCorrectable("no resolution moves it to another customer")
        history = await self._history(partition)
        if history.folded.ledger.chain_id is None:
            raise NotCorrectable(f"nothing was reported in partition {partition}, that of {moved.to_customer}, yet: try again when something was")
        event = replace(target.event, customer=moved.to_customer, linked="")

        def written() -> Corrected | None:
            return next((found for found in history.folded.corrections.values() if _bills(found, target)), None)

        def planned() -> Entry:
            self._check_age(history, event)
            return self._correction(history, partition, CorrectionKind.MOVE, target, event=event, decision=decision)

        return await history.append(self._appender, self._clock, written, planned)

    async def outcomes(self, corrected: Sequence[Corrected]) -> None:
        """Wait until each of these corrections has an outcome, as long as that takes: give it a timeout."""
        while any(found.fate.outcome is None for found in corrected):
            await self._clock.sleep(LEDGER_LOOK_SECONDS)
            for partition in {found.correction.partition for found in corrected if found.fate.outcome is None}:
                await self._histories[partition].read_on()

    async def _history(self, partition: int) -> PartitionHistory:
        if partition not in self._histories:
            self._histories[partition] = PartitionHistory(self._reader, self._topics, partition)
        await self._histories[partition].read_on()
        return self._histories[partition]

    def _check_age(self, history: PartitionHistory, event: MeterEvent) -> None:
        if max(self._clock.now_ms(), history.log_time_ms) >= event.time_ms + EVENT_AGE_MAX_MS - PLANNING_MARGIN_MS:
            raise NotCorrectable(TOO_OLD)

    def _correction(
        self, history: PartitionHistory, partition: int, kind: CorrectionKind, target: Target, *, event: MeterEvent, decision: Decision
    ) -> Correction:
        ledger = history.folded.ledger
        draft = CorrectionDraft(partition, kind, target, event, decision.reason, decision.by)
        return draft.behind(ledger, chain_id=ledger.chain_id or target.place.chain_id, instance=self._instance, at_ms=self._clock.now_ms())


def resolution_objection(target: Target, decision: Decision) -> str | None:
    """Why this must not be decided of this meter event, as a sentence; None if it may be."""
    fate, standing = target.fate, target.standing
    if fate.outcome is None:
        return "it has no outcome yet: try again when the reporter has settled it"
    if fate.outcome in {Outcome.UNBILLABLE, Outcome.POSTPONED}:
        return f"it is {fate.outcome}, so it was never sent"
    if standing is not None:
        return f"it is corrected already: {standing.correction.kind} at offset {standing.offset}, by {standing.correction.by}"
    if fate.resolution is not None and not (decision.resolved is Resolved.MOVED and fate.resolution.resolved is Resolved.NOT_AT_STRIPE):
        return f"it is resolved already: {fate.resolution.resolved}, by {fate.resolution.by}"
    if decision.resolved is Resolved.MOVED:
        return objection(target, CorrectionKind.MOVE)
    if fate.outcome is Outcome.REJECTED:
        return "Stripe refused it by name: nothing is in doubt"
    if decision.resolved is Resolved.AT_STRIPE and fate.at_stripe:
        return "Stripe has it, as the ledger says"
    return None


def _stands(target: Target, decision: Decision) -> Resolution | None:
    """The accepted resolution that says the same."""
    found = target.fate.resolution
    same = found is not None and (found.resolved, found.to_customer) == (decision.resolved, decision.to_customer)
    return found if same else None


def _bills(found: Corrected, target: Target) -> bool:
    """Whether this correction bills the moved meter event, or may. One that Stripe certainly does not have makes room for another."""
    correction = found.correction
    return correction.kind is CorrectionKind.MOVE and correction.target_identifier == target.identifier and found.fate.at_stripe is not False
