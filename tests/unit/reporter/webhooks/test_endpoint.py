"""What becomes of events after they were answered, and of reports that no webhook brought; with a ledger and a Stripe in memory."""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import stripe
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.configuration.secrets import Secret
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.process.health import Health
from metering.process.logs import get_log
from metering.process.metrics import CommonMetrics
from metering.process.service import ServiceContext
from metering.process.status_page import StatusPage
from metering.process.supervision import RefusedToStart, Supervisor
from metering.records.ledger_records import Rejection
from metering.stripe.signatures import WebhookEvent
from reporter.stripe.notifications import EventsUnavailable, ListedReport
from reporter.stripe.report_types import ERROR_REPORT
from reporter.webhooks.endpoint import Observer, Observers, ReportSource, Webhooks
from reporter.webhooks.rejection_log import Recorded
from reporter.webhooks.settings import WebhookSettings

SECRET = "whsec_1"
SOON = 60.0
PREFIX = "taximeter_reporter"


def a_report(identity: str) -> dict[str, Any]:
    error = {
        "code": "archived_meter",
        "error_count": 2,
        "sample_errors": [{"error_message": "gone", "request": {"identifier": f"tm-ab-{partition}-0-1-0"}} for partition in (1, 2)],
    }
    return {"id": identity, "type": ERROR_REPORT, "related_object": {"id": "mtr_1"}, "data": {"reason": {"error_count": 2, "error_types": [error]}}}


@dataclass(slots=True)
class FakeEvents:
    """Stripe's events. `failures` are raised by the next fetches, `listing` by every list."""

    listed: list[ListedReport] = field(default_factory=list)
    failures: list[EventsUnavailable] = field(default_factory=list)
    listing: EventsUnavailable | None = None
    hold: asyncio.Event | None = None
    fetched: list[str] = field(default_factory=list)
    lists: int = 0
    closed: bool = False

    async def fetch(self, event_id: str) -> Mapping[str, Any]:
        self.fetched.append(event_id)
        if self.hold is not None:
            await self.hold.wait()
        if self.failures:
            raise self.failures.pop(0)
        return a_report(event_id)

    async def reports(self, _since_ms: int) -> AsyncIterator[ListedReport]:
        self.lists += 1
        if self.listing is not None:
            raise self.listing
        for report in self.listed:
            yield report

    async def meter_name(self, meter_id: str) -> str:
        return {"mtr_1": "tokens"}[meter_id]

    async def close(self) -> None:
        self.closed = True


@dataclass(slots=True)
class FakeLedger:
    """Rejections that were appended; `failures` is how many appends fail."""

    written: list[Rejection] = field(default_factory=list)
    failures: int = 0

    async def append(self, rejections: Sequence[Rejection]) -> None:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("planned")
        self.written += rejections

    async def recorded(self, event_ids: Collection[str], _since_ms: int) -> dict[str, Recorded]:
        found: dict[str, Recorded] = {}
        for each in self.written:
            if each.event_id in event_ids:
                recorded = found.setdefault(each.event_id, Recorded())
                recorded.counts[each.code, each.partition] = each.error_count
                recorded.at_ms = max(recorded.at_ms, each.at_ms)
        return found

    async def close(self) -> None:
        pass

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(each.event_id, each.partition) for each in self.written]


@dataclass(slots=True)
class Running:
    """A reporter's webhooks that run."""

    webhooks: Webhooks
    context: ServiceContext
    events: FakeEvents
    ledger: FakeLedger
    task: asyncio.Task[None]

    def value(self, name: str, **labels: str) -> float:
        return self.context.registry.get_sample_value(f"{PREFIX}_{name}", labels) or 0.0

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not reached():
                if self.task.done():
                    self.task.result()
                    raise AssertionError("it ended")
                await asyncio.sleep(0.005)

    async def post(self, identity: str, kind: str = ERROR_REPORT, **more: Any) -> int:
        thin = kind.startswith("v1.")
        document = {"id": identity, "object": "v2.core.event" if thin else "event", "type": kind, "created": 1, "livemode": False, **more}
        body = orjson.dumps(document)
        header = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, timestamp=SystemClock().now_ms() // 1000)
        url = f"http://127.0.0.1:{self.webhooks._server.port}/webhooks/stripe"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers={"Stripe-Signature": header}) as answer:
            return answer.status


