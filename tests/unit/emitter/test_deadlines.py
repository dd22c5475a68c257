"""Time limits, also as Python 3.10 has them, and tasks that end together."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from taximeter_emitter.deadlines import TimeLimit, run_together, timeout, wait_for_event

Limit = Callable[[float], AbstractAsyncContextManager[object]]
limits = pytest.mark.parametrize("limit", [TimeLimit, timeout])


@limits
async def test_a_limit_ends_what_takes_too_long(limit: Limit) -> None:
    with pytest.raises(TimeoutError):
        async with limit(0.01):
            await asyncio.sleep(60)


@limits
async def test_what_ends_in_time_is_left_alone(limit: Limit) -> None:
    async with limit(60.0):
        await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        async with limit(60.0):
            raise ZeroDivisionError


@limits
async def test_a_cancellation_passes_through(limit: Limit) -> None:
    async def wait() -> None:
        async with limit(60.0):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_waiting_for_an_event_ends_with_it_or_without() -> None:
    event = asyncio.Event()
    await wait_for_event(event, 0.01)
    event.set()
    await wait_for_event(event, 60.0)


async def test_the_first_failure_ends_the_others_and_is_raised() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_together(forever(), fail())
    assert ended.is_set()


async def test_all_are_waited_for_and_a_cancellation_reaches_them() -> None:
    done: list[str] = []

    async def note(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(name)

    await run_together(note("slow", 0.01), note("quick", 0))
    assert done == ["quick", "slow"]
    together = asyncio.create_task(run_together(note("never", 60), note("at once", 0)))
    await asyncio.sleep(0.01)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
    assert done == ["quick", "slow", "at once"]
    assert len(asyncio.all_tasks()) == 1
