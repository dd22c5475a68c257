"""What became of a meter event goes to its partition's mailbox, in order, and nowhere else."""

import asyncio
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.process.logs import get_log
from metering.records.ledger_records import MeterEvent, Outcome, Settlement
from metering.records.meters import Catalogue, Meter
from reporter.dispatch import Dispatcher
from reporter.mailbox import Mailbox
from reporter.metrics import ReporterMetrics
from reporter.sending.lanes import Lanes, MeterSend
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, Verdict
from tests.support.waiting import until_async

SOON = 30.0


class Taker:
    """A port to a Stripe that takes everything, once `answering` is set."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.sent: list[str] = []

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        assert (event_name, payload["value"], idempotency_key) == ("tokens", "5", identifier)
        assert timestamp_s > 0
        self.sent.append(identifier)
        await self.answering.wait()
        return Delivered()

    async def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Verdict:
        raise AssertionError((event_name, identifier, idempotency_key))

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """A dispatcher that runs, and its port."""

    def __init__(self) -> None:
        self.port = Taker()
        self.stop = asyncio.Event()
        self.dispatcher = Dispatcher(
            lanes=Lanes(capacity=100, in_flight_max=10, retry_delay_s=lambda _: 0.01, probe_every_s=1.0),
            pacer=Pacer(100_000.0),
            port=self.port,
            catalogue=Catalogue([Meter("tokens", ("input_tokens",))]),
            metrics=ReporterMetrics.create(CollectorRegistry()),
            clock=SystemClock(),
            log=get_log("test"),
        )
        self.task = asyncio.create_task(self.dispatcher.run(self.stop))

    def send(self, partition: int, number: int) -> None:
        """Number `number` of the partition's intent at offset 7; one customer for each partition, so that they are sent in order."""
        now_ms = SystemClock().now_ms()
        event = MeterEvent(f"cus_{partition}", "tokens", (), now_ms, 5)
        self.dispatcher.lanes.add(MeterSend(partition, 7, number, f"tm-{partition}-{number}", event, now_ms, doubtful=False))
        self.dispatcher.wake()

    async def finish(self) -> None:
        """Answer every call, and end."""
        self.port.answering.set()
        await until_async(lambda: not self.dispatcher.lanes.sends)
        self.stop.set()
        self.dispatcher.wake()
        await self.task
        await self.dispatcher.close()


async def test_outcomes_go_to_the_mailbox_of_their_partition_in_order() -> None:
    world, woken = World(), asyncio.Event()
    boxes = {partition: Mailbox(woken.set) for partition in (0, 1)}
    for partition, box in boxes.items():
        world.dispatcher.register(partition, box)
        for number in range(3):
            world.send(partition, number)
    async with asyncio.timeout(SOON):
        await world.finish()
    assert woken.is_set()
    for box in boxes.values():
        assert [(found.intent, found.index, found.outcome) for found in box.first(10)] == [(7, number, Outcome.ACCEPTED) for number in range(3)]


async def test_outcomes_of_a_partition_without_a_mailbox_are_dropped() -> None:
    world = World()
    given_up, other = Mailbox(lambda: None), Mailbox(lambda: None)
    world.dispatcher.register(0, given_up)
    world.dispatcher.register(1, other)
    world.send(0, 0)
    world.send(1, 0)
    async with asyncio.timeout(SOON):
        await until_async(lambda: len(world.port.sent) == 2)
        world.dispatcher.unregister(0, given_up)
        await world.finish()
    assert (len(given_up), len(other)) == (0, 1)


async def test_a_former_worker_does_not_take_its_successors_mailbox_away() -> None:
    world = World()
    former, successor = Mailbox(lambda: None), Mailbox(lambda: None)
    world.dispatcher.register(0, former)
    world.dispatcher.register(0, successor)
    world.dispatcher.unregister(0, former)
    world.send(0, 0)
    async with asyncio.timeout(SOON):
        await world.finish()
    assert (len(former), len(successor)) == (0, 1)


def test_a_mailbox_keeps_what_is_not_written_yet() -> None:
    box = Mailbox(lambda: None)
    settlements = [Settlement(7, number, Outcome.ACCEPTED, 0) for number in range(5)]
    box.put(settlements[:3])
    box.put(settlements[3:])
    assert box.first(2) == settlements[:2]
    box.drop(2)
    assert (list(box.first(10)), bool(box)) == (settlements[2:], True)
    box.clear()
    assert not box
