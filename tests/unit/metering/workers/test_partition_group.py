import asyncio

import pytest

from metering.workers.membership import MembershipLost
from metering.workers.partition_group import lost_if_it_cancels_itself


async def test_a_client_that_cancels_what_waits_for_it_costs_the_membership_and_not_the_process() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def commit() -> None:
        await answer

    waiting = asyncio.create_task(lost_if_it_cancels_itself(commit()))
    await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(MembershipLost):
        await waiting


async def test_who_is_cancelled_from_outside_ends_so() -> None:
    waiting = asyncio.create_task(lost_if_it_cancels_itself(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
