"""Reading billing periods never harms anything: every failure is waited out or given up with one warning."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.configuration.secrets import Redactor
from metering.process.logs import get_log, logging_to
from metering.stripe.signatures import WebhookEvent
from reporter import period_reader
from reporter.metrics import ReporterMetrics
from reporter.period_reader import FAILURES_MAX, PeriodReader
from reporter.planning.billing_periods import BillingPeriods, Span, read_subscription
from reporter.stripe.subscriptions import SubscriptionPage, SubscriptionsUnavailable

START = 1_780_000_000
REFUSED = SubscriptionsUnavailable("PermissionError: no", lasting=True)
AWAY = SubscriptionsUnavailable("TimeoutError", lasting=False)


def subscription(number: int, **fields: Any) -> dict[str, Any]:
    item = {"price": {"recurring": {"usage_type": "metered"}}, "current_period_start": START, "current_period_end": START + 1_000 * number}
    return {"id": f"sub_{number}", "customer": f"cus_{number}", "items": {"data": [item]}, **fields}


class Script:
    """A port that gives its scripted answers in order, and then never answers, so that nothing more is asked."""

    def __init__(self, *answers: SubscriptionPage | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str | None] = []
        self.closed = False
        self.exhausted = asyncio.Event()

    async def page(self, after: str | None = None, *, ends: Span | None = None, starts: Span | None = None) -> SubscriptionPage:
        assert ends is None
        assert starts is None
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        self.asked.append(after)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


class Clock(SystemClock):
    """Sleeps for no time, and remembers for how long it was asked to."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Reading:
    """A reader in a world without waiting."""

    def __init__(self, port: Script, *, every_seconds: float = 3_600.0, customers_max: int = 100) -> None:
        self.port = port
        self.clock = Clock()
        self.periods = BillingPeriods(customers_max)
        self.metrics = ReporterMetrics.create(CollectorRegistry())
        self.stream = io.StringIO()
        self.reader = PeriodReader(
            self.periods,
            port=port,
            every_seconds=every_seconds,
            share=lambda: 0.5,
            metrics=self.metrics,
            clock=self.clock,
            log=get_log("test"),
        )

    async def until_exhausted(self) -> Sequence[Mapping[str, Any]]:
        """Run until the script ends; the log's records."""
        with logging_to(self.stream, service="reporter", level="info", style="json", redactor=Redactor()):
            task = asyncio.create_task(self.reader.run())
            await asyncio.wait_for(self.port.exhausted.wait(), 30)
            await self.reader.close()
            assert task.cancelled()
        assert self.port.closed
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]

    def reads(self, outcome: str) -> float:
        return float(self.metrics.period_reads.labels(outcome)._value.get())


def page(*numbers: int, after: str | None = None) -> SubscriptionPage:
    return SubscriptionPage([subscription(number) for number in numbers], after)


async def test_all_pages_are_read_at_a_bounded_rate_and_then_again() -> None:
    reading = Reading(Script(page(1, 2, after="sub_2"), page(3), page(1)))
    await reading.until_exhausted()
    assert reading.port.asked == [None, "sub_2", None]
    assert len(reading.periods) == 3
    assert reading.clock.slept == [1.0, 3_600.0, 3_600.0], "half of two calls a second"
    assert reading.reads("ok") == 2


async def test_a_page_that_fails_is_asked_for_again() -> None:
    reading = Reading(Script(page(1, after="sub_1"), AWAY, AWAY, page(2)))
    await reading.until_exhausted()
    assert reading.port.asked == [None, "sub_1", "sub_1", "sub_1"]
    assert len(reading.periods) == 2
    between, first, second, after = reading.clock.slept
    assert (between, after) == (1.0, 3_600.0)
    assert 0.0 <= first <= 4.0
    assert 0.0 <= second <= 8.0


async def test_a_reading_that_keeps_failing_is_given_up_until_the_next() -> None:
    reading = Reading(Script(page(1, after="sub_1"), *[AWAY] * FAILURES_MAX, page(1, 2)))
    logged = await reading.until_exhausted()
    assert (reading.reads("failed"), reading.reads("ok"), len(reading.periods)) == (1, 1, 2)
    assert [entry["message"] for entry in logged if entry["level"] == "warning"] == ["billing periods could not be read"]


async def test_a_key_that_may_not_read_subscriptions_is_warned_of_once() -> None:
    reading = Reading(Script(REFUSED, REFUSED, REFUSED))
    logged = await reading.until_exhausted()
    assert reading.reads("refused") == 3
    assert len([entry for entry in logged if entry["level"] == "warning"]) == 1


async def test_customers_beyond_the_bound_are_warned_of_once() -> None:
    reading = Reading(Script(page(1, 2, 3)), customers_max=1)
    logged = await reading.until_exhausted()
    assert len([entry for entry in logged if entry["level"] == "warning"]) == 1


async def test_with_zero_nothing_is_read() -> None:
    reading = Reading(Script(page(1)), every_seconds=0)
    await asyncio.wait_for(reading.reader.run(), 30)
    await reading.reader.close()
    assert reading.port.asked == []


def event(kind: str, document: Mapping[str, Any], *, thin: bool = False) -> WebhookEvent:
    return WebhookEvent("evt_1", kind, START, thin, False, document)


async def test_webhooks_about_subscriptions_teach_and_others_do_not() -> None:
    reading = Reading(Script())
    observe = reading.reader.observe
    about = {"data": {"object": subscription(1)}}
    for other in (event("invoice.paid", about), event("customer.subscription.updated", about, thin=True)):
        observe(other)
    broken_ones: list[dict[str, Any]] = [{}, {"data": None}, {"data": {"object": []}}, {"data": {"object": {"items": 3}}}]
    for broken in broken_ones:
        observe(event("customer.subscription.updated", broken))
    assert len(reading.periods) == 0
    observe(event("customer.subscription.created", about))
    assert reading.periods.next_end_s(START, lambda _: True) == START + 1_000
    observe(event("customer.subscription.deleted", {"data": {"object": subscription(1, ended_at=START + 400)}}))
    assert reading.periods.next_end_s(START, lambda _: True) == START + 400
    await reading.reader.close()


async def test_a_reading_that_fails_in_a_way_that_nobody_foresaw_ends_nothing() -> None:
    reading = Reading(Script(KeyError("data"), page(1)))
    records = await reading.until_exhausted()
    assert len(reading.periods) == 1
    assert (reading.reads("failed"), reading.reads("ok")) == (1, 1)
    assert any("KeyError" in str(record.get("error")) for record in records)


async def test_a_subscription_that_cannot_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:

    def failing(found: Mapping[str, Any]) -> Any:
        if found["id"] == "sub_1":
            raise RecursionError
        return read_subscription(found)

    monkeypatch.setattr(period_reader, "read_subscription", failing)
    reading = Reading(Script(page(1, 2, 3)))
    records = await reading.until_exhausted()
    assert len(reading.periods) == 2
    assert [record["subscription"] for record in records if "subscription" in record] == ["sub_1"]
