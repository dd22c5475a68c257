"""Corrections: find the meter event of an identifier, say what correcting it would be, write that to the ledger, and wait for its outcome.

Nothing here talks to Stripe. The reporter that owns the partition does what the correction says; this only decides, on the whole history of
the partition, and appends. What it decided on is all there was when the correction is accepted, or else the correction counts for nothing.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.corrections import Corrected, CorrectionHistory, CorrectionPlace, MeterEventPlace, Target, objection, place_of
from metering.folds.ledger import Ledger
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.kafka.topics import Topics
from metering.records.fail_closed import HistoryLost
from metering.records.ledger_records import Correction, CorrectionKind, Entry, MeterEvent, decode_entry, encode_entry
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.planning.planner import PLANNING_MARGIN_MS

CANCEL_WITHIN_MS: Final = 20 * HOUR_MS
"""How long after its intent a meter event is cancelled: Stripe cancels within 24 hours of having received it, which was later."""

TOO_OLD: Final = "its usage is older than Stripe takes meter events for: only the invoice can be corrected, by a credit note or an item"
ATTEMPTS_MAX: Final = 50
LEDGER_LOOK_SECONDS: Final = 0.5

T = TypeVar("T")

OnEntriesRead = Callable[[int, int], None]
"""Entries of the ledger's partition read so far, and in all."""


class NotCorrectable(TaximeterError):
    """This meter event must not be corrected so; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for: to take the meter event back (`undo`), or else to send it again. `reason` and `by` go into the ledger."""

    undo: bool
    reason: str
    by: str


class PartitionHistory:
    """One partition's ledger, folded from its start. Blocks on Kafka; raises LogUnavailable, and FailClosed for a log that is not sound."""

    def __init__(self, reader: LogReader, topics: Topics, partition: int) -> None:
        self.folded = CorrectionHistory()
        self.log_time_ms = 0
        self._reader = reader
        self._topic = topics.ledger.name
        self._partition = partition

    async def read_on(self, on_progress: OnEntriesRead = lambda _done, _total: None) -> None:
        """Fold everything up to the end of the log as it is now."""
        start, end = await self._reader.bounds(self._topic, self._partition)
        if start > 0:
            raise HistoryLost(
                f"the ledger of partition {self._partition} is kept from offset {start} on: what was corrected before is not known, so nothing may be"
            )
        async for offset, log_time_ms, entry in self._entries(self.folded.ledger.chain.next_offset, end):
            self.log_time_ms = max(self.log_time_ms, log_time_ms)
            self.folded.fold(offset, log_time_ms, entry)
            on_progress(offset + 1, end)

    async def append(self, appender: Appender, clock: Clock, written: Callable[[], T | None], planned: Callable[[], Entry]) -> T:
        """Append what is planned, and repeat while others' entries come before it; what is `written` already is returned.

        The log shows what became of an append that was not acknowledged: nothing is accepted twice. `planned` may raise NotCorrectable.
        """
        await self.read_on()
        for _ in range(ATTEMPTS_MAX):
            found = written()
            if found is not None:
                return found
            try:
                await appender.append(self._topic, self._partition, encode_entry(planned()))
            except LogUnavailable:
                await clock.sleep(LEDGER_LOOK_SECONDS)
            await self.read_on()
        found = written()
        if found is None:
            raise LogUnavailable(f"other entries came first {ATTEMPTS_MAX} times, or Kafka did not take ours; nothing was written: try again")
        return found

    async def _entries(self, start: int, end: int) -> AsyncIterator[tuple[int, int, Entry]]:
        place = PartitionPlace(self._topic, self._partition)
        async with aclosing(chain_records(self._reader, place, start, end, decode_entry)) as entries:
            async for entry in entries:
                yield entry


