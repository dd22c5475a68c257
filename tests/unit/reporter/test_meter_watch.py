"""Stripe's meters are looked at: what is wrong with one holds it, and what is right again lets it be tried."""

import asyncio
import io
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.configuration.secrets import Redactor
from metering.process.logs import get_log, logging_to
from metering.records.meters import Catalogue, Meter
from metering.stripe.signatures import WebhookEvent
from reporter.meter_watch import REPORT_AGE_MS, LookTimes, MeterWatch, meter_problem
from reporter.metrics import ReporterMetrics
from reporter.sending.held_meters import HeldMeters
from reporter.stripe.listed_meters import ListedMeter, MetersUnread, WhyUnread
from tests.support.metering_ledger_entries import REJECTION

GOOD = ListedMeter(active=True, customer_key="stripe_customer_id", value_key="value")
TOKENS = Meter("tokens", ("input_tokens",))
Answer = Mapping[str, ListedMeter] | MetersUnread
UNAVAILABLE, FORBIDDEN, KEY_REFUSED = (
    MetersUnread(why, f"HTTP 4xx {why}") for why in (WhyUnread.UNAVAILABLE, WhyUnread.FORBIDDEN, WhyUnread.KEY_REFUSED)
)


class ScriptedMeters:
    """A port that gives its scripted answers in order, and then never answers."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.exhausted = asyncio.Event()
        self.closed = False

    async def read(self) -> Mapping[str, ListedMeter]:
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, MetersUnread):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


class HurriedClock(SystemClock):
    """Beside the real time, what was slept has passed as well, and took none."""

    def __init__(self) -> None:
        self.passed = 100.0

    def now_ms(self) -> int:
        return round(self.passed * 1000)

    def monotonic(self) -> float:
        return self.passed + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


class Watching:
    """A watch over `tokens`, and what it does with scripted answers."""

    def __init__(self, *answers: Answer, every: float = 0.01) -> None:
        self.clock = HurriedClock()
        self.held = HeldMeters(0.01)
        self.port = ScriptedMeters(*answers)
        self.logged = io.StringIO()
        self.metrics = ReporterMetrics.create(CollectorRegistry())
        self.watch = MeterWatch(
            self.held,
            port=self.port,
            meters=Catalogue((TOKENS,)),
            times=LookTimes(every=every, after_failure=0.01),
            metrics=self.metrics,
            clock=self.clock,
            log=get_log("test"),
        )

    async def run(self) -> None:
        """Until every answer was given."""
        with logging_to(self.logged, service="reporter", level="info", style="json", redactor=Redactor()):
            task = asyncio.create_task(self.watch.run())
            async with asyncio.timeout(30):
                await self.port.exhausted.wait()
            await self.watch.close()
            assert task.cancelled()


async def test_a_meter_in_order_is_not_held_and_the_key_is_known_to_be_accepted() -> None:
    subject = Watching({"tokens": GOOD, "others": replace(GOOD, active=False)})
    before = subject.watch.key_problem
    await subject.run()
    assert (before, subject.watch.key_problem) == ("Stripe has not been asked yet whether it takes the key", None)
    assert not subject.held.names
    assert subject.port.closed


async def test_an_inactive_meter_is_held_before_anything_of_it_is_sent_and_tried_when_it_is_back() -> None:
    subject = Watching({"tokens": replace(GOOD, active=False)})
    await subject.run()
    assert subject.held.problem() == "meter tokens is held: the meter is inactive"
    back = Watching({"tokens": replace(GOOD, active=False)}, {}, UNAVAILABLE, {"tokens": GOOD})
    await back.run()
    assert (back.held.names, back.held.is_on_trial("tokens")) == (frozenset(), True)


async def test_a_refused_key_is_told_at_once_and_until_stripe_takes_it() -> None:
    subject = Watching(KEY_REFUSED)
    await subject.run()
    assert subject.watch.key_problem == "HTTP 4xx key_refused"
    mended = Watching(KEY_REFUSED, {"tokens": GOOD})
    await mended.run()
    assert mended.watch.key_problem is None


@pytest.mark.parametrize("answer", [FORBIDDEN, UNAVAILABLE])
async def test_a_key_that_may_not_read_meters_or_a_stripe_that_is_away_is_no_refused_key(answer: MetersUnread) -> None:
    subject = Watching(answer)
    await subject.run()
    assert (subject.watch.key_problem, subject.held.names) == (None, frozenset())


async def test_without_the_right_to_read_meters_time_lets_a_held_meter_be_tried_and_an_outage_does_not() -> None:
    for answer, tried in ((FORBIDDEN, True), (UNAVAILABLE, False)):
        subject = Watching(answer, answer)
        subject.held.refused("tokens", "no_meter", 0, 0.0)
        await subject.run()
        assert subject.held.is_on_trial("tokens") is tried
        assert ("give it the right" in subject.logged.getvalue()) is tried


async def test_webhooks_about_meters_and_reports_that_blame_a_meter_make_it_look() -> None:
    subject = Watching({"tokens": GOOD}, {"tokens": replace(GOOD, active=False)}, every=0.0)
    with logging_to(subject.logged, service="reporter", level="info", style="json", redactor=Redactor()):
        task = asyncio.create_task(subject.watch.run())
        await asyncio.sleep(0.05)
        assert len(subject.port.answers) == 1
        subject.watch.observe(WebhookEvent("evt_1", "invoice.paid", 0, False, False, {}))
        await asyncio.sleep(0.05)
        assert len(subject.port.answers) == 1
        subject.watch.observe(WebhookEvent("evt_2", "billing.meter.deactivated", 0, False, False, {}))
        async with asyncio.timeout(30):
            await subject.port.exhausted.wait()
        await subject.watch.close()
    assert task.cancelled()
    assert subject.held.names == {"tokens"}


@pytest.mark.parametrize(
    ("changes", "is_held"),
    [
        ({}, True),
        ({"code": "meter_event_value_not_found"}, True),
        ({"code": "meter_event_customer_not_found"}, False),
        ({"window_end_ms": 100_000 - REPORT_AGE_MS - 1, "window_start_ms": 0}, False),
        ({"meter": "others"}, False),
        ({"meter": ""}, False),
    ],
)
def test_a_fresh_report_holds_the_meter_that_it_blames(changes: dict[str, Any], is_held: bool) -> None:
    subject = Watching()
    subject.clock.passed = 100.0 + REPORT_AGE_MS / 1000
    now_ms = subject.clock.now_ms()
    about: dict[str, Any] = {"code": "archived_meter", "window_end_ms": now_ms}
    subject.watch.reported(replace(REJECTION, **about | changes))
    assert (subject.held.names == {"tokens"}) is is_held


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (GOOD, None),
        (replace(GOOD, value_key=None), None),
        (None, "this account and mode have no meter with this event name"),
        (replace(GOOD, active=False), "the meter is inactive"),
        (replace(GOOD, formula="count", value_key=None), None),
        (
            replace(GOOD, formula="last"),
            "the meter's formula at Stripe is 'last', and 'sum' is needed: write a meter of another event_name",
        ),
        (replace(GOOD, customer_key="cus"), "the meter reads the customer as 'cus', the settings send it as 'stripe_customer_id'"),
        (replace(GOOD, value_key="tokens"), "the meter reads the value as 'tokens', the settings send it as 'value'"),
    ],
)
def test_what_is_wrong_with_a_meter(found: ListedMeter | None, problem: str | None) -> None:
    assert meter_problem(TOKENS, found) == problem


async def test_a_meter_that_is_held_between_two_looks_is_looked_at_in_its_time() -> None:
    subject = Watching({"tokens": GOOD}, {"tokens": GOOD}, every=0.0)
    with logging_to(subject.logged, service="reporter", level="info", style="json", redactor=Redactor()):
        task = asyncio.create_task(subject.watch.run())
        await asyncio.sleep(0.05)
        subject.held.refused("tokens", "no_meter", 0, subject.clock.monotonic())
        async with asyncio.timeout(30):
            while not subject.held.is_on_trial("tokens"):  # noqa: ASYNC110 - nothing tells that it is
                await asyncio.sleep(0.01)
        await subject.watch.close()
    assert task.cancelled()
