"""Turns of the event loop: what waits is woken, and calls run beside the one who started them."""

import asyncio

import pytest

from metering.workers.loop_turns import LoopCalls, LoopNews, LoopTurns

SOON = 30.0


async def test_news_that_come_while_one_waits_end_the_wait() -> None:
    news = LoopNews()
    waiting = asyncio.create_task(news.wait(SOON))
    await asyncio.sleep(0)
    news.tell()
    await asyncio.wait_for(waiting, SOON / 2)


async def test_news_from_before_are_forgotten_and_the_time_passes() -> None:
    news = LoopNews()
    news.tell()
    waiting = asyncio.create_task(news.wait(SOON))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await news.wait(0.0)
    await news.wait(-1.0)


async def test_a_call_ends_after_start_has_returned_and_is_then_no_longer_under_way() -> None:
    calls: LoopCalls[int] = LoopTurns().calls()
    ended: list[tuple[int, int]] = []

    async def call() -> int:
        return 5

    calls.start(call(), lambda result: ended.append((result, len(calls))), lambda _: pytest.fail("it ended otherwise"))
    assert not ended
    assert len(calls) == 1
    await calls.finish()
    await asyncio.sleep(0)
    assert ended == [(5, 0)]
    await calls.finish()


async def test_a_cancelled_call_tells_nothing() -> None:
    calls: LoopCalls[None] = LoopTurns().calls()
    ended: list[None] = []
    calls.start(asyncio.sleep(SOON), ended.append, lambda _: pytest.fail("it ended otherwise"))
    await calls.cancel()
    await asyncio.sleep(0)
    assert not ended
    assert not len(calls)


async def test_a_call_that_raises_is_told_with_what_it_raised_and_is_no_longer_under_way() -> None:
    calls: LoopCalls[int] = LoopTurns().calls()
    failed: list[tuple[str, int]] = []

    async def call() -> int:
        raise KeyError("nobody foresaw this")

    calls.start(call(), lambda _: pytest.fail("it ended otherwise"), lambda error: failed.append((type(error).__name__, len(calls))))
    await calls.finish()
    await asyncio.sleep(0)
    assert failed == [("KeyError", 0)]


async def test_appends_go_together_and_one_that_fails_does_not_end_the_others() -> None:
    others, done = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        await others.wait()
        raise OSError("odd")

    async def goes_on() -> None:
        others.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.set()

    with pytest.raises(OSError, match="odd"):
        await asyncio.wait_for(LoopTurns().together([fails(), goes_on()]), SOON)
    await asyncio.wait_for(done.wait(), SOON)
