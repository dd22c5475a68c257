"""Moving ledgers from one cluster to another: close those that are left, and open their copies on record.

All that is planned and sent follows from accepted entries of the ledger. So it is enough to close the ledger: behind the closing a reporter that
still runs can plan nothing, and what was planned before has the same identifiers in both clusters.
"""

import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError

from metering.folds.ledger import Ledger
from metering.folds.tallies import tallies_after
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.kafka.topics import Topics
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken
from metering.records.ledger_records import LedgerAdoption, LedgerClosing, decode_entry, encode_handover
from metering.records.tally import decode_tally

ADOPT_ATTEMPTS_MAX: Final = 50
ADOPT_LOOK_SECONDS: Final = 0.5


class NotAdoptable(TaximeterError):
    """These ledgers must not be adopted so; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class HandoverRequest:
    """Why and who, for the ledger."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class LedgerState:
    """One partition of one cluster.

    Intents cover the tallies before `reported_to`, and so the events before `told_to`; `head` is the offset of the last of them. Tallies count the
    events before `counted_to`; the log has those from `events_start` on, before `events_end`. `waiting`: units by meter that are counted and in
    no intent, or carried by the last one. `open_units` are those of the open meter events. `closing` is set while the ledger is closed. `adopted`
    is the last adoption.
    """

    partition: int
    chain_id: str
    head: int
    reported_to: int
    counted_to: int
    events_start: int
    events_end: int
    told_to: int
    open_meter_events: int
    open_units: Mapping[str, int]
    waiting: Mapping[str, int]
    closing: LedgerClosing | None
    adopted: LedgerAdoption | None

    @property
    def uncounted(self) -> int:
        """Records of usage.events that no tally accounts for."""
        return self.events_end - max(0, self.counted_to)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "partition": self.partition,
            "chain": self.chain_id,
            "head": self.head,
            "reported_to": self.reported_to,
            "counted_to": self.counted_to,
            "events_end": self.events_end,
            "uncounted_records": self.uncounted,
            "told_to": self.told_to,
            "open_meter_events": self.open_meter_events,
            "open_units": dict(sorted(self.open_units.items())),
            "waiting": dict(sorted(self.waiting.items())),
            "closed_at": None if self.closing is None else self.closing.place.offset,
            "adopted_at": None if self.adopted is None else self.adopted.place.offset,
        }


