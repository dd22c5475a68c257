"""The poll loop hands in what came, in either form, and looks at how far the partitions are now and then, not at each poll."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Gauge

from metering.kafka.batches.framed_response import AsParts
from metering.kafka.batches.responses import AS_RECORDS, GivenForm, ResponsePart
from metering.process.logs import get_log
from metering.workers import polling
from metering.workers.polling import Polling
from tests.support.manual_clock import ManualClock
from tests.support.metering_framed_records import framed
from tests.support.metering_inbox_records import records
from tests.support.metering_python_framer import PythonFramer

PLACE = TopicPartition("events", 2)
HANDED = [3, 4, 6]


class Consumer:
    """Gives the same items at each poll, and stops the loop with the last one."""

    def __init__(self, items: list[Any], polls: int, clock: ManualClock, stop: asyncio.Event) -> None:
        self.items = items
        self.left = polls
        self.items_max: list[int | None] = []
        self._clock = clock
        self._stop = stop

    async def getmany(self, *_places: TopicPartition, timeout_ms: int, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        assert timeout_ms
        self.items_max.append(max_records)
        self.left -= 1
        self._clock.advance(0.1)
        if not self.left:
            self._stop.set()
        return {PLACE: self.items}

    def paused(self) -> set[TopicPartition]:
        return set()

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}


class Worker:
    """Takes everything."""

    wants_records = True

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.holes: list[tuple[int, int]] = []

    def hand_in(self, handed: Any, holes: Any) -> None:
        self.offsets += [record.offset for record in handed]
        self.holes += holes


@pytest.mark.parametrize(
    ("form", "items", "holes"),
    [
        (AS_RECORDS, records(*HANDED), []),
        (
            AsParts(PythonFramer()),
            [ResponsePart(framed(records(3, 4)), [(5, 6)]), ResponsePart(records(6)), ResponsePart((), [(7, 8)])],
            [(5, 6), (7, 8)],
        ),
    ],
)
async def test_it_hands_in_what_came_and_looks_now_and_then(
    form: GivenForm, items: list[Any], holes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "is_dead", lambda _consumer: False)
    clock, stop, worker, looks = ManualClock(), asyncio.Event(), Worker(), list[Any]()
    context: Any = SimpleNamespace(clock=clock, stop=stop, log=get_log("test"))
    owned: Any = SimpleNamespace(workers={2: worker}, place=lambda _partition: PLACE)
    consumer = Consumer(items, 10, clock, stop)
    paused = Gauge("paused", "Paused.", registry=CollectorRegistry())
    await Polling(context, owned, form, paused=paused, look=looks.append).run(consumer)
    assert worker.offsets == 10 * HANDED
    assert worker.holes == 10 * holes
    assert len(looks) == 4
    assert set(consumer.items_max) == {form.items_max}
