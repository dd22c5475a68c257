"""Topics that are changed under a running service are said, and mended ones forgotten; while Kafka is away, what was found stands."""

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from metering.kafka import topic_watch
from metering.kafka.clients import KafkaSettings
from metering.kafka.topic_watch import TopicWatch
from metering.process.logs import get_log
from metering.process.metrics import gauge
from tests.support.manual_clock import ManualClock


async def test_what_is_wrong_is_said_until_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = KafkaSettings(bootstrap_servers=("nowhere:1",))
    found = gauge(CollectorRegistry(), "taximeter_test_topic_problems", "Problems.")
    watch = TopicWatch(kafka, kafka.topics, problems=found, clock=ManualClock(), log=get_log("test"))
    answers: list[list[str] | Exception] = [[], ["a", "b"], KafkaConnectionError(), []]
    seen: list[tuple[str | None, float]] = []

    async def problems(*_arguments: object, **_named: object) -> list[str]:
        seen.append((watch.problem(), found._value.get()))
        if not answers:
            raise StopAsyncIteration
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(topic_watch, "topic_problems", problems)
    with pytest.raises(StopAsyncIteration):
        await watch.run()
    assert seen == [(None, 0), (None, 0), ("a; b", 2), ("a; b", 2), (None, 0)]
