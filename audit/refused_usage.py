"""What Stripe refused, or may not have, meter event by meter event: at once, later in an error report, or parked. And what was done about it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from audit.refusal_answers.refusal_suspects import unnamed_reports
from metering.folds.corrections import TAKEN, CorrectionHistory, MeterEventPlace, Target, correction_as_target, named_places
from metering.folds.distinct_reports import distinct
from metering.folds.ledger import Ledger
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_since
from metering.kafka.partition_log import LogReader
from metering.reconciliation.findings import EvidenceBook
from metering.records.ledger_records import Correction, Entry, Intent, Outcome, Receipt, Rejection, Settlement, decode_entry
from metering.records.notes.evidence import Evidence
from metering.records.notes.resolution import Resolved

REFUSED_MAX: Final = 100_000  # meter events of a partition that are listed
EVIDENCE_PAIRS_MAX: Final = 200_000
PARKED_CODE: Final = "parked"
REFUSED_CODE: Final = "refused"
LOST_CODE: Final = "lost"
_CODE_CHARS_MAX: Final = 100


class MendState(StrEnum):
    """What was done about it."""

    OPEN = "open"  # nothing yet
    SENDING = "sending"  # a correction is on its way
    SENT_AGAIN = "sent_again"
    MOVED = "moved"  # another customer is billed for it
    AT_STRIPE = "at_stripe"  # Stripe has it after all, as its sums show
    UNDECIDED = "undecided"  # nobody knows whether Stripe has it


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """One meter event, Stripe's code (or `parked`, `lost` by its sums, or `refused` where it gave none) and message, and when that was (Unix ms)."""

    target: Target
    code: str
    message: str
    at_ms: int

    @property
    def state(self) -> MendState:
        """What was done about it."""
        fate, standing = self.target.fate, self.target.standing
        if standing is not None:
            return MendState.SENT_AGAIN if standing.fate.at_stripe else MendState.SENDING
        if fate.resolution is not None:
            match fate.resolution.resolved:
                case Resolved.MOVED:
                    return MendState.MOVED
                case Resolved.AT_STRIPE:
                    return MendState.AT_STRIPE
                case _:
                    return MendState.OPEN
        return MendState.UNDECIDED if fate.at_stripe is None else MendState.OPEN


@dataclass(slots=True)
class PartitionRefusals:
    """Of one partition: what was refused, the error reports with what they do not name, and what evidence says last. `left_out`: there was more."""

    events: list[RefusedEvent] = field(default_factory=list)
    reports: list[Rejection] = field(default_factory=list)
    evidence: EvidenceBook = field(default_factory=lambda: EvidenceBook(EVIDENCE_PAIRS_MAX))
    left_out: int = 0


class RefusalFold:
    """Folds one partition. Pass every entry to `foresee` first, then every entry to `fold`; each reading has its own fold of the ledger."""

    def __init__(self, first: Ledger, second: Ledger) -> None:
        self._first = first
        self._history = CorrectionHistory()
        self._history.ledger = second
        self._why: dict[tuple[int, int], tuple[str, str, int]] = {}
        self._parked: dict[int, tuple[str, int]] = {}  # corrections, by their offset
        self._rejections: list[Rejection] = []
        self._found = PartitionRefusals()

    def foresee(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """Remember what this entry will speak of. Raises ChainBroken as the ledger does."""
        self._history.watch(named_places(entry))
        if isinstance(entry, Rejection):
            self._rejections.append(entry)
        elif isinstance(entry, Receipt):
            for settlement in self._first.news(entry):
                planned = self._first.open[settlement.intent].entry
                if isinstance(planned, Intent) and settlement.outcome in {Outcome.REJECTED, Outcome.PARKED}:
                    self._note(planned, settlement)
                elif isinstance(planned, Correction) and settlement.outcome is Outcome.PARKED:
                    self._parked[settlement.intent] = settlement.detail, settlement.at_ms
        self._first.fold(offset, log_time_ms, entry)

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry in log order. Raises ChainBroken as the ledger does."""
        self._history.fold(offset, log_time_ms, entry)
        if isinstance(entry, Evidence):
            self._found.evidence.take(entry.findings)

    def finish(self) -> PartitionRefusals:
        """All of it, after the last entry."""
        named = {name: each for each in distinct(self._rejections) for name in each.identifiers if "duplicate" not in each.code}
        for target in self._history.targets.values():
            why = self._why.get((target.intent, target.place.index))
            report = named.get(target.identifier)
            if why is None and report is not None and target.fate.outcome in TAKEN:
                why = report.code, report.message, report.at_ms
            found = target.fate.resolution
            if why is None and found is not None and found.resolved is not Resolved.AT_STRIPE and target.fate.outcome in TAKEN:
                why = LOST_CODE, found.reason, found.at_ms
            if why is not None:
                self._found.events.append(RefusedEvent(target, *why))
        for offset, (message, at_ms) in self._parked.items():
            corrected = self._history.corrections.get(offset)
            # What Stripe has not makes room for another correction, and what it corrects is listed itself.
            if corrected is not None and corrected.fate.at_stripe is not False:
                self._found.events.append(RefusedEvent(correction_as_target(corrected), PARKED_CODE, message, at_ms))
        self._found.events.sort(key=lambda each: each.at_ms)
        self._found.reports = unnamed_reports(self._rejections)
        return self._found

    def _note(self, planned: Intent, settlement: Settlement) -> None:
        if len(self._why) >= REFUSED_MAX:
            self._found.left_out += 1
            return
        code = PARKED_CODE if settlement.outcome is Outcome.PARKED else _code(settlement.detail)
        self._why[settlement.intent, settlement.index] = code, settlement.detail, settlement.at_ms
        self._history.watch([MeterEventPlace(planned.chain_id, planned.partition, *planned.place, settlement.index)])


class RefusalReader:
    """Reads usage.ledger. Every method may raise LogUnavailable or FailClosed; close it in the end."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = kafka.topics.ledger.name
        self._reader = LogReader(kafka, "refusals")

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def read(self, partition: int, since_ms: int) -> PartitionRefusals:
        """What was refused since then. Blocks on Kafka; reads the ledger since then twice."""
        start, end = await self._reader.bounds(self._topic, partition)
        begin, first = await ledger_since(self._reader, self._topic, partition, max(0, since_ms), start=start, end=end)
        _, second = await ledger_since(self._reader, self._topic, partition, max(0, since_ms), start=start, end=end)
        fold = RefusalFold(first, second)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                fold.foresee(offset, log_time_ms, entry)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                fold.fold(offset, log_time_ms, entry)
        return fold.finish()

    async def _entries(self, partition: int, begin: int, end: int) -> AsyncGenerator[tuple[int, int, Entry], None]:
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), begin, end, decode_entry)) as entries:
            async for entry in entries:
                yield entry


def _code(detail: str) -> str:
    """Stripe's code is the first word of what a refusal says, where it gave one."""
    word = detail.partition(":")[0].strip()
    return word[:_CODE_CHARS_MAX] if word and " " not in word else REFUSED_CODE