@asynccontextmanager
async def running(
    *, events: FakeEvents | None = None, ledger: FakeLedger | None = None, owner: bool = False, observers: Sequence[Observer] = (), **settings: Any
) -> AsyncIterator[Running]:
    log = get_log("reporter")
    registry, clock = CollectorRegistry(), SystemClock()
    metrics = CommonMetrics.create(registry, service="reporter", version="", commit="")
    context = ServiceContext("reporter", clock, registry, metrics, Health(clock), log, Supervisor(log, on_stop=lambda: None), StatusPage())
    events, ledger = events or FakeEvents(), ledger or FakeLedger()
    webhooks = Webhooks(
        context,
        WebhookSettings(**{"port": 0, "signing_secrets": (Secret(SECRET),), "backfill_seconds": 0.05, **settings}),
        kafka=KafkaSettings(bootstrap_servers=("127.0.0.1:9",), partitions=4),
        instance="reporter-1",
        reports=ReportSource(events, lambda _: ()),
        livemode=False,
        owns_backfill=lambda: owner,
        observers=Observers(observers),
    )
    webhooks._ledger = webhooks._recorder._ledger = ledger  # type: ignore[assignment]  # the same methods, without Kafka
    task = asyncio.create_task(webhooks.run())
    subject = Running(webhooks, context, events, ledger, task)
    try:
        if webhooks._settings.is_on:
            await subject.until(lambda: webhooks._server._listener.is_listening)
        yield subject
        context.request_stop("test")
        async with asyncio.timeout(SOON):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await webhooks.close()


async def test_a_report_is_fetched_and_recorded_for_each_partition_once() -> None:
    async with running() as subject:
        assert [await subject.post("evt_1") for _ in range(3)] == [200] * 3
        await subject.until(lambda: len(subject.ledger.written) == 2)
    assert subject.ledger.places == [("evt_1", 1), ("evt_1", 2)]
    assert {each.meter for each in subject.ledger.written} == {"tokens"}
    assert subject.events.fetched == ["evt_1"]
    assert subject.value("async_rejections_total", code="archived_meter") == 2
    assert subject.value("webhook_requests_total", outcome="duplicate") == 2
    assert subject.value("async_rejection_timestamp_seconds") > 0


async def test_a_fetch_or_an_append_that_fails_for_a_while_is_repeated() -> None:
    events, ledger = FakeEvents(failures=[EventsUnavailable("planned", lasting=False)]), FakeLedger(failures=1)
    async with running(events=events, ledger=ledger) as subject:
        await subject.post("evt_1")
        await subject.until(lambda: len(ledger.written) == 2)
    assert subject.value("webhook_failures_total", step="fetch") == 0


async def test_a_report_that_could_not_be_fetched_is_left_to_the_next_time_that_stripe_is_asked() -> None:
    events = FakeEvents(failures=[EventsUnavailable("planned", lasting=True)])
    async with running(events=events, owner=True) as subject:
        await subject.post("evt_1")
        await subject.until(lambda: subject.value("webhook_failures_total", step="fetch") == 1)
        assert subject.ledger.written == []
        events.listed = [ListedReport("evt_1", 1)]
        await subject.until(lambda: len(subject.ledger.written) == 2)
    assert subject.value("webhook_recovered_total") == 1


async def test_only_the_owner_of_partition_0_asks_and_nothing_is_recorded_twice() -> None:
    recorded = FakeLedger()
    async with running(ledger=recorded) as first:
        await first.post("evt_1")
        await first.until(lambda: len(recorded.written) == 2)
        assert first.events.lists == 0
    events = FakeEvents(listed=[ListedReport("evt_1", 1), ListedReport("evt_2", 1)])
    async with running(events=events, ledger=recorded, owner=True) as second:
        await second.until(lambda: events.lists > 3)
        assert await second.post("evt_1") == 200
    assert recorded.places == [("evt_1", 1), ("evt_1", 2), ("evt_2", 1), ("evt_2", 2)]
    assert second.value("webhook_requests_total", outcome="duplicate") == 1
    assert second.value("webhook_recovered_total") == 1


async def test_what_a_crash_left_half_written_is_completed() -> None:
    whole = FakeLedger()
    async with running(ledger=whole) as first:
        await first.post("evt_1")
        await first.until(lambda: len(whole.written) == 2)
    half = FakeLedger(written=whole.written[:1])
    async with running(events=FakeEvents(listed=[ListedReport("evt_1", 1)]), ledger=half, owner=True) as second:
        await second.until(lambda: len(half.written) == 2)
    assert half.places == whole.places


