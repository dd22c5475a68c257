"""Find what the ledger says of a tally's usage: the intent that reports it, its meter events, and what became of each."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS

from metering.folds.corrections import CorrectionPlace, MeterEventPlace, place_of
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record
from metering.kafka.ledger_log import ledger_since
from metering.kafka.partition_log import LogReader
from metering.records.ledger_records import Correction, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection, Settlement, decode_entry
from metering.records.notes.resolution import Resolution

_LARGEST_WINDOW_MS: Final = 6 * HOUR_MS
_LARGEST_CARRIED_MS: Final = 7 * DAY_MS


@dataclass(slots=True)
class ReportedEvent:
    """A meter event of the accepted intent at offset `intent`. `settled` is its final outcome; None while it is open."""

    intent: int
    planned_ms: int
    identifier: str
    event: MeterEvent
    settled: Settlement | None = None
    corrections: list[tuple[int, Correction, Outcome | None]] = field(default_factory=list)
    reports: list[Rejection] = field(default_factory=list)
    resolution: Resolution | None = None


@dataclass(slots=True)
class TallyReport:
    """What the ledger says of one tally: the intent that covers it (None: none does yet), and the meter events that may hold its usage.

    Usage that an intent carries, because Stripe refuses its meter, is followed into the intents behind it. Of a latest value it is the first meter
    event with that value, or with a later one. `superseded`: Stripe had a later one of its billing period before.
    """

    intent: int | None = None
    events: list[ReportedEvent] = field(default_factory=list)
    carried: bool = False
    unbillable: bool = False
    superseded: bool = False


class UsageAt(NamedTuple):
    """Usage of a customer and meter at this time (Unix ms)."""

    customer: str
    meter: str
    time_ms: int


class _ReadEntry(NamedTuple):
    """An entry as the fold took it: the first final outcomes in it, and whether it was accepted."""

    offset: int
    log_time_ms: int
    entry: Entry
    news: Sequence[Settlement]
    accepted: bool


class _ReportFold:
    """Follows usage of one tally through the ledger: what it added to `sums`, and its latest values."""

    def __init__(self, tally: int, sums: Sequence[UsageAt], values: Sequence[UsageAt]) -> None:
        self.found = TallyReport()
        self._tally = tally
        self._sums = sums
        self._values = list(values)
        self._watched: dict[tuple[int, int], ReportedEvent] = {}
        self._corrections: dict[int, tuple[ReportedEvent, int]] = {}

    def take(self, read: _ReadEntry) -> None:
        """The next entry."""
        match read.entry:
            case Intent() as intent if read.accepted and (intent.link.start <= self._tally < intent.link.end or self.found.carried):
                self._plan(read, intent)
            case Correction() as correction if read.accepted and (correction.intent, correction.index) in self._watched:
                target = self._watched[correction.intent, correction.index]
                if correction.target_identifier != target.identifier:
                    return  # of a meter event in another partition
                self._corrections[read.offset] = target, len(target.corrections)
                target.corrections.append((read.offset, correction, None))
            case Receipt():
                for settlement in read.news:
                    self._settle(settlement)
            case Resolution() as resolution if read.accepted:
                for each in self.found.events:
                    if each.identifier == resolution.target_identifier:
                        each.resolution = resolution
            case Rejection() as rejection:
                for each in self.found.events:
                    if each.identifier in rejection.identifiers:
                        each.reports.append(rejection)
            case _:
                pass

    def _plan(self, read: _ReadEntry, intent: Intent) -> None:
        found = self.found
        found.intent = read.offset if found.intent is None else found.intent
        # Usage that was carried may be in larger windows.
        largest_ms = _LARGEST_CARRIED_MS if found.carried else _LARGEST_WINDOW_MS
        found.carried = any(self._holds(event, _LARGEST_CARRIED_MS) for event in intent.carried)
        found.unbillable |= any(self._holds(event, largest_ms) for event in intent.unbillable)
        found.superseded |= any(_told(event, each) for event in intent.superseded for each in self._values)
        for index, event in enumerate(intent.meter_events):
            if self._holds(event, largest_ms):
                self._watched[read.offset, index] = ReportedEvent(read.offset, read.log_time_ms, intent.identifier(index), event)
                found.events.append(self._watched[read.offset, index])
                self._values = [each for each in self._values if not _told(event, each)]

    def _holds(self, event: MeterEvent, largest_ms: int) -> bool:
        """Whether a meter event may hold some of the usage. A sum has the time of the earliest usage in it, and a window of this size at most."""
        if event.reading is not None:
            return any(_told(event, each) for each in self._values)
        return any(
            event.customer == customer and event.meter == meter and event.time_ms - MINUTE_MS < time_ms < event.time_ms + largest_ms
            for customer, meter, time_ms in self._sums
        )

    def _settle(self, settlement: Settlement) -> None:
        if (settlement.intent, settlement.index) in self._watched:
            self._watched[settlement.intent, settlement.index].settled = settlement
            self.found.carried |= settlement.outcome is Outcome.POSTPONED
        elif settlement.intent in self._corrections:
            target, at = self._corrections[settlement.intent]
            target.corrections[at] = (*target.corrections[at][:2], settlement.outcome)


class LedgerSearch:
    """Reads usage.ledger. Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    async def report(self, partition: int, tally: int, since_ms: int, sums: Sequence[UsageAt], values: Sequence[UsageAt] = ()) -> TallyReport:
        """What became of usage that the accepted tally at this offset counted at `since_ms`: what it added to `sums`, and its latest values."""
        fold = _ReportFold(tally, sums, values)
        async with aclosing(self._entries(partition, since_ms)) as entries:
            async for read in entries:
                fold.take(read)
        return fold.found

    async def intent_of(self, partition: int, identifier: str) -> tuple[ReportedEvent, Intent] | None:
        """The meter event with this identifier, or that a correction with it is about, and its intent; None if there is none.

        Reads the ledger from its start: an identifier says no time.
        """
        place = place_of(identifier)
        if isinstance(place, CorrectionPlace):
            at_place = await first_chain_record(self._reader, PartitionPlace(self._topic, partition), place.offset, place.offset + 1, decode_entry)
            entry = None if at_place is None else at_place[1]
            place = place_of(entry.target_identifier) if isinstance(entry, Correction) else None
        if not isinstance(place, MeterEventPlace):
            return None
        # What a correction bills to another customer is of that customer's former partition.
        async with aclosing(self._entries(place.partition, 0)) as entries:
            async for read in entries:
                found = read.entry
                if isinstance(found, Intent) and read.accepted and found.place == (place.start, place.end) and place.index < len(found.meter_events):
                    return ReportedEvent(read.offset, read.log_time_ms, identifier, found.meter_events[place.index]), found
        return None

    async def _entries(self, partition: int, since_ms: int) -> AsyncGenerator[_ReadEntry, None]:
        """The entries, from one on that is not behind `since_ms`."""
        start, end = await self._reader.bounds(self._topic, partition)
        begin, ledger = await ledger_since(self._reader, self._topic, partition, since_ms, start=start, end=end)
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), begin, end, decode_entry)) as entries:
            async for offset, log_time_ms, entry in entries:
                news = ledger.news(entry) if isinstance(entry, Receipt) else ()
                yield _ReadEntry(offset, log_time_ms, entry, news, ledger.fold(offset, log_time_ms, entry))


def _told(event: MeterEvent, value: UsageAt) -> bool:
    """Whether a meter event tells this latest value, or a later one in its place."""
    if event.reading is None or (event.customer, event.meter) != (value.customer, value.meter):
        return False
    return event.reading.happened_ms >= value.time_ms
