from collections.abc import Iterator
from random import Random

import pytest
from taximeter_emitter.retry import Backoff, RetryPolicy, retrying

from tests.support.manual_clock import ManualClock


def test_waits_are_spread_over_the_whole_range_and_grow_to_the_cap() -> None:
    policy = RetryPolicy(base_seconds=1, cap_seconds=8)
    longest = [0.0] * 6
    for seed in range(300):
        backoff = Backoff(policy, now=0, random=Random(seed))
        for attempt in range(6):
            delay = backoff.next_delay(0)
            assert delay is not None
            longest[attempt] = max(longest[attempt], delay)
    assert [round(value) for value in longest] == [1, 2, 4, 8, 8, 8]


def test_the_same_seed_gives_the_same_waits() -> None:
    policy = RetryPolicy()
    one, two = (Backoff(policy, now=0, random=Random(5)) for _ in range(2))
    assert [one.next_delay(0) for _ in range(9)] == [two.next_delay(0) for _ in range(9)]


def test_it_gives_up_at_the_deadline_and_never_waits_past_it() -> None:
    backoff = Backoff(RetryPolicy(base_seconds=10, cap_seconds=10, deadline_seconds=5), now=100, random=Random(1))
    delay = backoff.next_delay(104)
    assert delay is not None
    assert delay <= 1
    assert backoff.next_delay(105) is None


def test_it_gives_up_after_the_last_attempt() -> None:
    backoff = Backoff(RetryPolicy(attempts_max=3), now=0, random=Random(1))
    assert [backoff.next_delay(0) is None for _ in range(3)] == [False, False, True]
    assert backoff.attempts == 3


def test_what_the_other_side_asks_for_is_kept_or_refused() -> None:
    backoff = Backoff(RetryPolicy(cap_seconds=1, deadline_seconds=60), now=0, random=Random(1))
    assert backoff.next_delay(0, at_least=30) == 30
    assert backoff.next_delay(40, at_least=30) is None


def test_success_starts_over() -> None:
    backoff = Backoff(RetryPolicy(base_seconds=1, cap_seconds=100, deadline_seconds=5), now=0, random=Random(1))
    for _ in range(5):
        backoff.next_delay(0)
    backoff.reset(1000)
    delay = backoff.next_delay(1000)
    assert delay is not None
    assert delay <= 1


def test_ten_thousand_attempts_do_not_overflow() -> None:
    backoff = Backoff(RetryPolicy(), now=0, random=Random(1))
    assert all((backoff.next_delay(0) or 0) <= 10 for _ in range(10_000))


@pytest.mark.parametrize("wrong", [{"base_seconds": 0}, {"base_seconds": 2, "cap_seconds": 1}, {"attempts_max": 0}])
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(**wrong)


async def test_retrying_calls_until_it_works_and_tells_each_wait() -> None:
    clock = ManualClock()
    waits: list[float] = []
    outcomes: Iterator[Exception | int] = iter([ConnectionError("one"), ConnectionError("two"), 7])

    async def operation() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    result = await retrying(
        operation,
        policy=RetryPolicy(),
        clock=clock,
        random=Random(3),
        retry_on=(ConnectionError,),
        on_retry=lambda _, delay: waits.append(delay),
    )
    assert result == 7
    assert clock.slept == waits
    assert len(waits) == 2


async def test_retrying_raises_the_last_error_at_the_deadline_and_others_at_once() -> None:
    clock = ManualClock()
    calls = 0

    async def operation() -> None:
        nonlocal calls
        calls += 1
        raise ConnectionError if calls < 100 else KeyError

    policy = RetryPolicy(deadline_seconds=3, base_seconds=1)
    with pytest.raises(ConnectionError):
        await retrying(operation, policy=policy, clock=clock, random=Random(3), retry_on=(ConnectionError,))
    assert sum(clock.slept) == pytest.approx(3)
    calls = 100
    with pytest.raises(KeyError):
        await retrying(operation, policy=policy, clock=clock, random=Random(3), retry_on=(ConnectionError,))
