"""Follows all partitions of the three topics, and says how far it is. What goes wrong in one partition stops no other."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.limits import DAY_MS, FUTURE_TOLERANCE_MS

from console.following.ledger_follower import LedgerFollower
from console.following.letter_follower import LetterFollower
from console.following.pipeline_view import PipelineView
from console.following.store_thread import StoreThread
from console.following.tally_follower import TallyFollower
from console.metrics import ConsoleMetrics
from console.settings import ConsoleSettings
from console.store.fold_places import LEDGER, LETTERS, TALLIES
from console.store.usage_store import StoreUnusable
from metering.kafka.chain_records import PartitionPlace
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext
from metering.records.fail_closed import FailClosed

STOPPED_SECONDS: Final = 30.0  # a partition that is not followed is looked at again
TIDY_SECONDS: Final = 60.0


class LogFollower(Protocol):
    """One partition of one topic."""

    place: PartitionPlace

    async def read_on(self) -> bool:
        """Fold what is new; returns whether there was something. Raises LogUnavailable, FailClosed or StoreUnusable."""
        ...


class LogFollowing:
    """Owns the connections to Kafka. The store stays its owner's."""

    def __init__(self, context: ServiceContext, kafka: KafkaSettings, settings: ConsoleSettings, store: StoreThread, metrics: ConsoleMetrics) -> None:
        self.view = PipelineView(kafka.partitions)
        self._context = context
        self._settings = settings
        self._kafka = kafka
        self._store = store
        self._metrics = metrics
        self._readers = {name: LogReader(kafka, f"console-{name}") for name in ("events", TALLIES, LEDGER, LETTERS, "search")}
        self._warnings = RateLimited(context.clock)
        self._stopped_until: dict[tuple[str, int], float] = {}

    async def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            await reader.close()

    async def run(self) -> None:
        """Until cancelled."""
        topics, readers = self._kafka.topics, self._readers
        since_ms = self._store.store.kept_from_day * DAY_MS - FUTURE_TOLERANCE_MS

        def places(topic: str) -> Sequence[PartitionPlace]:
            return [PartitionPlace(topic, partition) for partition in range(self._kafka.partitions)]

        tallies = [TallyFollower(readers[TALLIES], place, self._store, since_ms) for place in places(topics.tallies.name)]
        ledger = [LedgerFollower(readers[LEDGER], readers["search"], place, self._store, since_ms) for place in places(topics.ledger.name)]
        letters = [LetterFollower(readers[LETTERS], place, self._store, since_ms) for place in places(topics.deadletters.name)]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_chains(tallies, ledger))
            group.create_task(self._follow_letters(letters))
            group.create_task(self._see_events())
            group.create_task(self._tidy())

    async def _follow_chains(self, tallies: Sequence[TallyFollower], ledger: Sequence[LedgerFollower]) -> None:
        """What is reported is shown only once it is shown as counted."""
        while True:
            found = False
            for partition, (counted, told) in enumerate(zip(tallies, ledger, strict=True)):
                with suppress(LogUnavailable):  # reading says so
                    await told.look()
                found |= await self._read_on(TALLIES, partition, counted)
                found |= await self._read_on(LEDGER, partition, told)
            await self._context.clock.sleep(0 if found else self._settings.follow_seconds)

    async def _follow_letters(self, letters: Sequence[LetterFollower]) -> None:
        while True:
            found = [await self._read_on(LETTERS, partition, follower) for partition, follower in enumerate(letters)]
            await self._context.clock.sleep(0 if any(found) else self._settings.follow_seconds)

    async def _read_on(self, topic: str, partition: int, follower: LogFollower) -> bool:
        clock, seen = self._context.clock, self.view.partitions[partition]
        if clock.monotonic() < self._stopped_until.get((topic, partition), 0):
            return False
        try:
            found = await follower.read_on()
            seen.ends[topic] = (await self._readers[topic].bounds(*follower.place))[1]
        except (LogUnavailable, FailClosed, StoreUnusable) as error:
            self._note(topic, partition, error)
            return False
        seen.troubles.pop(topic, None)
        seen.stops.discard(topic)
        self.view.caught_up.add((topic, partition))
        return found

    def _note(self, topic: str, partition: int, error: Exception) -> None:
        seen = self.view.partitions[partition]
        seen.troubles[topic] = str(error)
        if not isinstance(error, LogUnavailable):
            seen.stops.add(topic)
            self._stopped_until[topic, partition] = self._context.clock.monotonic() + STOPPED_SECONDS
        words = "a partition is not followed"
        self._warnings.warning(self._context.log, words, key=f"{topic}/{partition}", topic=topic, partition=partition, reason=str(error))

    async def _see_events(self) -> None:
        topic, reader = self._kafka.topics.events.name, self._readers["events"]
        while True:
            for partition, seen in enumerate(self.view.partitions):
                try:
                    seen.events = (await reader.bounds(topic, partition))[1]
                except LogUnavailable as error:
                    seen.troubles["events"] = str(error)
                else:
                    seen.troubles.pop("events", None)
            await self._context.clock.sleep(self._settings.follow_seconds)

    async def _tidy(self) -> None:
        store = self._store
        while True:
            try:
                used = await store.run(_tidied, store, self._settings, self._context.clock)
            except StoreUnusable as error:
                self._warnings.warning(self._context.log, "the store cannot be tidied", reason=str(error))
            else:
                self._metrics.show_store(used, store.store.kept_from_day)
            await self._context.clock.sleep(TIDY_SECONDS)


def _tidied(store: StoreThread, settings: ConsoleSettings, clock: Clock) -> int:
    """Drop the days that are too old, then the oldest ones until the rest fits. Today's stays, whatever it takes. Returns the bytes used."""
    today = clock.now_ms() // DAY_MS
    writer = store.store
    writer.keep_from(today - settings.days_kept + 1)
    while (used := writer.bytes_used()) > settings.bytes_max and writer.kept_from_day < today:
        writer.keep_from(writer.kept_from_day + 1)
    return used
