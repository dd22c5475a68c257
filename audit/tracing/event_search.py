"""Find events in records of usage.events. Pure."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.kept_ids import unpack_kept_ids

from audit.decoder.event_documents import identity_of
from audit.decoder.record_contents import BatchContents, SingleContents
from audit.decoder.record_reading import contents_of, name_of
from metering.records.notes.looked_up_ids import LOOKED_UP_HEADER
from metering.records.record import LogRecord

BATCH_BEGINS: Final = b'{"taximeter"'


class EventAt(NamedTuple):
    """An event in the log: `at` is its place within the record of this offset; times in Unix ms. `number` is its emitter's, if it has one.

    `source` and `event_id` are known of single events, and of batches whose ids were kept; otherwise they are empty.
    """

    offset: int
    at: int
    log_time_ms: int
    customer: str
    dimensions: Dimensions
    time_ms: int
    usage: tuple[tuple[str, int], ...]
    fingerprint: bytes
    emitter: str = ""
    number: int | None = None
    source: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events are meant: every condition that is given must hold. `fingerprint`: of source and id."""

    customer: str | None = None
    fingerprint: bytes | None = None

    def may_be_in(self, value: bytes) -> bool:
        """Whether a record with this value is worth decoding: looking for bytes takes a hundredth of the time.

        A text with odd letters may be written in several ways, and so may anything in a value that has a backslash.
        """
        if b"\\" in value:
            return True
        if self.customer is not None and self.customer.isascii() and self.customer.encode() not in value:
            return False
        if self.fingerprint is None or not value.startswith(BATCH_BEGINS):
            return True
        return any(text in value for text in base64_parts(self.fingerprint))


EVERY_EVENT: Final = EventQuery()


@lru_cache(maxsize=16)
def base64_parts(fingerprint: bytes) -> tuple[bytes, ...]:
    """What the base64 of many fingerprints has of this one, wherever it is: three bytes are four letters, so there are three ways.

    Letters that its neighbours share are left out.
    """
    found = []
    for before in range(3):
        text = b64encode(bytes(before) + fingerprint + bytes(-(before + len(fingerprint)) % 3))
        first, last = -(-before * 8 // 6), (before + len(fingerprint)) * 8 // 6
        found.append(text[first:last])
    return tuple(found)


def query_for(event_id: str, source: str, customer: str | None) -> EventQuery:
    """For the event with this id."""
    return EventQuery(customer, identity_of(source, event_id))


def events_in(record: LogRecord, query: EventQuery = EVERY_EVENT) -> Iterator[EventAt]:
    """The events of a record that are meant; none where it cannot be read, and of a heartbeat."""
    contents = contents_of(record)
    if not isinstance(contents, SingleContents | BatchContents):
        return
    held, customer, wanted = contents.events, query.customer, query.fingerprint
    marks = held.identities
    batch = contents if isinstance(contents, BatchContents) else None
    names: Sequence[tuple[str, str]] | None = None
    columns = list(held.usage.items())
    # Some millions of events may be passed over, or listed: each line here is paid for by each of them.
    for at, series in enumerate(held.at):
        owner, dimensions = held.series[series]
        if (customer is not None and owner != customer) or (wanted is not None and marks[at] != wanted):
            continue
        if names is None:
            names = _names(record, contents)
        source, event_id = names[at] if names else ("", "")
        yield EventAt(
            record.offset,
            at,
            record.timestamp,
            owner,
            dimensions,
            held.times[at],
            tuple([(name, column[at]) for name, column in columns if column[at]]),
            marks[at],
            "" if batch is None else batch.emitter,
            None if batch is None else batch.first + at,
            source,
            event_id,
        )


def _names(record: LogRecord, contents: SingleContents | BatchContents) -> Sequence[tuple[str, str]]:
    """Source and id of each event; nothing for a batch that does not keep them, or whose text is damaged: nothing is counted by it."""
    if isinstance(contents, SingleContents):
        return [name_of(record)]
    held = contents.events
    try:
        return unpack_kept_ids(held.kept_ids, len(held.at)) if held.kept_ids else ()
    except ValueError:
        return ()


def search(record: LogRecord, query: EventQuery) -> Iterator[EventAt]:
    """The events of a record that are meant."""
    if any(name == LOOKED_UP_HEADER for name, _ in record.headers) or query.may_be_in(record.value or b""):
        yield from events_in(record, query)