class Correcting:
    """Corrects the meter event at one place, whose partition must be one of the installation's. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, appender: Appender, topics: Topics, clock: Clock, place: MeterEventPlace) -> None:
        self._appender = appender
        self._clock = clock
        self._place = place
        self._history = PartitionHistory(reader, topics, place.partition)
        self._history.folded.watch([place])
        self._instance = f"correct-{secrets.token_hex(8)}"

    async def find(self, on_progress: OnEntriesRead = lambda _done, _total: None) -> Target:
        """The meter event, with all that has happened to it by now. Raises NotCorrectable if there is none; blocks on Kafka."""
        await self._history.read_on(on_progress)
        self._history.folded.ledger.check_open(self._place.partition)
        target = self._history.folded.target(self._place)
        if target is None:
            raise NotCorrectable(f"no accepted intent of partition {self._place.partition} has a meter event of this identifier")
        return target

    def kind(self, target: Target, request: Request) -> CorrectionKind:
        """What is to be done now. Raises NotCorrectable."""
        return kind_of(target, max(self._clock.now_ms(), self._history.log_time_ms), undo=request.undo)

    async def correct(self, request: Request) -> Corrected:
        """Append the correction, and repeat while others' entries come before it. Raises NotCorrectable; blocks on Kafka."""
        target = await self.find()
        return await self._history.append(
            self._appender,
            self._clock,
            lambda: next((found for found in target.corrections if found.correction.instance == self._instance), None),
            lambda: self._planned(target, self.kind(target, request), request),
        )

    async def settled(self, corrected: Corrected) -> Corrected:
        """The same correction when it has an outcome. Waits for the reporter, as long as that takes: give it a timeout."""
        while True:
            found = self._history.folded.corrections[corrected.offset]
            if found.fate.outcome is not None:
                return found
            await self._clock.sleep(LEDGER_LOOK_SECONDS)
            await self._history.read_on()

    def _planned(self, target: Target, kind: CorrectionKind, request: Request) -> Correction:
        draft = CorrectionDraft(self._place.partition, kind, target, target.event, request.reason, request.by)
        return draft.behind(self._history.folded.ledger, chain_id=self._place.chain_id, instance=self._instance, at_ms=self._clock.now_ms())


@dataclass(frozen=True, slots=True)
class CorrectionDraft:
    """What a correction does, why and by whom; `partition`: of the ledger that it is written to."""

    partition: int
    kind: CorrectionKind
    target: Target
    event: MeterEvent
    reason: str
    by: str

    def behind(self, ledger: Ledger, *, chain_id: str, instance: str, at_ms: int) -> Correction:
        """The entry that is accepted if it comes next in this ledger."""
        return Correction(
            chain_id=chain_id,
            partition=self.partition,
            offset=ledger.chain.next_offset,
            checkpoint=ledger.checkpoint,
            instance=instance,
            chain_head=ledger.chain.head,
            chain_end=ledger.chain.end,
            tally_head=ledger.tally_head,
            events_end=ledger.events_end,
            kind=self.kind,
            intent=self.target.intent,
            index=self.target.place.index,
            target_identifier=self.target.identifier,
            event=self.event,
            reason=self.reason,
            by=self.by,
            at_ms=at_ms,
        )


def kind_of(target: Target, now_ms: int, *, undo: bool) -> CorrectionKind:
    """Cancel while that is possible for certain, negate afterwards; or send again. Raises NotCorrectable, with the reason."""
    kind = _undoing(target, now_ms) if undo else CorrectionKind.RESEND
    reason = objection(target, kind)
    if reason is not None:
        raise NotCorrectable(reason)
    if kind is not CorrectionKind.CANCEL and now_ms >= target.event.time_ms + EVENT_AGE_MAX_MS - PLANNING_MARGIN_MS:
        raise NotCorrectable(TOO_OLD)
    return kind


def _undoing(target: Target, now_ms: int) -> CorrectionKind:
    """Stripe may free the identifier of what it cancels: then an attempt that is still on its way would be taken. So only what was sent once."""
    too_late = now_ms >= target.log_time_ms + CANCEL_WITHIN_MS
    refused = any(found.correction.kind is CorrectionKind.CANCEL for found in target.corrections)
    return CorrectionKind.NEGATE if too_late or refused or target.fate.repeated else CorrectionKind.CANCEL


def meter_event_place(identifier: str, partitions: int) -> MeterEventPlace:
    """The place that an identifier names. Raises NotCorrectable if it is not one of our identifiers, or is that of a correction."""
    place = place_of(identifier)
    if isinstance(place, CorrectionPlace):
        raise NotCorrectable(
            "it is the identifier of a correction, which is not corrected; if it is parked: taximeter correct ITS-IDENTIFIER --resend"
        )
    if place is None or place.partition >= partitions:
        raise NotCorrectable(
            f"it is no identifier of a meter event of this installation: tm-CHAIN-PARTITION-START-END-INDEX, partition below {partitions}"
        )
    return place
