"""The buffer between the threads that emit and the thread that ships: bounded, exact in what it counts, whatever the threads do."""

import sys
import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from taximeter_emitter.buffer.emit_buffer import Intake, WhenFull
from taximeter_emitter.buffer.event_encoding import Event, EventEncoder
from taximeter_emitter.counts import EmitterCounts

ENCODE = EventEncoder(None).encode


def event(number: int, customer: str = "c") -> Event:
    return ENCODE(customer, {"n": number}, None, None, 1)


def make(bytes_max: int, when_full: WhenFull = "drop_and_count") -> tuple[Intake, list[int]]:
    alarms: list[int] = []
    intake = Intake(bytes_max=bytes_max, when_full=when_full, counts=EmitterCounts(), on_half_full=lambda: alarms.append(intake.events_held))
    return intake, alarms


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_events_leave_in_the_order_in_which_they_came() -> None:
    intake, _ = make(1_000_000)
    given = [event(number) for number in range(10)]
    assert all(map(intake.put, given))
    assert intake.bytes_held == sum(size for *_, size in given)
    assert [*intake.take(4), *intake.take(100)] == list(chain.from_iterable(given))
    assert (intake.bytes_held, intake.events_held, intake.taken, intake.emitted) == (0, 0, 10, 10)
    assert intake.take(1) == []


def test_the_alarm_is_given_once_until_something_is_taken() -> None:
    event(0)
    size = event(0)[-1]
    intake, alarms = make(10 * size)
    assert [intake.put(event(number)) for number in range(12)] == [True] * 10 + [False] * 2
    assert alarms == [6]
    assert intake.counts.dropped == 2
    intake.take(1)
    assert intake.put(event(13))
    assert alarms == [6, 10]


def test_what_waits_behind_takes_room() -> None:
    event(0)
    size = event(0)[-1]
    intake, alarms = make(10 * size)
    intake.set_behind(9 * size)
    assert [intake.put(event(number)) for number in range(2)] == [True, False]
    assert alarms == [1]
    intake.set_behind(0)
    assert intake.put(event(3))


def test_a_closed_buffer_takes_nothing_however_empty() -> None:
    intake, _ = make(1_000_000)
    intake.close()
    assert not intake.put(event(1))
    assert (intake.counts.dropped, intake.events_held) == (1, 0)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("when_full", ["drop_and_count", "block"])
def test_threads_that_are_switched_at_any_moment_lose_and_miscount_nothing(when_full: WhenFull) -> None:
    intake, _ = make(20_000, when_full)
    puts = 5_000
    accepted = [0] * 4
    taken: list[Any] = []

    def put_many(thread: int) -> None:
        customer = f"c{thread}"
        for number in range(puts):
            accepted[thread] += intake.put(event(number, customer))

    threads = [threading.Thread(target=put_many, args=(thread,)) for thread in range(len(accepted))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += intake.take(7)
        assert intake.bytes_held <= 20_000
    while parts := intake.take(7):
        taken += parts
    assert intake.emitted == intake.taken == sum(accepted)
    assert sum(accepted) + intake.counts.dropped == puts * len(accepted)
    assert intake.bytes_held == 0
    customers, numbers = taken[0::6], taken[4::6]
    for place, count in enumerate(accepted):
        mine = [number for customer, number in zip(customers, numbers, strict=True) if customer == f"c{place}"]
        assert mine == sorted(mine)
        assert len(mine) == count
