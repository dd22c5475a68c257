"""Dead letters, a line each. The tallies say how many events were set aside; the letters say which."""

from console.folding.usage_changes import FoldChanges, LetterLine
from metering.records.dead_letter import LETTER_HEADER, decode_dead_letter
from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import is_marked
from metering.records.record import LogRecord


def note_letter(record: LogRecord, changes: FoldChanges) -> None:
    """Gather a record of usage.deadletters. What is no letter, or cannot be read as one, says nothing here."""
    if not is_marked(record, LETTER_HEADER):
        return
    try:
        letter = decode_dead_letter(record)
    except RecordCorrupt:
        return
    customers = letter.origin.customers
    changes.letters.append(
        LetterLine(
            offset=record.offset,
            origin=letter.offset,
            first=letter.indexes[0] if letter.indexes else 0,
            log_time_ms=letter.log_time_ms,
            reason=letter.reason,
            field=letter.field,
            detail=letter.detail,
            events=letter.events,
            source=letter.origin.source or letter.origin.emitter,
            customer=customers[0][0] if customers else "",
        )
    )
