"""What Stripe refused after it had accepted it, read from usage.ledger and led back to the meter events."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from taximeter_emitter.wire.limits import HOUR_MS

from audit.refusal_answers.answer_fold import AnsweredReport
from audit.refusal_answers.refusal_suspects import key_of
from audit.resends import Resend, Resends
from metering.folds.distinct_reports import distinct
from metering.kafka.chain_records import PartitionPlace, first_chain_record, kept_records, taken_in
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import HistoryLost
from metering.records.ledger_records import (
    CORRECTION_FORMAT,
    RECEIPT_FORMAT,
    REJECTION_FORMAT,
    Correction,
    Entry,
    Intent,
    MeterEvent,
    Rejection,
    decode_entry,
)
from metering.records.notes.resolution import RESOLUTION_FORMAT, Resolution, Resolved
from metering.records.record import LogRecord

# A meter event is sent within 20 hours of its intent (or is parked), and validated soon after.
BEFORE_MS: Final = 24 * HOUR_MS
_IDENTIFIER: Final = re.compile(r"(tm-[0-9A-Za-z]+-[0-9]+)-(?:([0-9]+-[0-9]+)-([0-9]+)|c([0-9]+))", re.ASCII)
_FORMATS: Final = (REJECTION_FORMAT, CORRECTION_FORMAT, RECEIPT_FORMAT, RESOLUTION_FORMAT)
_REJECTION, _CORRECTION, _RECEIPT, _RESOLUTION = (b'{"format":"' + name.encode() + b'"' for name in _FORMATS)
# As encode_intent writes it, before anything that a customer could have chosen.
_INTENT: Final = re.compile(rb'"identifier":"([0-9A-Za-z-]+)"')

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TracedRejection:
    """One distinct rejection, with those of its identifiers whose meter event is in the ledger, and those that a correction sent again.

    `answer`: what the ledger has of those that it does not name; None if it names all.
    """

    rejection: Rejection
    events: dict[str, MeterEvent]
    resends: dict[str, Resend] = field(default_factory=dict)
    answer: AnsweredReport | None = None

    @property
    def sent_again(self) -> int:
        """How many of its errors are billed by now."""
        return min(self.rejection.error_count, sum(resend.is_billed for resend in self.resends.values()))

    @property
    def unbilled(self) -> int:
        """How many of its errors nothing made good."""
        return max(0, self.rejection.error_count - self.sent_again - (0 if self.answer is None else self.answer.mended))

    @property
    def unnamed(self) -> int:
        """How many refusals without a name nothing in the ledger answers."""
        return self.rejection.unnamed if self.answer is None else self.answer.left


def with_answers(rejections: Sequence[TracedRejection], answers: Sequence[AnsweredReport]) -> list[TracedRejection]:
    """The same, each with the answer that it has."""
    by_report = {key_of(each.report): each for each in answers}
    return [replace(each, answer=by_report.get(key_of(each.rejection))) for each in rejections]


class RejectionReader:
    """Reads the ledger. Raises LogUnavailable and RecordCorrupt; close it in the end."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = kafka.topics.ledger.name
        self._partitions = kafka.partitions
        self._reader = LogReader(kafka, "stripe-errors")
        self.found_lost = 0  # meter events of which Stripe's sums showed that it lacks them, in what was read last

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def read(self, since_ms: int) -> list[TracedRejection]:
        """The rejections written since then, oldest first."""
        rejections: list[Rejection] = []
        resends: dict[str, Resend] = {}
        self.found_lost = 0
        for partition in range(self._partitions):
            entries, again = await self._read_partition(partition, since_ms)
            rejections += entries
            resends |= again
        found = distinct(rejections)
        events: dict[str, MeterEvent] = {}
        targets: dict[str, str] = {}
        for partition in sorted({rejection.partition for rejection in found if rejection.identifiers}):
            events |= await self._events(partition, [rejection for rejection in found if rejection.partition == partition], targets)
        # A refused correction names the meter event that it sent, and is not what sent it again.
        again = {name: resends[target] for name, target in targets.items() if target in resends and resends[target].identifier != name}
        return [TracedRejection(each, _of(events, each), _of(again, each)) for each in found]

    async def _read_partition(self, partition: int, since_ms: int) -> tuple[list[Rejection], dict[str, Resend]]:
        """The rejections written since then, and the resends, which come after the rejection that they answer."""
        rejections: list[Rejection] = []
        resends = Resends()
        async with aclosing(self._since(partition, since_ms)) as records:
            async for record in records:
                value = record.value or b""
                if value.startswith((_REJECTION, _CORRECTION, _RESOLUTION)) or (resends.are_open and value.startswith(_RECEIPT)):
                    entry = await taken_in(self._reader, PartitionPlace(self._topic, partition), record, decode_entry)
                    if entry is None:
                        continue
                    resends.fold(record.offset, entry)
                    if isinstance(entry, Rejection):
                        rejections.append(entry)
                    elif isinstance(entry, Resolution) and entry.offset == record.offset and entry.resolved is Resolved.NOT_AT_STRIPE:
                        self.found_lost += 1
        return rejections, resends.by_target(rejections)

    async def _events(self, partition: int, rejections: Sequence[Rejection], targets: dict[str, str]) -> dict[str, MeterEvent]:
        """The meter events that these rejections name; `targets` gets the identifier of each as an intent gave it."""
        wanted: dict[str, dict[str, int]] = {}
        corrections: dict[str, int] = {}
        for name in {name for rejection in rejections for name in rejection.identifiers}:
            match = _IDENTIFIER.fullmatch(name)
            if match is not None and match[4] is not None:
                corrections[name] = int(match[4])
            elif match is not None:
                targets[name] = name
                wanted.setdefault(f"{match[1]}-{match[2]}", {})[name] = int(match[3])
        found: dict[str, MeterEvent] = {}
        since_ms = min(rejection.window_start_ms or rejection.at_ms for rejection in rejections) - BEFORE_MS
        if wanted:
            async with aclosing(self._since(partition, since_ms)) as records:
                async for record in records:
                    names = _wanted_in(record.value or b"", wanted)
                    entry = await taken_in(self._reader, PartitionPlace(self._topic, partition), record, decode_entry) if names else None
                    if isinstance(entry, Intent):
                        found |= {name: entry.meter_events[index] for name, index in names.items() if index < len(entry.meter_events)}
        for name, offset in corrections.items():
            entry = await self._entry(partition, offset)
            if isinstance(entry, Correction) and entry.identifier() == name:
                found[name] = entry.meter_events[0]
                targets[name] = entry.target_identifier
        return found

    async def _entry(self, partition: int, offset: int) -> Entry | None:
        start, end = await self._reader.bounds(self._topic, partition)
        if not start <= offset < end:
            return None
        found = await first_chain_record(self._reader, PartitionPlace(self._topic, partition), offset, offset + 1, decode_entry)
        return None if found is None else found[1]

    async def _since(self, partition: int, since_ms: int) -> AsyncGenerator[LogRecord, None]:
        start, end = await self._reader.bounds(self._topic, partition)
        at = await self._reader.offset_for_time(self._topic, partition, since_ms)
        if at is None:
            return
        try:
            async with aclosing(kept_records(self._reader, PartitionPlace(self._topic, partition), max(start, at), end)) as batches:
                async for records in batches:
                    for record in records:
                        yield record
        except HistoryLost:
            # Deleted while it was being read: the next time it is not asked for.
            return


def _of(found: Mapping[str, T], rejection: Rejection) -> dict[str, T]:
    """What is known of the identifiers that a rejection names."""
    return {name: found[name] for name in rejection.identifiers if name in found}


def _wanted_in(value: bytes, wanted: Mapping[str, dict[str, int]]) -> Mapping[str, int]:
    """Names and indexes of those of the wanted meter events that this record holds. Two writers may have made the same intent; both say the same."""
    match = _INTENT.search(value[:4096])
    return wanted.get(match[1].decode(), {}) if match is not None else {}
