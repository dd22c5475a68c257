"""What became of a meter event goes to its partition's mailbox, in order, and nowhere else."""

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.process.logs import get_log
from metering.records.ledger_records import MeterEvent, Outcome, Settlement
from metering.records.meters import Catalogue, Meter
from metering.workers.loop_turns import LoopTurns
from reporter.dispatch import Dispatcher
from reporter.mailbox import Mailbox
from reporter.metrics import ReporterMetrics
from reporter.sending.lanes import Lanes, MeterSend
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, Retry, TryAgain, Verdict
from tests.support.waiting import until_async

SOON = 30.0


class Taker:
    """A port to a Stripe that takes everything, once `answering` is set."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.sent: list[str] = []
        self.taken_back: list[str] = []

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        assert payload["value"] == "5"
        return await self._take(event_name, identifier, timestamp_s, idempotency_key)

    async def take_back(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        assert payload["value"] == "-5"
        self.taken_back.append(identifier)
        return await self._take(event_name, identifier, timestamp_s, idempotency_key)

    async def _take(self, event_name: str, identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        assert (event_name, idempotency_key) == ("tokens", identifier)
        assert timestamp_s > 0
        self.sent.append(identifier)
        verdict = self.verdict()
        await self.answering.wait()
        return verdict

    def verdict(self) -> Verdict:
        """On the call that begins now."""
        return Delivered()

    async def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Verdict:
        raise AssertionError((event_name, identifier, idempotency_key))

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """A dispatcher that runs, and its port."""

    def __init__(self, port: Taker | None = None, pacer: Pacer | None = None) -> None:
        self.port = port or Taker()
        self.stop = asyncio.Event()
        self.dispatcher = Dispatcher(
            lanes=Lanes(capacity=100, in_flight_max=10, retry_delay_s=lambda _: 0.01, probe_every_s=1.0),
            pacer=pacer or Pacer(100_000.0),
            port=self.port,
            meters=Catalogue([Meter("tokens", ("input_tokens",))]),
            metrics=ReporterMetrics.create(CollectorRegistry()),
            clock=SystemClock(),
            log=get_log("test"),
            turns=LoopTurns(),
        )
        self.task = asyncio.create_task(self.dispatcher.run(self.stop))

    def send(self, partition: int, number: int, value: int = 5) -> None:
        """Number `number` of the partition's intent at offset 7; one customer for each partition, so that they are sent in order."""
        now_ms = SystemClock().now_ms()
        event = MeterEvent(f"cus_{partition}", "tokens", (), now_ms, value)
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


async def test_what_is_below_zero_is_taken_back_in_its_turn() -> None:
    world, box = World(), Mailbox(lambda: None)
    world.dispatcher.register(0, box)
    for number, value in enumerate((5, -5, 5)):
        world.send(0, number, value)
    async with asyncio.timeout(SOON):
        await world.finish()
    assert (world.port.sent, world.port.taken_back) == (["tm-0-0", "tm-0-1", "tm-0-2"], ["tm-0-1"])
    assert [found.outcome for found in box.first(10)] == [Outcome.ACCEPTED] * 3


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


class Breaking(Taker):
    """Its code fails over the first attempts of two partitions: at once, and in the call."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []

    def send(self, *, identifier: str, **about: Any) -> Any:
        if identifier not in self.failed and identifier in {"tm-0-0", "tm-1-0"}:
            self.failed.append(identifier)
            if identifier == "tm-0-0":
                raise KeyError("nobody foresaw this")
            return self._break()
        return super().send(identifier=identifier, **about)

    async def _break(self) -> Verdict:
        raise ZeroDivisionError


async def test_code_that_fails_over_a_meter_event_costs_that_one_a_repetition_and_others_nothing() -> None:
    world = World(Breaking())
    boxes = {partition: Mailbox(lambda: None) for partition in range(3)}
    for partition, box in boxes.items():
        world.dispatcher.register(partition, box)
        for number in range(2):
            world.send(partition, number)
    async with asyncio.timeout(SOON):
        await world.finish()
    assert isinstance(world.port, Breaking)
    assert sorted(world.port.failed) == ["tm-0-0", "tm-1-0"]
    for box in boxes.values():
        assert {found.index: found.outcome for found in box.first(10)} == {0: Outcome.ACCEPTED, 1: Outcome.ACCEPTED}
    # Until it was, nobody knew whether Stripe had it.
    assert [found.outcome for found in boxes[1].first(1)] == [Outcome.UNKNOWN]
    assert [found.outcome for found in boxes[2].first(1)] == [Outcome.ACCEPTED]


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


class CountingPacer(Pacer):
    """Counts what Stripe's replies say of the pace, and lets at most `at_once` calls be under way."""

    def __init__(self, *, at_once: float = inf) -> None:
        super().__init__(100_000.0)
        self.at_once = at_once
        self.heard: list[str] = []

    @property
    def in_flight_max(self) -> float:
        return self.at_once

    def on_rate_limited(self, now: float, *, began: float) -> None:
        assert began <= now
        self.heard.append("rate")

    def on_concurrency_limited(self, now: float, *, began: float, in_flight: int) -> None:
        assert began <= now
        self.heard.append(f"{in_flight} at once")

    def on_success(self, now: float, *, began: float) -> None:
        assert began <= now
        self.heard.append("success")


class Replier(Taker):
    """A port to a Stripe that answers the first calls with `verdicts`, in order, all in one turn of the loop."""

    def __init__(self, verdicts: list[Verdict]) -> None:
        super().__init__()
        self.verdicts = verdicts

    def verdict(self) -> Verdict:
        return self.verdicts.pop(0) if self.verdicts else Delivered()


def too_many(*, concurrency: bool = False) -> TryAgain:
    return TryAgain(Retry.RATE_LIMITED, rate_limited=True, concurrency_limited=concurrency)


async def heard_after(verdicts: list[Verdict]) -> list[str]:
    """What the pacer heard of the first replies, to as many customers' calls under way together."""
    pacer = CountingPacer()
    world, count = World(Replier(list(verdicts)), pacer), len(verdicts)
    for customer in range(count):
        world.send(customer, 0)
    async with asyncio.timeout(SOON):
        await world.finish()
    return pacer.heard


async def test_events_that_shared_a_request_are_one_reply_for_the_pace() -> None:
    assert (await heard_after([too_many()] * 5)).count("rate") == 1
    assert (await heard_after([too_many() for _ in range(5)])).count("rate") == 5
    assert await heard_after([Delivered()] * 5) == ["success"]


async def test_a_limit_on_calls_at_once_is_not_one_on_their_rate() -> None:
    heard = await heard_after([too_many(concurrency=True), too_many(), Delivered()])
    assert heard[:3] == ["3 at once", "rate", "success"]


async def test_no_more_calls_are_under_way_than_the_pacer_allows() -> None:
    pacer = CountingPacer(at_once=2)
    world = World(pacer=pacer)
    for customer in range(5):
        world.send(customer, 0)
    async with asyncio.timeout(SOON):
        await until_async(lambda: len(world.port.sent) == 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(world.port.sent) == 2
        await world.finish()
    assert len(world.port.sent) == 5
