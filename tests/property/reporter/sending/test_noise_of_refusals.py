"""What refusals cost that have nothing to do with the pace: the real dispatcher, lanes and pacer in virtual time."""

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from random import Random
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from benchmarks.virtual_time import VirtualClock, VirtualLoop
from metering.process.logs import get_log
from metering.records.ledger_records import MeterEvent
from metering.records.meters import Catalogue, Meter
from metering.workers.loop_turns import LoopTurns
from reporter.dispatch import REPEATS, Dispatcher
from reporter.metrics import ReporterMetrics
from reporter.sending.lanes import Lanes, MeterSend
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, Retry, TryAgain, Verdict

START_MS: Final = 1_795_305_600_000
LIMIT_PER_S: Final = 100.0
SECONDS: Final = 150
CALL_SECONDS: Final = 0.1
CUSTOMERS: Final = 200
# The share of calls that is refused, and how much of the rate that is allowed may be lost: a refused call is a call, too.
NOISE: Final = [(0.0001, 0.001), (0.001, 0.003), (0.01, 0.02), (0.03, 0.05)]


class NoisyStripe:
    """Refuses this share of the calls, whatever their pace, and takes the others."""

    def __init__(self, share: float) -> None:
        self.taken = 0
        self.refused = 0
        self._share = share
        self._random = Random(2)

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        del event_name, payload, identifier, timestamp_s, idempotency_key
        await asyncio.sleep(CALL_SECONDS)
        if self._random.random() < self._share:
            self.refused += 1
            return TryAgain(Retry.RATE_LIMITED, "noise", rate_limited=True)
        self.taken += 1
        return Delivered()

    take_back = send

    def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Awaitable[Verdict]:
        raise NotImplementedError((event_name, identifier, idempotency_key))

    async def close(self) -> None:
        """Nothing is open."""


def lost_share(share: float) -> float:
    """The part of the allowed rate at which nothing was taken, with work enough for all of it."""
    loop = VirtualLoop()
    pacer, stripe = Pacer(LIMIT_PER_S), NoisyStripe(share)
    try:
        loop.run_until_complete(_drain(VirtualClock(loop, START_MS), pacer, stripe))
    finally:
        loop.close()
    assert stripe.refused
    return 1.0 - stripe.taken / (pacer.ceiling_per_s * SECONDS)


async def _drain(clock: VirtualClock, pacer: Pacer, stripe: NoisyStripe) -> None:
    lanes = Lanes(capacity=20_000, in_flight_max=64, retry_delay_s=partial(REPEATS.wait_seconds, random=Random(1)), probe_every_s=30.0)
    dispatcher = Dispatcher(
        lanes=lanes,
        pacer=pacer,
        port=stripe,
        meters=Catalogue([Meter("tokens", ("input_tokens",))]),
        metrics=ReporterMetrics.create(CollectorRegistry()),
        clock=clock,
        log=get_log("test"),
        turns=LoopTurns(),
    )
    for number in range(int(LIMIT_PER_S * SECONDS)):
        event = MeterEvent(f"cus_{number % CUSTOMERS}", "tokens", (), START_MS, 5)
        lanes.add(MeterSend(0, 7, number, f"tm-{number}", event, START_MS, doubtful=False))
    stop = asyncio.Event()
    running = asyncio.ensure_future(dispatcher.run(stop))
    await clock.sleep(SECONDS)
    stop.set()
    dispatcher.wake()
    await running


@pytest.mark.parametrize(("share", "cost"), NOISE)
def test_refusals_now_and_then_cost_little_of_the_rate(share: float, cost: float) -> None:
    assert lost_share(share) <= cost


def test_a_pacer_that_takes_each_refusal_to_heart_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def halve(self: Pacer, now: float, **_: float) -> None:
        self._fill(now)
        self._rate = self._within(self._rate / 2)
        self._climb = type(self._climb)(self._rate)

    monkeypatch.setattr(Pacer, "on_rate_limited", halve)
    assert lost_share(0.001) > 0.2
