"""Rows of what counts: accepted tallies, accepted entries of the ledger with the first outcome of each meter event, and events with theirs. Pure.

A row has the values of the columns of its dataset, in order.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from taximeter_emitter.wire.event import Dimensions

from audit.tracing.event_outcomes import outcomes_of
from audit.tracing.event_search import events_in
from metering.folds.ledger import Ledger
from metering.records.ledger_records import Correction, CorrectionKind, Entry, Intent, MeterEvent, Receipt, Rejection
from metering.records.notes.resolution import Resolution
from metering.records.record import LogRecord
from metering.records.tally import Tally


class ExportedRow(NamedTuple):
    """A row of a dataset, and the log time (Unix ms) whose day it belongs to."""

    dataset: str
    log_time_ms: int
    values: tuple[Any, ...]


def rows_of_tally(partition: int, offset: int, log_time_ms: int, tally: Tally) -> Iterator[ExportedRow]:
    """Of an accepted tally: what it counted, or what a plan changed by it."""
    plan = tally.adjustment
    by_plan = (None, None, None, None) if plan is None else (plan.plan, str(plan.kind), plan.by, plan.reason)
    for number, row in enumerate(tally.rows):
        place = (partition, offset, number, log_time_ms, row.customer, row.meter, _json(row.dimensions))
        yield ExportedRow("tallies", log_time_ms, (*place, row.window_start_ms, row.quantity, row.events, *by_plan))


def rows_of_events(partition: int, record: LogRecord, tally: Tally) -> Iterator[ExportedRow]:
    """Of a record in the range of an accepted tally; each event with what the tally says of it. Nothing of what cannot be read."""
    events = list(events_in(record))
    outcomes = outcomes_of(tally, record.offset, [event.at for event in events])
    for event, outcome in zip(events, outcomes, strict=True):
        values = (
            partition,
            record.offset,
            event.at,
            record.timestamp,
            event.time_ms,
            event.customer,
            event.source or None,
            event.event_id or None,
            event.fingerprint.hex() or None,
            event.emitter or None,
            event.number,
            _json(event.dimensions),
            _json(event.usage),
            outcome.value,
        )
        yield ExportedRow("events", record.timestamp, values)


def rows_of_entry(partition: int, fold: Ledger, offset: int, log_time_ms: int, entry: Entry) -> Sequence[ExportedRow]:
    """Take in the next entry of the ledger; what it says is sent, was answered, reported or decided."""
    settled = list(_outcomes(partition, fold, offset, log_time_ms, entry)) if isinstance(entry, Receipt) else []
    if not fold.fold(offset, log_time_ms, entry):
        return ()
    place = (partition, offset)
    match entry:
        case Intent():
            sent = [
                _sent(place, number, log_time_ms, (_kind("sent", event), entry.identifier(number), None), event)
                for number, event in enumerate(entry.meter_events)
            ]
            rest = [*((_kind("unbillable", event), event) for event in entry.unbillable), *(("superseded", event) for event in entry.superseded)]
            return sent + [_sent(place, number, log_time_ms, (kind, None, None), event) for number, (kind, event) in enumerate(rest, start=len(sent))]
        case Correction():
            adds = entry.kind in {CorrectionKind.RESEND, CorrectionKind.MOVE}
            about = (str(entry.kind), entry.identifier(), entry.target_identifier)
            return [_sent(place, 0, log_time_ms, about, entry.event, sign=1 if adds else -1)]
        case Rejection():
            says = f"{entry.code}: {entry.message}"
            return [
                ExportedRow("outcomes", log_time_ms, (*place, number, log_time_ms, identifier, "reported", says, entry.at_ms))
                for number, identifier in enumerate(entry.identifiers)
            ]
        case Resolution():
            values = (*place, 0, log_time_ms, entry.target_identifier, str(entry.resolved), entry.reason, entry.at_ms)
            return [ExportedRow("outcomes", log_time_ms, values)]
        case _:
            return settled


def _kind(kind: str, event: MeterEvent) -> str:
    """Values of one kind may be added up, so a latest value has kinds of its own."""
    return kind if event.reading is None else f"{kind}_latest"


def _outcomes(partition: int, fold: Ledger, offset: int, log_time_ms: int, receipt: Receipt) -> Iterator[ExportedRow]:
    for number, settlement in enumerate(fold.news(receipt)):
        identifier = fold.open[settlement.intent].entry.identifier(settlement.index)
        outcome = (identifier, str(settlement.outcome), settlement.detail, settlement.at_ms)
        yield ExportedRow("outcomes", log_time_ms, (partition, offset, number, log_time_ms, *outcome))


def _sent(
    place: tuple[int, int], number: int, log_time_ms: int, about: tuple[str, str | None, str | None], event: MeterEvent, *, sign: int = 1
) -> ExportedRow:
    values = (
        *place,
        number,
        log_time_ms,
        *about,
        event.customer,
        event.linked or event.customer,
        event.meter,
        _json(event.dimensions),
        event.time_ms,
        sign * event.value,
    )
    return ExportedRow("ledger", log_time_ms, values)


def _json(pairs: Dimensions | Sequence[tuple[str, int]]) -> str:
    return orjson.dumps(dict(pairs), option=orjson.OPT_SORT_KEYS).decode()
