"""Find events in records of usage.events. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.kept_ids import unpack_kept_ids

from audit.decoder.event_documents import identity_of
from audit.decoder.record_contents import BatchContents, SingleContents
from audit.decoder.record_reading import contents_of, name_of
from metering.records.record import LogRecord


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
        """Whether a record with this value is worth decoding. A customer with odd letters may be written in several ways."""
        return self.customer is None or not self.customer.isascii() or self.customer.encode() in value or b"\\u" in value

    def matches(self, event: EventAt) -> bool:
        """Whether this event is meant."""
        return self.customer in {None, event.customer} and self.fingerprint in {None, event.fingerprint}


EVERY_EVENT: Final = EventQuery()


def query_for(event_id: str, source: str, customer: str | None) -> EventQuery:
    """For the event with this id."""
    return EventQuery(customer, identity_of(source, event_id))


def events_in(record: LogRecord, query: EventQuery = EVERY_EVENT) -> Iterator[EventAt]:
    """The events of a record that are meant; none where it cannot be read, and of a heartbeat."""
    contents = contents_of(record)
    if not isinstance(contents, SingleContents | BatchContents):
        return
    held = contents.events
    names: Sequence[tuple[str, str]] | None = None
    for at, series in enumerate(held.at):
        customer, dimensions = held.series[series]
        usage = tuple((name, column[at]) for name, column in held.usage.items() if column[at])
        event = EventAt(record.offset, at, record.timestamp, customer, dimensions, held.times[at], usage, held.identities[at])
        if not query.matches(event):
            continue
        if names is None:
            names = _names(record, contents)
        source, event_id = names[at] if names else ("", "")
        event = event._replace(source=source, event_id=event_id)
        yield event._replace(emitter=contents.emitter, number=contents.first + at) if isinstance(contents, BatchContents) else event


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
    if query.may_be_in(record.value or b""):
        yield from events_in(record, query)