async def test_stripe_is_asked_without_an_endpoint_too() -> None:
    async with running(events=FakeEvents(listed=[ListedReport("evt_1", 1)]), owner=True, signing_secrets=()) as subject:
        await subject.until(lambda: len(subject.ledger.written) == 2)
        assert not subject.webhooks._server._listener.is_listening


async def test_a_key_that_may_not_list_events_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    events = FakeEvents(listing=EventsUnavailable("not allowed", lasting=True))
    with caplog.at_level(logging.WARNING):
        async with running(events=events, owner=True) as subject:
            await subject.until(lambda: subject.value("webhook_backfills_total", outcome="forbidden") > 3)
    assert [record.getMessage()[:35] for record in caplog.records] == ["Stripe does not let this key list e"]


async def test_other_events_go_to_the_observers_and_what_these_raise_hurts_nobody() -> None:
    seen: list[str] = []

    def broken(_: WebhookEvent) -> None:
        raise RuntimeError("planned")

    async with running(observers=[broken, lambda event: seen.append(event.id)]) as subject:
        await subject.post("evt_1", "invoice.paid")
        await subject.post("evt_2", "something.new")
        await subject.until(lambda: len(seen) == 2)
    assert sorted(seen) == ["evt_1", "evt_2"]
    assert subject.value("webhook_failures_total", step="observer") == 2
    assert subject.value("webhook_events_total", type="invoice.paid") == 1
    assert subject.value("webhook_events_total", type="other") == 1


async def test_the_hook_is_called_and_what_it_raises_is_counted_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "webhook_hook_of_a_test.py").write_text(
        "seen = []\nasync def told(event):\n    seen.append(event.id)\n    if event.id == 'evt_2':\n        raise ValueError('ada@example.com')\n"
    )
    async with running(hook="webhook_hook_of_a_test:told") as subject:
        for identity in ("evt_1", "evt_2", "evt_1"):
            assert await subject.post(identity, "invoice.paid") == 200
        await subject.post("evt_3")
        await subject.until(lambda: subject.value("webhook_hook_calls_total", outcome="failed") == 1)
        await subject.until(lambda: subject.value("webhook_hook_calls_total", outcome="ok") == 1)
    seen = importlib.import_module("webhook_hook_of_a_test").seen
    assert sorted(seen) == ["evt_1", "evt_2"], "error reports are not its business"
    assert "the webhook hook failed" in caplog.text
    assert "ada@example.com" not in str([record.__dict__ for record in caplog.records])


async def test_the_log_has_ids_and_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with running() as subject:
            await subject.post("evt_1", "customer.deleted", data={"object": {"id": "cus_1", "email": "ada@example.com"}})
            await subject.until(lambda: "webhook event" in caplog.text)
    fields = [getattr(record, "taximeter_fields", {}) for record in caplog.records if record.getMessage() == "webhook event"]
    assert [(each["event"], each["object"]) for each in fields] == [("evt_1", "cus_1")]
    assert "ada@example.com" not in str([record.__dict__ for record in caplog.records])


async def test_a_full_lane_refuses_and_the_other_one_takes() -> None:
    events = FakeEvents(hold=asyncio.Event())
    async with running(events=events, queue_max=1) as subject:
        statuses = [await subject.post(f"evt_{number}") for number in range(8)]
        assert statuses.count(503) >= 1
        assert await subject.post("evt_other", "invoice.paid") == 200
        assert events.hold is not None
        events.hold.set()
    assert len(subject.ledger.written) == 2 * statuses.count(200)


async def test_what_was_answered_is_processed_before_the_end_and_no_more_is_taken() -> None:
    events = FakeEvents(hold=asyncio.Event())
    async with running(events=events) as subject:
        for number in range(20):
            assert await subject.post(f"evt_{number}") == 200
        subject.context.request_stop("test")
        await subject.until(lambda: not subject.webhooks._server._listener.is_listening)
        assert not subject.task.done()
        assert events.hold is not None
        events.hold.set()
    assert len(subject.ledger.written) == 40


async def test_a_port_that_is_taken_refuses_the_start() -> None:
    async with running() as first:
        with pytest.raises(RefusedToStart, match="webhooks cannot be taken: cannot listen on"):
            async with running(port=first.webhooks._server.port):
                raise AssertionError("it must not start")
