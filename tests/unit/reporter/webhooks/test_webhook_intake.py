"""Which events are new, which wait where, and what a hook may do."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, load
from metering.stripe.signatures import WebhookEvent
from reporter.stripe.report_types import REPORT_TYPES
from reporter.webhooks.hooks import Hook, HookOutcome, HookRunner, HookUnusable, load_hook
from reporter.webhooks.settings import WebhookSettings
from reporter.webhooks.webhook_intake import MONITORED, IntakeVerdict, Lane, RecentEventIds, WebhookIntake, label_of, lane_of

SOON = 60.0


def event(identity: str = "evt_1", kind: str = "invoice.paid", *, livemode: bool = False) -> WebhookEvent:
    return WebhookEvent(identity, kind, 1, thin=False, livemode=livemode, document={"id": identity})


def intake(*, livemode: bool = False) -> WebhookIntake:
    return WebhookIntake(livemode=livemode, queue_max=2, ids_max=3)


def test_an_event_is_taken_once_and_again_when_it_could_not_be_dealt_with() -> None:
    subject = intake()
    assert [subject.admit(event(), 0) for _ in range(2)] == [IntakeVerdict.ACCEPTED, IntakeVerdict.DUPLICATE]
    subject.forget("evt_1")
    assert subject.admit(event(), 0) is IntakeVerdict.ACCEPTED


def test_an_event_of_the_other_mode_is_left_alone() -> None:
    assert intake().admit(event(livemode=True), 0) is IntakeVerdict.OTHER_MODE
    assert intake(livemode=True).admit(event(), 0) is IntakeVerdict.OTHER_MODE
    assert intake(livemode=True).admit(event(livemode=True), 0) is IntakeVerdict.ACCEPTED


def test_an_event_that_found_no_room_is_new_when_it_comes_again() -> None:
    subject = intake()
    assert [subject.admit(event(), waiting) for waiting in (2, 1)] == [IntakeVerdict.QUEUE_FULL, IntakeVerdict.ACCEPTED]


@given(st.lists(st.integers(0, 6), max_size=60))
def test_the_ids_seen_last_are_known_and_no_others(seen: list[int]) -> None:
    subject = RecentEventIds(3)
    for number in seen:
        subject.add(str(number))
    last = list(dict.fromkeys(reversed(seen)))[:3]
    assert {str(number) for number in last} == {str(number) for number in range(7) if str(number) in subject}
    assert len(subject) == len(last)


def test_error_reports_wait_apart_and_types_are_bounded_labels() -> None:
    assert {lane_of(event(kind=kind)) for kind in REPORT_TYPES} == {Lane.REPORTS}
    assert {lane_of(event(kind=kind)) for kind in (*MONITORED, "charge.succeeded")} == {Lane.OTHERS}
    assert [label_of(kind) for kind in ("invoice.paid", REPORT_TYPES[0], "charge.succeeded")] == ["invoice.paid", REPORT_TYPES[0], "other"]


async def outcomes(hook: Hook, times: int = 1, *, seconds: float = SOON, places: int = 1) -> list[HookOutcome]:
    runner = HookRunner(hook, seconds=seconds, places=places)
    try:
        return [(await runner.call(event())).outcome for _ in range(times)]
    finally:
        runner.close()


def plain_that_is_async(hook: Hook, one: WebhookEvent) -> object:
    return hook(one)


async def test_a_hook_may_be_plain_or_async() -> None:
    told: list[str] = []

    def plain(one: WebhookEvent) -> None:
        told.append(f"plain {one.id}")

    async def waiting(one: WebhookEvent) -> None:
        await asyncio.sleep(0)
        told.append(f"async {one.id}")

    for hook in (plain, waiting, functools.partial(plain_that_is_async, waiting)):
        assert await outcomes(hook) == [HookOutcome.OK]
    assert told == ["plain evt_1", "async evt_1", "async evt_1"]


async def test_an_async_hook_is_called_in_one_event_loop_that_is_not_ours() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def hook(_: WebhookEvent) -> None:
        loops.append(asyncio.get_running_loop())

    assert await outcomes(hook, 2) == [HookOutcome.OK, HookOutcome.OK]
    assert loops[0] is loops[1] is not asyncio.get_running_loop()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
async def test_whatever_a_hook_raises_is_an_outcome_and_the_next_call_is_made(error: type[BaseException]) -> None:
    def plain(_: WebhookEvent) -> None:
        raise error

    async def waiting(_: WebhookEvent) -> None:
        raise error

    for hook in (plain, waiting):
        assert await outcomes(hook, 2) == [HookOutcome.FAILED, HookOutcome.FAILED]


async def test_an_async_hook_is_ended_when_its_time_is_up() -> None:
    async def hook(_: WebhookEvent) -> None:
        await asyncio.Event().wait()

    assert await outcomes(hook, 2, seconds=0.05) == [HookOutcome.TIMEOUT, HookOutcome.TIMEOUT]


async def test_a_plain_hook_that_does_not_return_keeps_its_place_and_our_loop_goes_on() -> None:
    release = threading.Event()

    def hook(_: WebhookEvent) -> None:
        release.wait(SOON)

    runner = HookRunner(hook, seconds=0.05, places=1)
    try:
        assert (await runner.call(event())).outcome is HookOutcome.TIMEOUT
        assert (await runner.call(event())).outcome is HookOutcome.BUSY
        release.set()
        async with asyncio.timeout(SOON):
            while (await runner.call(event())).outcome is not HookOutcome.OK:
                pass
    finally:
        release.set()
        runner.close()


async def test_an_async_hook_that_blocks_does_not_block_our_loop() -> None:
    release = threading.Event()

    async def hook(_: WebhookEvent) -> None:
        release.wait(SOON)

    runner = HookRunner(hook, seconds=0.05, places=1)
    try:
        assert (await runner.call(event())).outcome is HookOutcome.TIMEOUT
    finally:
        release.set()
        runner.close()


async def test_no_more_calls_run_at_once_than_there_are_places() -> None:
    running = peak = 0
    lock = threading.Lock()

    def hook(_: WebhookEvent) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    runner = HookRunner(hook, seconds=SOON, places=2)
    try:
        found = await asyncio.gather(*(runner.call(event()) for _ in range(8)))
    finally:
        runner.close()
    assert {each.outcome for each in found} == {HookOutcome.OK}
    assert peak <= 2


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    return write


def test_a_hook_is_found_by_its_name(module: Callable[[str, str], None]) -> None:
    module("webhook_hooks_good", "def told(event):\n    pass\n")
    assert callable(load_hook("webhook_hooks_good:told"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_colon", "package.module:function"),
        ("there_is_no_such_module:f", "cannot be imported"),
        ("webhook_hooks_bad:missing", "has no function missing"),
        ("webhook_hooks_bad:number", "has no function number"),
        ("webhook_hooks_bad:nothing", "does not take one argument"),
        ("webhook_hooks_raising:f", "cannot be imported"),
    ],
)
def test_a_name_that_leads_to_no_function_is_a_problem_of_the_settings(module: Callable[[str, str], None], name: str, why: str) -> None:
    module("webhook_hooks_bad", "number = 1\ndef nothing():\n    pass\n")
    module("webhook_hooks_raising", "raise RuntimeError('planned')\n")
    with pytest.raises(HookUnusable, match=why):
        load_hook(name)
    with pytest.raises(SettingsError, match=why):
        load(WebhookSettings, environ={"TAXIMETER_WEBHOOKS_HOOK": name}, section="webhooks")


def test_the_endpoint_is_open_when_there_is_a_secret_unless_it_is_said_otherwise() -> None:
    def settings(**environ: str) -> WebhookSettings:
        return load(WebhookSettings, environ={f"TAXIMETER_WEBHOOKS_{name}": value for name, value in environ.items()}, section="webhooks")

    assert not settings().is_on
    assert settings(SIGNING_SECRETS="whsec_1,whsec_2").is_on
    assert settings(SIGNING_SECRETS="whsec_1,whsec_2").signing_secrets == (Secret("whsec_1"), Secret("whsec_2"))
    assert not settings(SIGNING_SECRETS="whsec_1", ENABLED="false").is_on
    with pytest.raises(SettingsError, match="signing_secrets is empty"):
        settings(ENABLED="true")
    with pytest.raises(SettingsError, match="does not begin with whsec_") as caught:
        settings(SIGNING_SECRETS="hush-hush")
    assert "hush" not in str(caught.value)
