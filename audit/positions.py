"""The position of each partition, read from the log itself: what is counted, what is reported, what waits."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from aiokafka.errors import KafkaError
from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import HOUR_MS

from audit.refusal_answers.refusal_suspects import unnamed_reports
from audit.verification.report import UNNAMED_REPORTS_MAX
from audit.verification.stripe_evidence import EvidenceFold, StripeEvidence
from metering.folds.customer_links import BilledCustomers, shares_its_link
from metering.folds.ledger import Ledger
from metering.folds.tallies import Tallies, tallies_after, tallies_from
from metering.following.customers_log import CustomersLog
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import LogEnds, LogReader, LogUnavailable
from metering.kafka.provision import partition_counts
from metering.kafka.topics import Topics
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, FailClosed, RecordCorrupt, RecordUnreadable
from metering.records.ledger_records import Correction, Entry, Intent, MeterEvent, Receipt, Rejection, decode_entry
from metering.records.notes.evidence import Evidence
from metering.records.tally import Tally, decode_tally

READERS: Final = 8
PACE_MS: Final = 5 * 60_000
PARTITION_SECONDS_MAX: Final = 8.0
POSITIONS_SECONDS_MAX: Final = 30.0
LINKS_SECONDS_MAX: Final = 3.0
UNREADABLE_ENDS_MAX: Final = 20  # how often the end of what can be read of a ledger is looked for before something that cannot


@dataclass(frozen=True, slots=True)
class CarriedUsage:
    """Usage of one meter that is held: units, or how many latest values, which are no units; and the time of the oldest (Unix ms).

    `newest_ms` and `newest_value` are of the newest latest value.
    """

    units: int
    oldest_ms: int
    latest_values: int = 0
    newest_ms: int = 0
    newest_value: int = 0

    @property
    def amount(self) -> str:
        """How much, in words."""
        parts = [f"{self.units:,} units"] if self.units or not self.latest_values else []
        if self.latest_values:
            newest = datetime.fromtimestamp(self.newest_ms // 1000, UTC)
            many = f"{self.latest_values:,} latest value{'s' if self.latest_values > 1 else ''}"
            parts.append(f"{many} (newest {self.newest_value:,} of {newest:%Y-%m-%d %H:%M} UTC)")
        return " and ".join(parts)

    def plus(self, other: "CarriedUsage") -> "CarriedUsage":
        """Both together."""
        newest_ms, newest_value = max((self.newest_ms, self.newest_value), (other.newest_ms, other.newest_value))
        return CarriedUsage(
            self.units + other.units, min(self.oldest_ms, other.oldest_ms), self.latest_values + other.latest_values, newest_ms, newest_value
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPosition:
    """One partition. Ends are next offsets; -1 where there is no chain yet. `problem` says why it could not be read further.

    `unread` says why Kafka did not answer about it; then nothing else of it is known.

    `open_corrections` are among the `open_meter_events`. `lost_records` are those that were accepted as lost, ever.

    `events_end` is the high watermark. Below it, from `readable_end` on, lies what an open transaction of another producer holds back.
    `uncounted` records can be read and no accepted tally covers them; transaction markers at the end of the log are none.
    `counted_to` is how far the tallies cover usage.events, `reported_to` how far the intents cover usage.tallies. `uncovered_rows` are
    sums that no intent covers, in `unreported` tallies; `outcomes` those of the receipts in the time asked for. `carried` is usage by meter that
    waits because Stripe refuses the meter, `unlinked` what waits for a link of its customer.
    `evidence` is what comparisons with Stripe's sums have shown in the time asked for, and `unnamed` are
    error reports of that time that count more than they name.

    `waiting` is all usage without a final outcome, by customer and meter, held usage included; `waits_since_ms` is when the oldest of it was counted,
    without held usage. `waiting_latest` says by meter how many customers have a latest value without a final outcome. `settled_lately` meter
    events got a final outcome in the last PACE_MS.
    """

    partition: int
    events_end: int
    readable_end: int
    uncounted: int
    counted_to: int
    tallies_end: int
    reported_to: int
    unreported: int
    uncovered_rows: int
    open_meter_events: int
    unknown_meter_events: int
    open_corrections: int
    outcomes: Counter[str] = field(default_factory=Counter)
    lost_records: int = 0
    ids_from_ms: int = 0
    carried: Mapping[str, CarriedUsage] = field(default_factory=dict)
    unlinked: Mapping[str, CarriedUsage] = field(default_factory=dict)
    evidence: StripeEvidence = field(default_factory=StripeEvidence)
    unnamed: Sequence[Rejection] = ()
    waiting: Mapping[tuple[str, str], int] = field(default_factory=dict)
    waiting_latest: Mapping[str, int] = field(default_factory=dict)
    waits_since_ms: int | None = None
    settled_lately: int = 0
    problem: str = ""
    unread: str = ""

    @classmethod
    def not_read(cls, partition: int, why: str) -> Self:
        """Of a partition that cannot be asked about now."""
        return cls(
            partition=partition,
            events_end=NO_OFFSET,
            readable_end=NO_OFFSET,
            uncounted=0,
            unreported=0,
            counted_to=NO_OFFSET,
            tallies_end=NO_OFFSET,
            reported_to=NO_OFFSET,
            uncovered_rows=0,
            open_meter_events=0,
            unknown_meter_events=0,
            open_corrections=0,
            unread=why,
        )

    @property
    def held_back(self) -> int:
        """Records that nobody can read before a transaction of another producer ends."""
        return self.events_end - self.readable_end

    @property
    def is_settled(self) -> bool:
        """Whether all that is in usage.events has reached its end."""
        waits = self.uncounted or self.held_back or self.uncovered_rows or self.open_meter_events or self.carried or self.unlinked
        return not (self.problem or self.unread or waits)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "partition": self.partition,
            "events_end": self.events_end,
            "readable_end": self.readable_end,
            "held_back_records": self.held_back,
            "counted_to": self.counted_to,
            "uncounted_records": self.uncounted,
            "tallies_end": self.tallies_end,
            "reported_to": self.reported_to,
            "unreported_tallies": self.unreported,
            "uncovered_rows": self.uncovered_rows,
            "open_meter_events": self.open_meter_events,
            "unknown_meter_events": self.unknown_meter_events,
            "open_corrections": self.open_corrections,
            "unreported_units": units_by_meter([self]),
            "unreported_latest_values": dict(self.waiting_latest),
            "waits_since_ms": self.waits_since_ms,
            "outcomes": dict(self.outcomes),
            "carried": {meter: asdict(usage) for meter, usage in self.carried.items()},
            "unlinked": {meter: asdict(usage) for meter, usage in self.unlinked.items()},
            "compared_customers": self.evidence.compared,
            "differing_cells": len(self.evidence.differing) + self.evidence.unkept,
            "lost_records": self.lost_records,
            "ids_known_from_ms": self.ids_from_ms,
            "problem": self.problem,
            "unread": self.unread,
        }


class Positions:
    """Reads positions, again and again if wanted; close it in the end."""

    def __init__(self, kafka: KafkaSettings, clock: Clock) -> None:
        self._partitions = kafka.partitions
        # Each read waits for the broker more than it works, so some go on side by side.
        self._links_reader = LogReader(kafka, "positions-links")
        self._customers = CustomersLog(self._links_reader, kafka.topics.customers.name)
        self._readers = [
            _PositionReader(kafka.topics, LogReader(kafka, f"positions-{number}"), self._customers.links, clock) for number in range(READERS)
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._links_reader.close()
        for reader in self._readers:
            await reader.close()

    async def read(self, *, hours: float = 0.0, seconds_max: float = POSITIONS_SECONDS_MAX) -> list[PartitionPosition]:
        """All partitions. `hours`: how far back outcomes are counted; with 0, only those since the oldest intent that is still open.

        Takes `seconds_max` at most: a partition that Kafka does not answer about is among them, with the reason.
        """
        with suppress(LogUnavailable, FailClosed, TimeoutError):  # what was linked since is then told as held
            async with asyncio.timeout(LINKS_SECONDS_MAX):
                await self._customers.read_on()
        deadline = asyncio.get_running_loop().time() + seconds_max
        waiting = iter(range(self._partitions))
        found: list[PartitionPosition] = []

        async def work(reader: _PositionReader) -> None:
            for partition in waiting:
                found.append(await reader.read(partition, hours, deadline))

        await asyncio.gather(*(work(reader) for reader in self._readers))
        return sorted(found, key=lambda position: position.partition)


async def uncounted_partitions(kafka: KafkaSettings) -> dict[int, int]:
    """How many records are in partitions of usage.events beyond those of the settings, which nobody counts. Raises LogUnavailable."""
    topic, reader = kafka.topics.events, LogReader(kafka, "positions-beyond")
    try:
        existing = (await partition_counts(kafka, (topic,))).get(topic.name, 0)
        found = {}
        for partition in range(kafka.partitions, existing):
            start, _ = await reader.bounds(topic.name, partition)
            found[partition] = (await reader.ends(topic.name, partition)).end - start
        return found
    except KafkaError as error:
        raise LogUnavailable(f"the partitions of {topic.name} cannot be read: {error!r}") from error
    finally:
        await reader.close()


class _PositionReader:
    """Reads one partition after the other. Owns its log reader."""

    def __init__(self, topics: Topics, reader: LogReader, links: BilledCustomers, clock: Clock) -> None:
        self._topics = topics
        self._reader = reader
        self._links = links
        self._clock = clock

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def read(self, partition: int, hours: float, deadline: float) -> PartitionPosition:
        """The position of a partition, or why Kafka does not tell it. `deadline`: time of the loop by which it must be had."""
        seconds = min(PARTITION_SECONDS_MAX, deadline - asyncio.get_running_loop().time())
        if seconds <= 0:
            return PartitionPosition.not_read(partition, "not asked: others had not answered in time")
        try:
            async with asyncio.timeout(seconds):
                return await self._partition(partition, hours)
        except LogUnavailable as error:
            return PartitionPosition.not_read(partition, str(error))
        except TimeoutError:
            return PartitionPosition.not_read(partition, f"Kafka did not answer within {seconds:.0f} s")

    async def _partition(self, partition: int, hours: float) -> PartitionPosition:
        # From the end of the line to its start: what is read later can only be further on.
        seen, counted, problems = _SeenLedger(), _SeenTallies(), list[FailClosed]()
        ends = await self._reader.ends(self._topics.events.name, partition)
        try:
            await self._read_ledger(seen, partition, hours)
        except FailClosed as error:
            problems.append(error)
        try:
            await self._read_tallies(counted, partition, seen.ledger)
        except FailClosed as error:
            problems.append(error)
        ledger, tallies = seen.ledger, counted.tallies
        try:
            ends = await self._reader.ends(self._topics.events.name, partition)
            await self._check_next(partition, tallies.chain.end, ends)
            ledger.check_open(partition)
        except FailClosed as error:
            problems.append(error)
        return PartitionPosition(
            partition=partition,
            events_end=ends.end,
            readable_end=ends.stable_end,
            uncounted=await self._uncounted(partition, tallies.chain.end, ends),
            counted_to=tallies.chain.end,
            tallies_end=tallies.chain.next_offset,
            reported_to=ledger.chain.end,
            unreported=counted.with_rows,
            uncovered_rows=len(counted.sums) + len(counted.latest),
            open_meter_events=ledger.open_events,
            unknown_meter_events=sum(len(entry.unknown) for entry in ledger.open.values()),
            open_corrections=sum(isinstance(entry.entry, Correction) for entry in ledger.open.values()),
            outcomes=seen.outcomes,
            evidence=seen.evidence.totals(),
            unnamed=unnamed_reports(seen.rejections)[:UNNAMED_REPORTS_MAX],
            carried=_added(_held(event) for event in ledger.waiting if not self._waits_for_a_link(event)),
            unlinked=_added(_held(event) for event in ledger.waiting if self._waits_for_a_link(event)),
            waiting=_waiting(counted, ledger),
            waiting_latest=_waiting_latest(counted, ledger),
            waits_since_ms=_waits_since(counted, ledger),
            settled_lately=seen.settled_lately,
            lost_records=tallies.losses.records,
            ids_from_ms=tallies.losses.ids_from_ms,
            problem="; ".join(f"{type(error).__name__}: {error}" for error in problems),
        )

    def _waits_for_a_link(self, event: MeterEvent) -> bool:
        """A latest value waits for one that no other customer shares."""
        return self._links.of(event.customer) is None or (event.reading is not None and shares_its_link(self._links, event.customer))

    async def _uncounted(self, partition: int, counted_to: int, ends: LogEnds) -> int:
        topic = self._topics.events.name
        start, _ = await self._reader.bounds(topic, partition)
        first = max(start, counted_to)
        try:
            if first >= ends.stable_end or await self._reader.holds_no_record(topic, partition, first, ends.stable_end):
                return 0
        except FailClosed:
            pass  # what stops the aggregator there is said as the problem
        return ends.stable_end - first

    async def _check_next(self, partition: int, counted_to: int, ends: LogEnds) -> None:
        """What is counted next must be there: raise what the aggregator stops for."""
        topic = self._topics.events.name
        if counted_to > ends.end:
            raise ChainBroken(f"the tallies end at {counted_to}, the events at {ends.end}: the topic was cut or created again")
        if 0 <= counted_to < ends.stable_end:
            await self._reader.holds_no_record(topic, partition, counted_to, counted_to + 1)

    async def _read_ledger(self, seen: "_SeenLedger", partition: int, hours: float) -> None:
        """What can be read of usage.ledger, up to what cannot: then the reason is raised."""
        topic = self._topics.ledger.name
        start, end = await self._reader.bounds(topic, partition)
        place = PartitionPlace(topic, partition)
        problem: FailClosed | None = None
        unreadable_ends = 0
        found: tuple[int, Ledger] | None = None
        while found is None:
            try:
                found = await ledger_start(self._reader, topic, partition, start, end)
            except (RecordCorrupt, RecordUnreadable) as error:
                unreadable_ends += 1
                if error.offset is None or unreadable_ends == UNREADABLE_ENDS_MAX:
                    raise
                problem, end = error, error.offset
        begin, seen.ledger = found
        counted_from, lately_ms = begin, self._clock.now_ms() - PACE_MS
        if hours:
            offset = await self._reader.offset_for_time(topic, partition, self._clock.now_ms() - round(hours * HOUR_MS))
            counted_from = end if offset is None else offset
        try:
            async for _, log_time_ms, entry in chain_records(self._reader, place, min(begin, counted_from), begin, decode_entry):
                seen.count(entry, lately=log_time_ms > lately_ms)
        except FailClosed as error:
            problem = error
        async for offset, log_time_ms, entry in chain_records(self._reader, place, begin, end, decode_entry):
            seen.ledger.fold(offset, log_time_ms, entry)
            if offset >= counted_from:
                seen.count(entry, lately=log_time_ms > lately_ms)
        if problem is not None:
            raise problem

    async def _read_tallies(self, seen: "_SeenTallies", partition: int, ledger: Ledger) -> None:
        """What can be read of usage.tallies, up to what cannot: then the reason is raised. Rows are counted that no intent of the ledger covers."""
        topic, covered = self._topics.tallies.name, max(0, ledger.chain.end)
        start, end = await self._reader.bounds(topic, partition)
        place, begin = PartitionPlace(topic, partition), start
        if ledger.chain.head != NO_OFFSET:
            # The last tally that was reported was accepted, so folding from it decides rightly about all that follow.
            begin = max(start, covered)
            seen.tallies = tallies_after(head=ledger.tally_head, end=ledger.events_end, next_offset=begin, chain_id=ledger.chain_id)
            if ledger.tally_head >= start:
                last = await first_chain_record(self._reader, place, ledger.tally_head, ledger.tally_head + 1, decode_tally)
                if last is not None:
                    begin, seen.tallies = last[0], tallies_from(*last)
        elif start > 0:
            first = await first_chain_record(self._reader, place, start, end, decode_tally)
            if first is not None:
                seen.tallies = tallies_from(*first)
        async for offset, _, tally in chain_records(self._reader, place, begin, end, decode_tally):
            if seen.tallies.fold(offset, tally) and offset >= covered:
                seen.take(tally)


@dataclass(slots=True)
class _SeenLedger:
    """The fold, and what the ledger says of the time asked for."""

    ledger: Ledger = field(default_factory=Ledger)
    outcomes: Counter[str] = field(default_factory=Counter)
    evidence: EvidenceFold = field(default_factory=EvidenceFold)
    rejections: list[Rejection] = field(default_factory=list)
    settled_lately: int = 0

    def count(self, entry: Entry, *, lately: bool) -> None:
        """Take in an entry of the time asked for."""
        match entry:
            case Receipt():
                self.settled_lately += lately and sum(settlement.outcome.is_final for settlement in entry.settlements)
                self.outcomes.update(settlement.outcome.value for settlement in entry.settlements)
            case Evidence():
                self.evidence.take(entry)
            case Rejection() if entry.unnamed:
                self.rejections.append(entry)
            case _:
                pass


@dataclass(slots=True)
class _SeenTallies:
    """Sums that no intent covers, how many tallies have some, and when the first of these was counted."""

    tallies: Tallies = field(default_factory=Tallies)
    sums: Counter[tuple[str, str, Dimensions, int]] = field(default_factory=Counter)
    latest: set[tuple[str, str]] = field(default_factory=set)  # customers and meters of latest values
    with_rows: int = 0
    since_ms: int | None = None

    def take(self, tally: Tally) -> None:
        """Take in a tally that is accepted and that no intent covers."""
        for row in tally.rows:
            self.sums[row.customer, row.meter, row.dimensions, row.window_start_ms] += row.quantity
        self.latest.update((value.customer, value.meter) for value in tally.latest)
        self.with_rows += bool(tally.rows or tally.latest)
        if (tally.rows or tally.latest) and self.since_ms is None:
            self.since_ms = tally.log_time_ms


def carried_usage(positions: Iterable[PartitionPosition]) -> dict[str, CarriedUsage]:
    """What waits of each meter, over partitions."""
    return _added((meter, usage) for position in positions for meter, usage in position.carried.items())


def unlinked_usage(positions: Iterable[PartitionPosition]) -> dict[str, CarriedUsage]:
    """What waits of each meter for links of customers, over partitions."""
    return _added((meter, usage) for position in positions for meter, usage in position.unlinked.items())


def _held(event: MeterEvent) -> tuple[str, CarriedUsage]:
    if event.reading is None:
        return event.meter, CarriedUsage(event.value, event.time_ms)
    return event.meter, CarriedUsage(0, event.time_ms, latest_values=1, newest_ms=event.time_ms, newest_value=event.value)


def units_by_meter(positions: Iterable[PartitionPosition]) -> dict[str, int]:
    """All units without a final outcome, by meter."""
    found: Counter[str] = Counter()
    for position in positions:
        for (_, meter), units in position.waiting.items():
            found[meter] += units
    return {meter: units for meter, units in sorted(found.items()) if units}


def latest_values_by_meter(positions: Iterable[PartitionPosition]) -> dict[str, int]:
    """How many latest values have no final outcome, by meter."""
    found: Counter[str] = Counter()
    for position in positions:
        found.update(position.waiting_latest)
    return dict(sorted(found.items()))


def _waiting_latest(counted: _SeenTallies, ledger: Ledger) -> dict[str, int]:
    events = (*_open_usage(ledger), *ledger.waiting)
    found = {*counted.latest, *((event.customer, event.meter) for event in events if event.reading is not None)}
    return dict(Counter(meter for _, meter in found))


def _waiting(counted: _SeenTallies, ledger: Ledger) -> dict[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for (customer, meter, _, _), units in counted.sums.items():
        found[customer, meter] += units
    for event in (*_open_usage(ledger), *ledger.waiting):
        found[event.customer, event.meter] += event.units
    return {key: units for key, units in found.items() if units}


def _open_usage(ledger: Ledger) -> Iterator[MeterEvent]:
    for entry in ledger.open.values():
        if isinstance(entry.entry, Intent):
            meter_events = entry.entry.meter_events
            yield from (meter_events[index] for index in entry.open)


def _waits_since(counted: _SeenTallies, ledger: Ledger) -> int | None:
    intents = (entry.log_time_ms for entry in ledger.open.values() if isinstance(entry.entry, Intent))
    return min([time_ms for time_ms in (counted.since_ms, *intents) if time_ms is not None], default=None)


def _added(found: Iterable[tuple[str, CarriedUsage]]) -> dict[str, CarriedUsage]:
    sums: dict[str, CarriedUsage] = {}
    for meter, usage in found:
        before = sums.get(meter)
        sums[meter] = usage if before is None else before.plus(usage)
    return sums


def all_settled(positions: Sequence[PartitionPosition]) -> bool:
    """Whether nothing is on its way anywhere."""
    return all(position.is_settled for position in positions)
