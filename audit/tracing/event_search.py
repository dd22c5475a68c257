"""Find events in records of usage.events. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from taximeter_emitter.wire.event import Dimensions

from audit.decoder.event_documents import identity_of
from audit.decoder.record_contents import BatchContents, SingleContents
from audit.decoder.record_reading import contents_of
from metering.records.record import LogRecord


class EventAt(NamedTuple):
    """An event in the log: `at` is its place within the record of this offset; times in Unix ms. `number` is its emitter's, if it has one."""

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


def query_for(event_id: str, source: str, customer: str | None) -> EventQuery:
    """For the event with this id."""
    return EventQuery(customer, identity_of(source, event_id))


def events_in(record: LogRecord) -> Iterator[EventAt]:
    """All events of a record; none where it cannot be read, and of a heartbeat."""
    contents = contents_of(record)
    if not isinstance(contents, SingleContents | BatchContents):
        return
    held = contents.events
    for at, series in enumerate(held.at):
        customer, dimensions = held.series[series]
        usage = tuple((name, column[at]) for name, column in held.usage.items() if column[at])
        event = EventAt(record.offset, at, record.timestamp, customer, dimensions, held.times[at], usage, held.identities[at])
        yield event._replace(emitter=contents.emitter, number=contents.first + at) if isinstance(contents, BatchContents) else event


def search(record: LogRecord, query: EventQuery) -> Iterator[EventAt]:
    """The events of a record that are meant."""
    if query.may_be_in(record.value or b""):
        yield from (event for event in events_in(record) if query.matches(event))
