import asyncio
import logging

import pytest

from metering.process.logs import get_log
from metering.process.supervision import RefusedToStart, Supervisor

LOG = get_log("test.supervision")
SOON = 30.0


def supervisor() -> Supervisor:
    return Supervisor(LOG, on_stop=lambda: None)


async def test_main_and_foreground_tasks_drain_before_the_background_is_cancelled() -> None:
    events: list[str] = []
    sup = supervisor()

    async def drains() -> None:
        await sup.stop.wait()
        await asyncio.sleep(0.01)
        events.append("drained")

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            events.append("background ended")

    async def main() -> None:
        sup.spawn("worker", drains())
        sup.spawn("sampler", for_ever(), background=True)
        await asyncio.sleep(0)
        assert sup.running() == ("main", "sampler", "worker")
        sup.request_stop("test")
        await sup.stop.wait()
        events.append("main returned")

    await sup.run(main())
    assert events == ["main returned", "drained", "background ended"]
    assert sup.running() == ()


async def test_when_main_returns_the_others_are_asked_to_stop() -> None:
    sup = supervisor()
    reasons: list[bool] = []

    async def worker() -> None:
        await sup.stop.wait()
        reasons.append(True)

    async def main() -> None:
        sup.spawn("worker", worker())

    await asyncio.wait_for(sup.run(main()), SOON)
    assert reasons == [True]


async def test_a_crash_cancels_the_others_sets_stop_and_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    sup = supervisor()
    ended: list[str] = []

    async def crashes() -> None:
        raise LookupError("broken")

    async def main() -> None:
        sup.spawn("worker", crashes())
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("main")

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(sup.run(main()), SOON)
    assert caught.group_contains(LookupError, match="broken")
    assert ended == ["main"]
    assert sup.stop.is_set()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == ["task crashed"]


async def test_a_background_crash_is_a_crash() -> None:
    sup = supervisor()

    async def crashes() -> None:
        raise LookupError

    async def main() -> None:
        sup.spawn("sampler", crashes(), background=True)
        await sup.stop.wait()
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(sup.run(main()), SOON)


async def test_a_task_that_cancels_itself_is_not_taken_for_a_normal_end() -> None:
    sup = supervisor()

    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(sup.run(main()), SOON)
    assert caught.group_contains(RuntimeError, match="main cancelled itself")


async def test_refusal_logs_each_problem_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    sup = supervisor()

    async def main() -> None:
        raise RefusedToStart(["one", "two"])

    with pytest.raises(ExceptionGroup) as caught:
        await sup.run(main())
    assert caught.group_contains(RefusedToStart)
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in records] == ["refused to start", "refused to start"]
    assert all(not record.exc_info for record in records)


async def test_a_task_cancelled_before_its_first_step_leaves_no_warning() -> None:
    sup = supervisor()

    async def never() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        sup.spawn("late", never(), background=True).cancel()
        raise LookupError

    with pytest.raises(ExceptionGroup):
        await sup.run(main())


async def test_spawning_when_all_is_ending_is_refused_without_a_warning() -> None:
    sup = supervisor()

    async def main() -> None:
        return

    async def late() -> None:
        return

    await sup.run(main())
    with pytest.raises(RuntimeError):
        sup.spawn("late", late())
