"""Holds a plan back until the reporter has taken its last part in and Stripe has nearly all of it: live usage never waits long behind a plan."""

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from taximeter_emitter.clock import Clock

from metering.folds.ledger import Ledger
from metering.folds.plan_progress import PlanProgress
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import LogReader
from metering.records.ledger_records import decode_entry

BRAKE_LOOK_SECONDS: Final = 0.5
BRAKE_TELL_SECONDS: Final = 10.0
UNSETTLED_SECONDS: Final = 2.0
"""How much sending may be open before the next part."""

OnWait = Callable[[str], None]
"""Told, every BRAKE_TELL_SECONDS, what is waited for."""


class LedgerBrake:
    """One partition. `events_per_second`: how many meter events of this partition are sent in a second, about. `on_look` is called while it waits,
    and what it raises ends the waiting.
    """

    def __init__(
        self, reader: LogReader, topic: str, clock: Clock, *, events_per_second: float, on_wait: OnWait, on_look: Callable[[PlanProgress], None]
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._clock = clock
        self._open_max = max(1, round(events_per_second * UNSETTLED_SECONDS))
        self._on_wait = on_wait
        self._on_look = on_look
        self._ledger: Ledger | None = None
        self._next = 0

    async def hold(self, progress: PlanProgress) -> None:
        """Return when the next part may be written. Blocks; raises LogUnavailable or FailClosed."""
        last = max(progress.accepted.values(), default=None)
        told = time.monotonic()
        while (why := await self._waits_for(progress.plan.partition, last)) is not None:
            if time.monotonic() - told >= BRAKE_TELL_SECONDS:
                told = time.monotonic()
                self._on_wait(f"partition {progress.plan.partition}, part {len(progress.accepted)}: {why}")
            await self._clock.sleep(BRAKE_LOOK_SECONDS)
            self._on_look(progress)

    async def _waits_for(self, partition: int, last: int | None) -> str | None:
        ledger = await self._follow(partition)
        if last is not None and ledger.chain.end <= last:
            return "waits for the reporter to take in the part before it"
        waiting = ledger.open_events
        return f"waits for Stripe: {waiting:,} meter events are not settled" if waiting > self._open_max else None

    async def _follow(self, partition: int) -> Ledger:
        start, end = await self._reader.bounds(self._topic, partition)
        if self._ledger is None:
            self._next, self._ledger = await ledger_start(self._reader, self._topic, partition, start, end)
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), self._next, end, decode_entry)) as entries:
            async for entry in entries:
                self._ledger.fold(*entry)
        self._next = max(self._next, end)
        return self._ledger
