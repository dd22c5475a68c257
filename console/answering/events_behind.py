"""The events behind a sum, read from the log when they are asked for: a bounded number, one question at a time."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.partitioner import partition_of

from audit.tracing.usage_columns import UsageColumns, UsageQuestion
from audit.tracing.usage_explained import ExplainedUsage, Explainer
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader

EVENTS_SHOWN_MAX: Final = 200
READ_SECONDS_MAX: Final = 30.0


class TooManyAsk(TaximeterError):
    """Somebody else's question is being answered."""


class EventShown(NamedTuple):
    """One event. `place`: its offset in usage.events, and the place in a batch. `event_id`: "" where only its fingerprint is kept."""

    place: str
    time_ms: int
    outcome: str
    units: int
    usage: str
    dimensions: str
    event_id: str


@dataclass(slots=True)
class EventsBehind:
    """`sums`: what the tallies say. `complete`: all events were read, so that both can be compared. `problem`: why not, "" if they were too many."""

    partition: int
    sums: ExplainedUsage
    events: list[EventShown] = field(default_factory=list)
    complete: bool = True
    problem: str = ""


class EventLookup:
    """Owns its connections to Kafka."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._events, self._tallies = LogReader(kafka, "console-trace-events"), LogReader(kafka, "console-trace-tallies")
        self._asked = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._events.close()
        await self._tallies.close()

    async def find(self, question: UsageQuestion) -> EventsBehind:
        """The first events of this usage, and its sums. Blocks on Kafka for READ_SECONDS_MAX; raises TooManyAsk, LogUnavailable or FailClosed."""
        if self._asked.locked():
            raise TooManyAsk("the log is being read for another question: try again in a moment")
        async with self._asked:
            found = EventsBehind(partition_of(question.customer, self._kafka.partitions), ExplainedUsage())
            try:
                async with asyncio.timeout(READ_SECONDS_MAX):
                    await self._find(question, found)
            except TimeoutError:
                found.complete, found.problem = False, f"reading took longer than {READ_SECONDS_MAX:g} s: ask for fewer hours"
            return found

    async def _find(self, question: UsageQuestion, found: EventsBehind) -> None:
        explainer = Explainer(self._events, self._tallies, self._kafka.topics)
        stretches = await explainer.sums(found.partition, question, found.sums)
        async with aclosing(explainer.events(found.partition, question, stretches, found.sums, lambda _read, _of: None)) as usage:
            async for each in usage:
                found.events += shown_events(each.columns())
                if len(found.events) > EVENTS_SHOWN_MAX:
                    del found.events[EVENTS_SHOWN_MAX:]
                    found.complete = False
                    return
                await asyncio.sleep(0)


def shown_events(columns: UsageColumns) -> Sequence[EventShown]:
    """The events of columns, one by one."""
    return [
        EventShown(
            f"{offset}/{at}",
            time_ms,
            outcome.value,
            units,
            usage,
            dimensions,
            event_id,
        )
        for offset, at, time_ms, outcome, units, usage, dimensions, event_id in zip(
            columns.offsets,
            columns.places,
            columns.times_ms,
            columns.outcomes,
            columns.units,
            columns.usage,
            columns.dimensions,
            columns.ids,
            strict=True,
        )
    ]
