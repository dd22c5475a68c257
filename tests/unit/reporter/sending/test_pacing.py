import random
from math import inf

import pytest

from reporter.dispatch import REPEATS
from reporter.sending.pacing import Pacer


def calls_within(pacer: Pacer, start: float, seconds: float) -> list[float]:
    """The times of the calls of somebody who calls as often as the pacer lets them."""
    times, now = [], start
    while now < start + seconds:
        wait = pacer.take(now)
        if wait == 0.0:
            times.append(now)
        now += wait
    return times


@pytest.mark.parametrize("limit", [25, 100, 1000])
def test_no_second_sees_more_calls_than_the_limit_and_a_long_run_uses_four_fifths_of_it(limit: int) -> None:
    times = calls_within(Pacer(limit), 50.0, 20.0)
    busiest = max(sum(1 for other in times if start <= other < start + 1.0) for start in times[:: len(times) // 50])
    assert busiest <= limit
    assert len(times) == pytest.approx(0.8 * limit * 20, rel=0.02)


def test_tokens_are_not_saved_up_over_a_long_pause() -> None:
    pacer = Pacer(1000)
    calls_within(pacer, 0.0, 1.0)
    assert sum(pacer.take(3600.0) == 0.0 for _ in range(1000)) == 80


def refused_together(pacer: Pacer, now: float, *, taken: int, refused: int) -> None:
    """Replies to requests that began just before, over a quarter of a second."""
    pacer.on_success(now, began=now)
    for _ in range(taken - 1):
        pacer.on_success(now + 0.25, began=now)
    for _ in range(refused):
        pacer.on_rate_limited(now + 0.25, began=now)


def test_a_stray_refusal_changes_nothing() -> None:
    pacer = Pacer(1000)
    pacer.on_rate_limited(10.0, began=9.9)
    pacer.on_rate_limited(10.5, began=10.4)
    refused_together(pacer, 20.0, taken=1000, refused=80)
    assert pacer.rate_per_s == 800
    assert pacer.take(20.25) == 0.0


def test_many_refusals_are_one_fall_to_what_stripe_takes() -> None:
    pacer = Pacer(1000)
    refused_together(pacer, 10.0, taken=100, refused=11)
    assert pacer.rate_per_s == pytest.approx(800 * 100 / 111)
    assert pacer.take(10.25) > 0
    for _ in range(100):
        pacer.on_rate_limited(10.4, began=10.2)
    assert pacer.rate_per_s == pytest.approx(800 * 100 / 111), "these calls went out at the old rate"


def test_refusals_within_a_moment_wait_for_more_replies() -> None:
    pacer = Pacer(1000)
    for _ in range(50):
        pacer.on_rate_limited(10.0, began=9.9)
    assert pacer.rate_per_s == 800
    pacer.on_rate_limited(10.25, began=9.9)
    assert pacer.rate_per_s == 400, "no more than half at once"


def test_a_few_calls_a_second_are_judged_by_the_last_ten() -> None:
    pacer = Pacer(1000)
    for second in range(20):
        pacer.on_success(float(second), began=float(second))
    pacer.on_rate_limited(20.0, began=20.0)
    pacer.on_rate_limited(21.0, began=21.0)
    assert pacer.rate_per_s == 800
    pacer.on_rate_limited(22.0, began=22.0)
    assert pacer.rate_per_s == pytest.approx(800 * 0.7)


def test_the_rate_never_falls_below_the_least() -> None:
    pacer = Pacer(1000, rate_min_per_s=2.0)
    for now in range(60):
        pacer.on_rate_limited(float(now), began=float(now))
    assert pacer.rate_per_s == 2.0


def test_the_rate_comes_back_in_proportion_flat_at_first() -> None:
    pacer = Pacer(1000)
    refused_together(pacer, 0.0, taken=30, refused=10)
    good = pacer.rate_per_s
    for tenth in range(10, 161):
        pacer.on_success(tenth / 10, began=tenth / 10)
        climbed = tenth / 10 - 1.0
        assert pacer.rate_per_s == pytest.approx(min(800, good * (1 + (climbed / 15) ** 3)))
    assert pacer.rate_per_s == 800


def test_the_climb_depends_on_time_and_not_on_how_many_calls_succeed() -> None:
    slow, fast = Pacer(1000), Pacer(1000)
    for pacer, calls in ((slow, 10), (fast, 1000)):
        refused_together(pacer, 0.0, taken=10, refused=20)
        for call in range(calls + 1):
            pacer.on_success(1.0 + call * 5.0 / calls, began=1.0)
    assert fast.rate_per_s == pytest.approx(slow.rate_per_s)


def test_one_success_after_a_long_silence_does_not_undo_what_was_learnt() -> None:
    pacer = Pacer(1000)
    refused_together(pacer, 0.0, taken=20, refused=20)
    good = pacer.rate_per_s
    pacer.on_success(1.0, began=1.0)
    pacer.on_success(3600.0, began=3600.0)
    assert good < pacer.rate_per_s < 1.001 * good < 800


def test_too_many_calls_at_once_lower_the_bound_on_calls_in_flight_and_not_the_rate() -> None:
    pacer = Pacer(1000)
    for _ in range(4):
        pacer.on_concurrency_limited(1.0, began=0.9, in_flight=50)
    assert pacer.in_flight_max == inf
    pacer.on_concurrency_limited(1.25, began=1.1, in_flight=50)
    assert (pacer.in_flight_max, pacer.rate_per_s) == (40, 800)
    for now in range(2, 60):
        pacer.on_concurrency_limited(float(now), began=float(now), in_flight=1)
    assert (pacer.in_flight_max, pacer.rate_per_s) == (1, 800)
    for now in range(60, 76):
        pacer.on_success(float(now), began=float(now))
    assert pacer.in_flight_max == 2


def test_the_share_divides_the_limit_and_keeps_what_was_learnt() -> None:
    pacer = Pacer(1000)
    pacer.set_share(owned=2, total=8, now=0.0)
    assert pacer.ceiling_per_s == pacer.rate_per_s == 200
    refused_together(pacer, 1.0, taken=10, refused=10)
    learnt = pacer.rate_per_s
    pacer.set_share(owned=4, total=8, now=2.0)
    assert pacer.ceiling_per_s == 400
    assert pacer.rate_per_s == pytest.approx(2 * learnt)
    assert learnt < 200
    pacer.set_share(owned=0, total=8, now=3.0)
    assert pacer.take(100.0) > 0
    pacer.set_share(owned=8, total=8, now=101.0)
    assert pacer.take(102.0) == 0.0


@pytest.mark.parametrize(("owned", "total"), [(-1, 8), (9, 8), (0, 0)])
def test_an_impossible_share_is_refused(owned: int, total: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        Pacer(1000).set_share(owned=owned, total=total, now=0.0)


def test_a_tiny_share_still_calls_now_and_then() -> None:
    pacer = Pacer(25, rate_min_per_s=1.0)
    pacer.set_share(owned=1, total=64, now=0.0)
    assert pacer.ceiling_per_s == pytest.approx(0.3125)
    assert len(calls_within(pacer, 0.0, 320.0)) == pytest.approx(100, abs=2)


def test_a_clock_that_stands_still_or_goes_back_gives_no_tokens() -> None:
    pacer = Pacer(10)
    assert pacer.take(5.0) == 0.0
    assert pacer.take(5.0) > 0
    assert pacer.take(4.0) > 0
    assert pacer.take(4.01) > 0


@pytest.mark.parametrize(("limit", "least"), [(0, 1), (-5, 1), (10, 0)])
def test_a_pacer_needs_a_rate(limit: float, least: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Pacer(limit, rate_min_per_s=least)


def test_waits_between_attempts_are_anywhere_below_a_bound_that_doubles_up_to_the_cap() -> None:
    rng = random.Random(7)
    for attempts, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (8, 45.0), (5000, 45.0)):
        waits = [REPEATS.wait_seconds(attempts, rng) for _ in range(400)]
        assert 0 <= min(waits) < 0.05 * longest
        assert 0.95 * longest < max(waits) <= longest


def test_the_same_seed_gives_the_same_waits() -> None:
    first, second = random.Random(3), random.Random(3)
    assert [REPEATS.wait_seconds(n, first) for n in range(1, 20)] == [REPEATS.wait_seconds(n, second) for n in range(1, 20)]
