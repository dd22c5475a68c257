"""The pacer against models of Stripe, in virtual time: noise, limits on the rate, limits on calls at the same time. Seeds make it repeatable."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import pytest

from reporter.sending.pacing import Pacer

Answer: TypeAlias = Literal["taken", "rate", "concurrency"]
# (now, requests under way with this one) -> Stripe's answer.
Stripe: TypeAlias = Callable[[float, int], Answer]

V1, V2 = 1, 100  # events a request
LATENCY_S: Final = 0.1
SEEDS: Final = range(2)
# The share of requests that are refused, and how much of the rate that may cost.
NOISE: Final = [(0.0001, 0.02), (0.001, 0.05), (0.01, 0.15), (0.03, 0.30)]


@dataclass
class Run:
    """What a reporter with endless work did. Times are seconds; `taken` and `refused` are of requests."""

    events_per_request: int
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def events_per_s(self, start: float, end: float) -> float:
        """Events that Stripe took."""
        return sum(start <= at < end for at in self.taken) * self.events_per_request / (end - start)

    def refused_share(self, start: float, end: float) -> float:
        refused = sum(start <= at < end for at in self.refused)
        return refused / max(1, refused + sum(start <= at < end for at in self.taken))


def run(pacer: Pacer, stripe: Stripe, seconds: float, *, events_per_request: int = V1, until: float = 0.0) -> Run:
    """Call as fast as the pacer allows, as the dispatcher does. A refusal comes back in half of the time."""
    result, now, gathered = Run(events_per_request), until, 0
    flying: list[tuple[float, float, Answer]] = []  # comes back at, began at
    while now < until + seconds:
        wait = 1.0
        if len(flying) < pacer.in_flight_max and (wait := pacer.take(now)) == 0.0:
            gathered += 1
            if gathered == events_per_request:
                gathered = 0
                answer = stripe(now, len(flying) + 1)
                (result.taken if answer == "taken" else result.refused).append(now)
                heapq.heappush(flying, (now + (LATENCY_S if answer == "taken" else LATENCY_S / 2), now, answer))
            continue
        now = min(now + wait, flying[0][0]) if flying else now + wait
        while flying and flying[0][0] <= now:
            in_flight = len(flying)
            _, began, answer = heapq.heappop(flying)
            if answer == "taken":
                pacer.on_success(now, began=began)
            elif answer == "rate":
                pacer.on_rate_limited(now, began=began)
            else:
                pacer.on_concurrency_limited(now, began=began, in_flight=in_flight)
    return result


def noise(share: float, seed: int, *, answer: Answer = "rate") -> Stripe:
    rng = random.Random(seed)
    return lambda _now, _in_flight: answer if rng.random() < share else "taken"


def limit(rate_per_s: Callable[[float], float], *, by_the_second: bool = False, noise_share: float = 0.0) -> Stripe:
    """Takes `rate_per_s` requests a second, in a token bucket of a tenth of a second or counted by the second; and some noise."""
    rng = random.Random(1)
    tokens, filled_at = 0.0, -1.0

    def answer(now: float, _in_flight: int) -> Answer:
        nonlocal tokens, filled_at
        rate = rate_per_s(now)
        if not by_the_second:
            tokens = min(max(1.0, rate * 0.1), tokens + (now - filled_at) * rate)
        elif int(now) != int(filled_at):
            tokens = rate
        filled_at = now
        if tokens < 1.0 or rng.random() < noise_share:
            return "rate"
        tokens -= 1.0
        return "taken"

    return answer


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("share", "cost"), NOISE)
@pytest.mark.parametrize(
    "world",
    [(1000, V1, 30), (100, V1, 300), (40, V1, 400), (12, V1, 900), (1000, V2, 120), (5000, V2, 20), (300, V2, 400)],
)
def test_noise_costs_little(world: tuple[float, int, float], share: float, cost: float, seed: int) -> None:
    limit_per_s, events_per_request, seconds = world
    pacer = Pacer(limit_per_s)
    result = run(pacer, noise(share, seed), seconds, events_per_request=events_per_request)
    assert result.events_per_s(0, seconds) >= (1 - cost) * pacer.ceiling_per_s


@pytest.mark.parametrize(("share", "cost"), NOISE)
def test_noise_of_refusals_for_concurrency_costs_little(share: float, cost: float) -> None:
    pacer = Pacer(1000)
    result = run(pacer, noise(share, 5, answer="concurrency"), 100)
    assert result.events_per_s(0, 100) >= (1 - cost) * pacer.ceiling_per_s


@pytest.mark.parametrize("by_the_second", [False, True])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.25, 0.1])
def test_a_limit_below_ours_is_followed_and_probed_rarely(part: float, by_the_second: bool) -> None:
    pacer = Pacer(1000)
    taken = part * pacer.ceiling_per_s
    result = run(pacer, limit(lambda _: taken, by_the_second=by_the_second, noise_share=0.001), 120)
    assert result.events_per_s(30, 120) >= 0.85 * taken
    assert result.refused_share(30, 120) <= 0.06


@pytest.mark.parametrize(("limit_per_s", "events_per_request"), [(1000, V1), (100, V1), (1000, V2), (5000, V2)])
def test_a_limit_that_falls_is_respected_after_a_second_and_one_that_comes_back_is_used(limit_per_s: float, events_per_request: int) -> None:
    pacer = Pacer(limit_per_s)
    requests_per_s = pacer.ceiling_per_s / events_per_request
    stripe = limit(lambda now: requests_per_s * (0.5 if 20 <= now < 60 else 2.0))
    run(pacer, stripe, 20.0, events_per_request=events_per_request)
    assert pacer.rate_per_s == pacer.ceiling_per_s
    run(pacer, stripe, 1.0, events_per_request=events_per_request, until=20.0)
    # Eight requests a second are too few to know in one second how far the limit fell.
    assert 0.3 * pacer.ceiling_per_s <= pacer.rate_per_s <= (0.65 if requests_per_s > 20 else 0.75) * pacer.ceiling_per_s
    during = run(pacer, stripe, 39.0, events_per_request=events_per_request, until=21.0)
    assert during.events_per_s(21, 60) >= 0.35 * pacer.ceiling_per_s
    assert during.refused_share(21, 60) <= 0.15
    run(pacer, stripe, 20.0, events_per_request=events_per_request, until=60.0)
    assert pacer.rate_per_s == pacer.ceiling_per_s


def test_when_everything_is_refused_the_least_rate_is_reached_in_seconds_and_left_within_three_minutes() -> None:
    pacer = Pacer(1000)
    run(pacer, noise(1.0, 1), 5.0)
    assert pacer.rate_per_s <= 3.0
    run(pacer, noise(1.0, 1), 60.0, until=5.0)
    assert pacer.rate_per_s == 1.0
    run(pacer, noise(0.0, 1), 180.0, until=65.0)
    assert pacer.rate_per_s == pacer.ceiling_per_s


@pytest.mark.parametrize("at_once", [1, 5, 20, 60])
def test_a_limit_on_calls_at_once_bounds_the_calls_in_flight_and_leaves_the_rate_alone(at_once: int) -> None:
    pacer = Pacer(1000)

    def stripe(_now: float, in_flight: int) -> Answer:
        return "taken" if in_flight <= at_once else "concurrency"

    result = run(pacer, stripe, 120.0)
    assert pacer.rate_per_s == pacer.ceiling_per_s
    assert 1 <= pacer.in_flight_max < 2 * at_once + 1
    assert result.events_per_s(10, 120) >= 0.7 * min(pacer.ceiling_per_s, at_once / LATENCY_S)
    assert result.refused_share(10, 120) <= 0.15
    freed = run(pacer, noise(0.0, 1), 120.0, until=120.0)
    assert freed.events_per_s(180, 240) >= 0.98 * pacer.ceiling_per_s
