"""A redrive: which set-aside events a person took back, how they were edited, and by whom. Records of usage.deadletters, beside the dead letters.

Its writer has read the whole partition and names the offset where the redrive must land. It is accepted if it landed there, so nothing came
between what its writer knew and the redrive, and an event is taken back by one redrive only. The events are written to usage.events by an
emitter whose id follows from the redrive, so a repetition has the same numbers. A *redrive end* says that it is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import begins_with, is_marked, text, whole
from metering.records.record import LogRecord

REDRIVE_HEADER: Final = "taximeter-redrive"
EDITS_MAX: Final = 64  # usage fields that one redrive renames, and that it leaves out
REDRIVE_FORMAT: Final = "redrive/1"
REDRIVE_END_FORMAT: Final = "redrive-end/1"

Places = Sequence[tuple[int, Sequence[int]]]
"""Events of usage.events, as offset and indexes within the batch; (0,) for a single event."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is changed in each event that is taken back: usage fields renamed or left out, another customer.

    `without_ids`: the ids are left out, so an event counts although another with its identity was counted.
    """

    rename: Sequence[tuple[str, str]] = ()
    drop: Sequence[str] = ()
    customer: str = ""
    without_ids: bool = False


NO_EDIT: Final = Edit()


@dataclass(frozen=True, slots=True)
class Redrive:
    """Takes back the events at `places` of the same partition of usage.events.

    `offset` is where it must land. Of `nameless` places the ids are left out because they are older than ids are remembered. Their writer looked
    for them in the log, from `searched_ms` on (Unix ms, its clock), and found no copy. `known` places were counted already: they are closed, and
    not written.
    """

    chain_id: str
    partition: int
    offset: int
    places: Places
    nameless: Places
    known: Places
    edit: Edit
    reason: str
    by: str
    at_ms: int
    searched_ms: int = 0

    @property
    def emitter(self) -> str:
        """The emitter that writes the events: a function of the redrive's place, so that every repetition has the same."""
        return f"redrive-{self.chain_id}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class RedriveEnd:
    """All events of the redrive at `redrive` are in usage.events."""

    redrive: int


def encode_redrive(record: Redrive | RedriveEnd) -> bytes:
    """The value of its record."""
    if isinstance(record, RedriveEnd):
        return orjson.dumps({"format": REDRIVE_END_FORMAT, "redrive": record.redrive})
    return orjson.dumps(
        {
            "format": REDRIVE_FORMAT,
            "chain": record.chain_id,
            "partition": record.partition,
            "offset": record.offset,
            "places": record.places,
            "nameless": record.nameless,
            "known": record.known,
            "rename": record.edit.rename,
            "drop": record.edit.drop,
            "customer": record.edit.customer,
            "without_ids": record.edit.without_ids,
            "reason": record.reason,
            "by": record.by,
            "at": record.at_ms,
            "searched_at": record.searched_ms,
        }
    )


def redrive_in(record: LogRecord) -> Redrive | RedriveEnd | None:
    """What a record of usage.deadletters takes back, or ends; None if it has no such header, or another than Taximeter wrote it: it takes nothing
    back, for every reader. Raises RecordCorrupt.
    """
    if not is_marked(record, REDRIVE_HEADER) or not begins_with(record.value, ("redrive/", "redrive-end/")):
        return None
    try:
        return decode_redrive(record.value)
    except RecordCorrupt as error:
        raise RecordCorrupt(f"offset {record.offset} of the dead letters: {error}", offset=record.offset) from error


def decode_redrive(value: bytes | None) -> Redrive | RedriveEnd:
    """Read the value of a record with the header REDRIVE_HEADER. Raises RecordCorrupt."""
    try:
        document = orjson.loads(value or b"")
        if document["format"] == REDRIVE_END_FORMAT:
            return RedriveEnd(whole(document["redrive"]))
        if document["format"] != REDRIVE_FORMAT:
            raise RecordCorrupt(f"unknown format {document['format']!r}; this version reads {REDRIVE_FORMAT}")
        renamed = [(text(old), text(new)) for old, new in document["rename"]]
        edit = Edit(renamed, tuple(map(text, document["drop"])), text(document["customer"]), bool(document["without_ids"]))
        return Redrive(
            text(document["chain"]),
            whole(document["partition"]),
            whole(document["offset"]),
            _places(document["places"]),
            _places(document["nameless"]),
            _places(document["known"]),
            edit,
            text(document["reason"]),
            text(document["by"]),
            whole(document["at"]),
            whole(document.get("searched_at", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a redrive: {error!r}") from error


def _places(entries: Any) -> Places:
    return [(whole(offset), tuple(map(whole, indexes))) for offset, indexes in entries]