class LedgerMove:
    """The ledgers of one cluster. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader and the appender stay their
    owner's.
    """

    def __init__(self, reader: LogReader, appender: Appender, topics: Topics, clock: Clock) -> None:
        self._reader = reader
        self._appender = appender
        self._topics = topics
        self._clock = clock
        self._instance = f"adopt-{secrets.token_hex(8)}"

    async def state(self, partition: int) -> LedgerState:
        """Where a partition stands. Raises ChainBroken where a copy is cut so that its logs do not fit."""
        ledger, adopted = await self._ledger(partition)
        counted_to, waiting = await self._waiting(partition, ledger)
        events_start, events_end = await self._reader.bounds(self._topics.events.name, partition)
        if counted_to > events_end:
            raise ChainBroken(
                f"the tallies of partition {partition} count events up to {counted_to}, and usage.events ends at {events_end}: the copy lacks events"
            )
        return LedgerState(
            partition=partition,
            chain_id=ledger.chain_id or "",
            head=ledger.chain.head,
            reported_to=max(0, ledger.chain.end),
            counted_to=counted_to,
            events_start=events_start,
            events_end=events_end,
            told_to=max(0, ledger.events_end),
            open_meter_events=ledger.open_events,
            open_units=_open_units(ledger),
            waiting=waiting,
            closing=ledger.closing,
            adopted=adopted,
        )

    async def close(self, partition: int, successor: str, request: HandoverRequest) -> LedgerClosing:
        """Close a ledger, so that it goes on in the cluster `successor` only; the closing that is there, if it was closed for that before.

        Raises NotAdoptable if it was closed for another cluster.
        """
        for _ in range(ADOPT_ATTEMPTS_MAX):
            ledger, _ = await self._ledger(partition)
            if ledger.closing is not None and ledger.closing.successor != successor:
                raise NotAdoptable(
                    f"the ledger of partition {partition} was closed by {ledger.closing.by} for another cluster, {ledger.closing.successor}"
                )
            if ledger.closing is not None:
                return ledger.closing
            place, about = ledger.place(ledger.chain.next_offset), (ledger.checkpoint, self._instance, successor)
            entry = LedgerClosing(ledger.chain_id or "", partition, place, *about, request.reason, request.by, self._clock.now_ms())
            await self._append(entry)
        raise LogUnavailable(f"other entries came first {ADOPT_ATTEMPTS_MAX} times, or Kafka did not take ours: try again")

    async def adopt(self, partition: int, predecessor: str, request: HandoverRequest) -> LedgerAdoption:
        """Open the copy of a ledger; the adoption that is there, if it was adopted before from that cluster and is open.

        A copy that does not end with a closing is opened with all that is in doubt.
        """
        for _ in range(ADOPT_ATTEMPTS_MAX):
            state = await self.state(partition)
            if state.closing is None and state.adopted is not None and state.adopted.predecessor == predecessor:
                return state.adopted
            ledger, _ = await self._ledger(partition)
            closed_at = NO_OFFSET if ledger.closing is None else ledger.closing.place.offset
            # What is open may have been postponed or refused behind the copy, and told under another identifier.
            in_doubt = sorted((Counter(state.waiting) + Counter(state.open_units)).items()) if ledger.closing is None else []
            uncounted = state.uncounted if ledger.closing is None else 0
            place, about = ledger.place(ledger.chain.next_offset), (ledger.checkpoint, self._instance, predecessor, closed_at)
            doubt = (state.events_end, in_doubt, uncounted)
            entry = LedgerAdoption(ledger.chain_id or "", partition, place, *about, *doubt, request.reason, request.by, self._clock.now_ms())
            await self._append(entry)
        raise LogUnavailable(f"other entries came first {ADOPT_ATTEMPTS_MAX} times, or Kafka did not take ours: try again")

    async def is_adopted(self, partition: int, predecessor: str) -> bool:
        """Whether this partition was adopted from that cluster, and is open."""
        _, end = await self._reader.bounds(self._topics.ledger.name, partition)
        if not end:
            return False
        ledger, adopted = await self._ledger(partition)
        return ledger.closing is None and adopted is not None and adopted.predecessor == predecessor

    async def _append(self, entry: LedgerClosing | LedgerAdoption) -> None:
        try:
            await self._appender.append(self._topics.ledger.name, entry.partition, encode_handover(entry))
        except LogUnavailable:
            await self._clock.sleep(ADOPT_LOOK_SECONDS)  # the log shows whether it arrived

    async def _ledger(self, partition: int) -> tuple[Ledger, LedgerAdoption | None]:
        """The fold at the end of the log, and the last accepted adoption, which may be older than what is open."""
        topic = self._topics.ledger.name
        start, end = await self._reader.bounds(topic, partition)
        begin, ledger = await ledger_start(self._reader, topic, partition, start, end)
        adopted: LedgerAdoption | None = None
        async with aclosing(chain_records(self._reader, PartitionPlace(topic, partition), start, end, decode_entry)) as entries:
            async for offset, log_time_ms, entry in entries:
                if offset < begin:
                    adopted = entry if isinstance(entry, LedgerAdoption) and entry.place.offset == offset else adopted
                elif ledger.fold(offset, log_time_ms, entry) and isinstance(entry, LedgerAdoption):
                    adopted = entry
        ledger.chain.next_offset = end  # what is left there is nothing that was taken in
        return ledger, adopted

    async def _waiting(self, partition: int, ledger: Ledger) -> tuple[int, Mapping[str, int]]:
        """The end of what tallies count, and the units that no intent tells Stripe, by meter."""
        topic = self._topics.tallies.name
        _, end = await self._reader.bounds(topic, partition)
        position = max(0, ledger.chain.end)
        if position > end:
            raise ChainBroken(f"the ledger of partition {partition} covers tallies up to {position}, and they end at {end}: the copy lacks tallies")
        head, place = ledger.tally_head, PartitionPlace(topic, partition)
        if head != NO_OFFSET:
            found = await first_chain_record(self._reader, place, head, head + 1, decode_tally)
            if found is None or found[1].link.end != ledger.events_end:
                raise ChainBroken(f"tally {head} of partition {partition} is not the one that the ledger reports: the copy does not keep offsets")
        waiting: Counter[str] = Counter()
        for event in ledger.waiting:
            waiting[event.meter] += event.units
        tallies = tallies_after(head=head, end=ledger.events_end, next_offset=position, chain_id=ledger.chain_id)
        async with aclosing(chain_records(self._reader, place, position, end, decode_tally)) as records:
            async for offset, _, tally in records:
                if tallies.fold(offset, tally):
                    for row in tally.rows:
                        waiting[row.meter] += row.quantity
        return tallies.chain.end, waiting


def _open_units(ledger: Ledger) -> Mapping[str, int]:
    """Units of the meter events without an outcome, by meter."""
    found: Counter[str] = Counter()
    for entry in ledger.open.values():
        for index in entry.open:
            event = entry.entry.meter_events[index]
            found[event.meter] += abs(event.units)
    return found
