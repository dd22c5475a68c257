"""Are the topics still as they must be? Asked again and again while a service runs, at a slow pace."""

from collections.abc import Iterable
from typing import Final

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from prometheus_client import Gauge
from taximeter_emitter.clock import Clock

from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import topic_problems
from metering.kafka.topics import TopicSpec
from metering.process.logs import Log, RateLimited

LOOK_SECONDS: Final = 30.0


class TopicWatch:
    """A topic may be changed under a running service: compacted, given a shorter retention or more partitions. That loses or hides usage later."""

    def __init__(self, kafka: KafkaSettings, topics: Iterable[TopicSpec], *, problems: Gauge, clock: Clock, log: Log) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._gauge = problems
        self._clock = clock
        self._log = log
        self._warnings = RateLimited(clock)
        self._found: list[str] = []

    def problem(self) -> str | None:
        """What was wrong when the cluster was last asked; None if nothing was."""
        return "; ".join(self._found) or None

    async def run(self) -> None:
        """Until cancelled. While Kafka does not answer, what was found last stands."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                found = await topic_problems(self._kafka, self._topics, clock=self._clock)
            except (KafkaError, IncompatibleBrokerVersion, TimeoutError, OSError) as error:
                self._warnings.warning(self._log, "the topics cannot be looked at", reason=repr(error))
                continue
            if found and found != self._found:
                self._log.error("the topics are not as they must be", problems=found)
            self._found = found
            self._gauge.set(len(found))
