"""The buffer between the threads that emit and the thread that ships: bounded, exact in what it counts, whatever the threads do."""

import sys
import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from taximeter_emitter.buffer.emit_buffer import EmitBuffer, WhenFull
from taximeter_emitter.buffer.event_encoding import Event, EventEncoder
from taximeter_emitter.counts import EmitterCounts

ENCODE = EventEncoder(None).encode


def event(number: int, customer: str = "c") -> Event:
    return ENCODE(customer, {"n": number}, None, None, 1)


def make(bytes_max: int, when_full: WhenFull = "drop_and_count") -> tuple[EmitBuffer, list[int]]:
    alarms: list[int] = []
    buffer = EmitBuffer(bytes_max=bytes_max, when_full=when_full, counts=EmitterCounts(), on_half_full=lambda: alarms.append(buffer.events_held))
    return buffer, alarms


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_events_leave_in_the_order_in_which_they_came() -> None:
    buffer, _ = make(1_000_000)
    given = [event(number) for number in range(10)]
    assert all(map(buffer.put, given))
    assert buffer.bytes_held == sum(size for *_, size in given)
    assert [*buffer.take(4), *buffer.take(100)] == list(chain.from_iterable(given))
    assert (buffer.bytes_held, buffer.events_held, buffer.taken, buffer.emitted) == (0, 0, 10, 10)
    assert buffer.take(1) == []


def test_the_alarm_is_given_once_until_something_is_taken() -> None:
    event(0)
    size = event(0)[-1]
    buffer, alarms = make(10 * size)
    assert [buffer.put(event(number)) for number in range(12)] == [True] * 10 + [False] * 2
    assert alarms == [6]
    assert buffer.counts.dropped == 2
    buffer.take(1)
    assert buffer.put(event(13))
    assert alarms == [6, 10]


def test_what_waits_behind_takes_room() -> None:
    event(0)
    size = event(0)[-1]
    buffer, alarms = make(10 * size)
    buffer.set_behind(9 * size)
    assert [buffer.put(event(number)) for number in range(2)] == [True, False]
    assert alarms == [1]
    buffer.set_behind(0)
    assert buffer.put(event(3))


def test_a_closed_buffer_takes_nothing_however_empty() -> None:
    buffer, _ = make(1_000_000)
    buffer.close()
    assert not buffer.put(event(1))
    assert (buffer.counts.dropped, buffer.events_held) == (1, 0)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("when_full", ["drop_and_count", "block"])
def test_threads_that_are_switched_at_any_moment_lose_and_miscount_nothing(when_full: WhenFull) -> None:
    buffer, _ = make(20_000, when_full)
    puts = 5_000
    accepted = [0] * 4
    taken: list[Any] = []

    def put_many(thread: int) -> None:
        customer = f"c{thread}"
        for number in range(puts):
            accepted[thread] += buffer.put(event(number, customer))

    threads = [threading.Thread(target=put_many, args=(thread,)) for thread in range(len(accepted))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += buffer.take(7)
        assert buffer.bytes_held <= 20_000
    while parts := buffer.take(7):
        taken += parts
    assert buffer.emitted == buffer.taken == sum(accepted)
    assert sum(accepted) + buffer.counts.dropped == puts * len(accepted)
    assert buffer.bytes_held == 0
    customers, numbers = taken[0::6], taken[4::6]
    for place, count in enumerate(accepted):
        mine = [number for customer, number in zip(customers, numbers, strict=True) if customer == f"c{place}"]
        assert mine == sorted(mine)
        assert len(mine) == count
