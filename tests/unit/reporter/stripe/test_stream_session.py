"""The session of the meter event stream: made once for all, renewed before its end, its failures those of nobody's event."""

import asyncio
from collections import deque

import pytest

from metering.configuration.secrets import Secret
from reporter.sending.verdicts import Delivered, Refused, Retry, StopTheWorld, TooOld, TryAgain, Verdict
from reporter.stripe.stream_session import Grant, Session, SessionKeeper, grant_of, without_session
from tests.support.manual_clock import SleeplessClock


class Maker:
    """Gives out numbered grants of 900 s, or what is scripted; while `open` is not set, calls wait."""

    def __init__(self) -> None:
        self.calls = 0
        self.scripted: deque[Grant | Verdict] = deque()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Grant | Verdict:
        self.calls += 1
        number = self.calls
        await self.open.wait()
        return self.scripted.popleft() if self.scripted else Grant(Secret(f"token-{number}"), 900.0)


def token(found: Session | TryAgain | StopTheWorld) -> str:
    assert isinstance(found, Session), found
    return found.token.reveal()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_session_is_made_on_first_use_and_kept() -> None:
    make, clock = Maker(), SleeplessClock()
    keeper = SessionKeeper(make, clock)
    assert make.calls == 0
    assert token(await keeper.get()) == "token-1"
    clock.now += 719
    assert token(await keeper.get()) == "token-1"
    assert make.calls == 1


async def test_at_four_fifths_of_its_life_it_is_renewed_while_the_old_one_serves() -> None:
    make, clock = Maker(), SleeplessClock()
    keeper = SessionKeeper(make, clock)
    await keeper.get()
    make.open.clear()
    clock.now += 720
    assert [token(await keeper.get()) for _ in range(5)] == ["token-1"] * 5
    await settled()
    assert make.calls == 2
    make.open.set()
    await settled()
    assert token(await keeper.get()) == "token-2"


async def test_a_failed_renewal_is_tried_again_and_the_old_one_serves_until_its_end(caplog: pytest.LogCaptureFixture) -> None:
    make, clock = Maker(), SleeplessClock()
    keeper = SessionKeeper(make, clock)
    await keeper.get()
    clock.now += 720
    make.scripted.extend([TryAgain(Retry.SERVER_ERROR, "HTTP 500", maybe_arrived=True)] * 2)
    for _ in range(3):
        assert token(await keeper.get()) == "token-1"
        await settled()
    assert make.calls == 2
    clock.now += 5
    assert token(await keeper.get()) == "token-1"
    await settled()
    assert make.calls == 3
    assert "could not be renewed" in caplog.text
    assert "token-1" not in caplog.text
    clock.now += 900
    assert token(await keeper.get()) == "token-4"


async def test_fifty_that_were_refused_renew_once() -> None:
    make, clock = Maker(), SleeplessClock()
    keeper = SessionKeeper(make, clock)
    refused = await keeper.get()
    assert isinstance(refused, Session)
    found = await asyncio.gather(*(keeper.after(refused) for _ in range(50)))
    assert {token(each) for each in found} == {"token-2"}
    # One that learns of the refusal late finds the new session there.
    assert token(await keeper.after(refused)) == "token-2"
    assert make.calls == 2


async def test_one_that_stops_waiting_takes_the_new_session_from_nobody() -> None:
    make, clock = Maker(), SleeplessClock()
    make.open.clear()
    keeper = SessionKeeper(make, clock)
    first, second = asyncio.create_task(keeper.get()), asyncio.create_task(keeper.get())
    await settled()
    first.cancel()
    await asyncio.wait([first])
    make.open.set()
    assert token(await second) == "token-1"
    assert make.calls == 1


async def test_closing_ends_the_wait() -> None:
    make = Maker()
    make.open.clear()
    keeper = SessionKeeper(make, SleeplessClock())
    waiting = asyncio.create_task(keeper.get())
    await settled()
    await keeper.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    ("verdict", "meaning"),
    [
        (
            TryAgain(Retry.SERVER_ERROR, "HTTP 500", maybe_arrived=True, rotate_key=True),
            TryAgain(Retry.SERVER_ERROR, "meter event session: HTTP 500"),
        ),
        (TryAgain(Retry.RATE_LIMITED, "x", rate_limited=True), TryAgain(Retry.RATE_LIMITED, "meter event session: x", rate_limited=True)),
        (
            TryAgain(Retry.RATE_LIMITED, "x", rate_limited=True, concurrency_limited=True),
            TryAgain(Retry.RATE_LIMITED, "meter event session: x", rate_limited=True, concurrency_limited=True),
        ),
        (StopTheWorld("HTTP 401"), StopTheWorld("HTTP 401")),
    ],
)
def test_without_a_session_no_event_was_sent(verdict: Verdict, meaning: Verdict) -> None:
    assert without_session(verdict) == meaning


@pytest.mark.parametrize("verdict", [Refused("x", "y"), TooOld("x"), Delivered(duplicate=True)])
def test_a_refused_session_is_no_events_fault(verdict: Verdict) -> None:
    assert isinstance(without_session(verdict), StopTheWorld)


def test_only_the_difference_between_stripes_times_counts() -> None:
    grant = grant_of("t", "2019-01-01T00:00:00.000Z", "2019-01-01T00:15:00.000Z")
    assert grant == Grant(Secret("t"), 900.0)


@pytest.mark.parametrize(
    "fields",
    [
        (None, "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
        ("", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
        ("t", 1767225600, 1767226500),
        ("t", "2026-01-01T00:00:00Z", "soon"),
        ("t", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00"),
        ("t", "2026-01-01T00:15:00Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_a_session_that_is_not_understood_is_asked_for_again(fields: tuple[object, object, object]) -> None:
    verdict = grant_of(*fields)
    assert isinstance(verdict, TryAgain)
    assert verdict.reason is Retry.NOT_UNDERSTOOD
