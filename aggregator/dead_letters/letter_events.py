"""The events of a dead letter, and what an edit makes of them. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, TIME_MS_MAX, Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions, UsageEvent, parse_event
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.reading.decoding import read
from metering.records.dead_letter import DeadLetter
from metering.records.record import Record
from metering.records.redrive import NO_EDIT, Edit

Identity: TypeAlias = tuple[str, bytes]
"""Customer and fingerprint."""


class LetterEvent(NamedTuple):
    """One event that was set aside: its place within its record (`at`), `fingerprint` of 16 bytes (zeros: it has none), and its content."""

    at: int
    customer: str
    dimensions: Dimensions
    time_ms: int
    usage: tuple[tuple[str, int], ...]
    fingerprint: bytes

    @property
    def identity(self) -> Identity:
        """What no two events that count have in common."""
        return self.customer, self.fingerprint


def events_of(letter: DeadLetter, edit: Edit = NO_EDIT) -> list[LetterEvent]:
    """The events of a letter after an edit, each at its place. Raises EventRejected when they cannot be read, also so."""
    record = Record(letter.offset, letter.log_time_ms, letter.key, letter.value, letter.headers)
    content = read(record) if edit == NO_EDIT else _edited_record(record, edit)
    if isinstance(content, UsageEvent):
        mark = NO_ID if edit.without_ids else content.fingerprint
        return [LetterEvent(0, content.customer, content.dimensions, content.time_ms, content.usage, mark)]
    # Without ids nobody tells copies apart, so that a clock may be ahead as far as it likes.
    ahead_max_ms = TIME_MS_MAX if edit.without_ids else CLOCK_AHEAD_MAX_MS
    indexes = letter.indexes or range(content.count)
    return [_edited(event_of_batch(content, index, letter.log_time_ms, ahead_max_ms=ahead_max_ms), edit) for index in indexes]


def indexes_of(letter: DeadLetter) -> Sequence[int]:
    """The indexes of its events, also where they cannot be read."""
    return letter.indexes or range(letter.events)


def event_of_batch(batch: Batch, index: int, log_time_ms: int, *, ahead_max_ms: int = CLOCK_AHEAD_MAX_MS) -> LetterEvent:
    """The event at this index of a batch; `log_time_ms`: of its record. A stamped time that is later is moved to it, if it is not too far ahead."""
    series = batch.at[index]
    usage = tuple((name, column[index]) for name, column in sorted(batch.usage.items()) if column[index])
    dimensions = batch.dimensions[batch.series_dimensions[series]]
    time_ms = batch.base_time_ms + batch.time[index]
    stamped = batch.stamped if isinstance(batch.stamped, bool) else batch.stamped[index]
    if stamped and 0 < time_ms - log_time_ms <= ahead_max_ms:
        time_ms = log_time_ms
    return LetterEvent(index, batch.customers[series], dimensions, time_ms, usage, fingerprint_at(batch, index))


def fingerprint_at(batch: Batch, index: int) -> bytes:
    """That of an event of a batch; NO_ID where it has none but its number."""
    return batch.ids[index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES] or NO_ID


def _edited(event: LetterEvent, edit: Edit) -> LetterEvent:
    """An event of a batch."""
    return event._replace(
        customer=edit.customer or event.customer,
        usage=_edited_usage(event.usage, edit),
        fingerprint=NO_ID if edit.without_ids else event.fingerprint,
    )


def _edited_usage(usage: Sequence[tuple[str, int]], edit: Edit) -> tuple[tuple[str, int], ...]:
    names = dict(edit.rename)
    summed: dict[str, int] = {}
    for name, quantity in usage:
        if name not in edit.drop:
            summed[names.get(name, name)] = summed.get(names.get(name, name), 0) + quantity
    return tuple(sorted(summed.items()))


def _edited_record(record: Record, edit: Edit) -> Batch | UsageEvent:
    """A single event is edited before it is judged, so that an edit may mend what made it unreadable."""
    document = _document(record)
    if document is None:
        content = read(record)
        if isinstance(content, UsageEvent):  # a CloudEvent: its data is judged as it is
            return content._replace(customer=edit.customer or content.customer, usage=_edited_usage(content.usage, edit))
        return content
    if edit.customer:
        document["customer"] = edit.customer
    usage = document.get("usage")
    if isinstance(usage, dict):
        for name in edit.drop:
            usage.pop(name, None)
        for old, new in edit.rename:
            if old in usage and new not in usage:
                usage[new] = usage.pop(old)
    return parse_event(document, arrival_ms=record.timestamp)


def _document(record: Record) -> dict[str, Any] | None:
    """The JSON object of a single event in its own form; None for everything else."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or "taximeter" in document or "specversion" in document:
        return None
    return None if any(name.lower().startswith(("ce_", "ce-")) for name, _ in record.headers) else document


def readable_events(letter: DeadLetter, edit: Edit = NO_EDIT) -> list[LetterEvent]:
    """The events of a letter after an edit; none where they cannot be read."""
    try:
        return events_of(letter, edit)
    except EventRejected:
        return []
