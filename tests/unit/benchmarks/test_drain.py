"""The order of the benchmark that drains a backlog, and the virtual time that it runs in."""

import asyncio

import pytest

from benchmarks.reporter_drain import order_of
from benchmarks.virtual_time import VirtualClock, VirtualLoop


def test_everything_is_in_proportion_to_the_scale() -> None:
    full, tenth = order_of(1.0, 600), order_of(0.1, 600)
    assert (full.customers, full.calls_per_second, full.rows_max) == (100_000, 1_000, 50_000)
    assert (tenth.customers, tenth.calls_per_second, tenth.rows_max) == (10_000, 100, 5_000)


def test_hours_pass_at_once_in_virtual_time() -> None:
    async def wait() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = VirtualClock(loop, start_ms=1_000)
        await asyncio.gather(clock.sleep(7_200.0), clock.sleep(3_600.0))
        return clock.monotonic(), clock.now_ms()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        seconds, now_ms = runner.run(wait())
    assert (round(seconds), now_ms) == (7_200, 7_201_000)


def test_a_loop_that_waits_for_nothing_says_so() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(RuntimeError, match="never comes"):
        runner.run(asyncio.Event().wait())
