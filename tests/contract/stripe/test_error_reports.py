"""Asynchronous error reports: what was taken with 200 and dropped, told by thin events."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from metering.stripe.signatures import parse_webhook
from tests.support.stripe_simulator_control import books, configure, ready, stats
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import NO_LIMITS, Target, client_of
from tests.support.stripe_webhook_receiver import Receiver, receiving

TRIGGERED = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"
NOW_MS = 1_800_000_003_000
WINDOW = ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:10.000Z")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


def freeze(target: Target) -> None:
    target.control.call("POST", "/_control/clock", {"set_ms": NOW_MS, "rate": 0})


def end_window(target: Target) -> None:
    target.control.call("POST", "/_control/clock", {"advance_ms": 10_000})


async def secret_of(target: Target, receiver: Receiver) -> str:
    params: Any = {
        "name": "Errors",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": [TRIGGERED, NO_METER],
        "webhook_endpoint": {"url": receiver.url},
        "include": ["webhook_endpoint.signing_secret"],
    }
    made = await target.client.v2.core.event_destinations.create_async(params)
    assert made.webhook_endpoint is not None
    return str(made.webhook_endpoint.signing_secret)


async def reported(target: Target, kind: str) -> list[Any]:
    """The data of every report of a kind, oldest first, as the library sees it."""
    listed = await target.client.v2.core.events.list_async({"types": [kind]})
    events = [event async for event in listed.auto_paging_iter()]
    return [(await target.client.v2.core.events.retrieve_async(event.id)).to_dict() for event in reversed(events)]


async def stream(target: Target, events: list[dict[str, Any]], key: str) -> None:
    session = await target.client.v2.billing.meter_event_session.create_async()
    params: Any = {"events": events}
    await target.client.v2.billing.meter_event_stream.create_async(params, {"api_key": session.authentication_token, "idempotency_key": key})


def counts(data: dict[str, Any]) -> dict[str, int]:
    return {kind["code"]: kind["error_count"] for kind in data["reason"]["error_types"]}


async def test_a_customer_that_does_not_exist_is_reported_when_the_window_closes(simulator: Target, receiver: Receiver) -> None:
    freeze(simulator)
    secret = await secret_of(simulator, receiver)
    meter = await ready(simulator, customer="cus_1")
    await simulator.send("tokens", "cus_gone", 5, key="key-1", identifier="id-1")
    await simulator.send("tokens", "cus_1", 5)
    assert receiver.received == []
    end_window(simulator)
    await receiver.until(lambda: len(receiver.received) == 1)
    got = receiver.received[0]
    notification = simulator.client.parse_event_notification(got.body, got.signature, secret)
    assert isinstance(notification, stripe.events.V1BillingMeterErrorReportTriggeredEventNotification)
    assert (notification.related_object.id, notification.related_object.type) == (meter.id, "billing.meter")
    assert parse_webhook(got.body).created_s == 1_800_000_010
    assert "data" not in got.document
    event = await notification.fetch_event_async()
    data = event.to_dict()["data"]
    assert (data["validation_start"], data["validation_end"]) == WINDOW
    assert data["developer_message_summary"] == "There is 1 invalid event"
    [kind] = data["reason"]["error_types"]
    assert (data["reason"]["error_count"], kind["code"], kind["error_count"]) == (1, "meter_event_customer_not_found", 1)
    assert [sample["request"] for sample in kind["sample_errors"]] == [{"identifier": "key-1"}]
    assert (await notification.fetch_related_object_async()).id == meter.id
    assert isinstance(event, stripe.events.V1BillingMeterErrorReportTriggeredEvent)
    assert (event.related_object.id, event.context) == (meter.id, None)


@pytest.mark.parametrize("names", ["request", "event"])
@pytest.mark.parametrize("field", ["identifier", "idempotency_key"])
async def test_a_sample_names_the_event_on_each_reading(simulator: Target, names: str, field: str) -> None:
    freeze(simulator)
    configure(simulator, assumptions={"sample_names": names, "sample_request": field})
    await ready(simulator)
    await simulator.send("tokens", "cus_gone", 5, key="key-1", identifier="id-1")
    await stream(simulator, [{"event_name": "nobody", "identifier": "id-2", "payload": {"value": "1"}}], "key-2")
    end_window(simulator)
    for kind, number in ((TRIGGERED, 1), (NO_METER, 2)):
        [event] = await reported(simulator, kind)
        named = f"key-{number}" if names == "request" else f"id-{number}"
        shown = {"identifier": named} if field == "identifier" else {"id": "", "idempotency_key": named}
        assert event["data"]["reason"]["error_types"][0]["sample_errors"][0]["request"] == shown


async def test_a_report_counts_everything_and_shows_a_sample(simulator: Target) -> None:
    freeze(simulator)
    await ready(simulator)
    events = [
        {"event_name": "tokens", "identifier": f"id-{number}", "payload": {"stripe_customer_id": "cus_gone", "value": "1"}} for number in range(40)
    ]
    events += [{"event_name": "tokens", "payload": {"stripe_customer_id": "cus_1", "value": "much"}} for _ in range(7)]
    events += [{"event_name": "nobody", "payload": {"value": "1"}} for _ in range(2)]
    await stream(simulator, events, "batch-1")
    end_window(simulator)
    [report] = await reported(simulator, TRIGGERED)
    assert counts(report["data"]) == {"meter_event_customer_not_found": 40, "meter_event_invalid_value": 7}
    assert [len(kind["sample_errors"]) for kind in report["data"]["reason"]["error_types"]] == [5, 5]
    [nobody] = await reported(simulator, NO_METER)
    assert nobody.get("related_object") is None
    assert (counts(nobody["data"]), nobody["data"]["developer_message_summary"]) == ({"no_meter": 2}, "There are 2 invalid events")
    assert stats(simulator)["drops"] == {"meter_event_customer_not_found": 40, "meter_event_invalid_value": 7, "no_meter": 2}


async def test_samples_that_are_not_cut_name_exactly_what_was_dropped(simulator: Target) -> None:
    freeze(simulator)
    configure(
        simulator,
        webhooks={"error_samples": 1000},
        assumptions={"sample_names": "event", "payload_errors": "async", "timestamp_errors": "async"},
        processing={"lag_min_ms": 0, "lag_max_ms": 30_000},
    )
    await ready(simulator)
    late = NOW_MS // 1000 - 40 * 86_400
    variants: list[dict[str, Any]] = [{}, {"timestamp": late}, {"payload": {"stripe_customer_id": "cus_1"}}, {"payload": {"value": "5"}}]
    for number in range(40):
        changes = variants[number % 4]
        customer = "cus_1" if number % 8 else "cus_gone"
        await simulator.send("tokens", customer, 5, identifier=f"id-{number}", **changes)
    for _ in range(6):
        end_window(simulator)
    reports = await reported(simulator, TRIGGERED)
    assert len(reports) > 1
    kinds = [kind for report in reports for kind in report["data"]["reason"]["error_types"]]
    named = sorted((kind["code"], sample["request"]["identifier"]) for kind in kinds for sample in kind["sample_errors"])
    events = simulator.control.call("GET", "/_oracle/events")["events"]
    assert named == sorted((event["drop_reason"], event["identifier"]) for event in events if event["state"] == "dropped")
    totals: dict[str, int] = {}
    for kind in kinds:
        totals[kind["code"]] = totals.get(kind["code"], 0) + kind["error_count"]
    assert totals == stats(simulator)["drops"]
    assert len(totals) == 4


@pytest.mark.parametrize(("reading", "dropped"), [("dropped", {"archived_meter": 1}), ("counted", {})])
async def test_a_meter_archived_before_an_event_is_processed(simulator: Target, reading: str, dropped: dict[str, int]) -> None:
    freeze(simulator)
    configure(simulator, processing={"lag_min_ms": 5000, "lag_max_ms": 5000}, assumptions={"archived_before_processing": reading})
    meter = await ready(simulator)
    await simulator.send("tokens", "cus_1", 5)
    await simulator.client.v1.billing.meters.deactivate_async(meter.id)
    end_window(simulator)
    reports = await reported(simulator, TRIGGERED)
    assert [counts(report["data"]) for report in reports] == ([dropped] if dropped else [])
    assert stats(simulator)["drops"] == dropped


async def test_what_was_counted_before_a_kill_is_counted_after_it(tmp_path: Path, http_client: stripe.HTTPClient) -> None:
    settings = {"assumptions": {"archived_before_processing": "counted"}, "processing": {"lag_min_ms": 5000, "lag_max_ms": 5000}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"), "--config", str(tmp_path / "config.json"))
    process.start()
    try:
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        meter = await ready(target)
        await target.send("tokens", "cus_1", 5)
        await target.client.v1.billing.meters.deactivate_async(meter.id)
        end_window(target)
        before = books(target)
        assert [row["total"] for row in before] == ["5"]
        process.kill()
        process.start()
        assert books(target) == before
        assert stats(target)["drops"] == {}
    finally:
        process.stop()


async def test_reports_are_told_once_across_kills(tmp_path: Path, http_client: stripe.HTTPClient, receiver: Receiver) -> None:
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"))
    process.start()
    try:
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        configure(target, limits=NO_LIMITS)
        await secret_of(target, receiver)
        await ready(target)
        freeze(target)
        await target.send("tokens", "cus_gone", 1)
        process.kill()
        process.start()  # before the window has ended
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        end_window(target)
        await receiver.until(lambda: len(receiver.received) == 1)
        process.kill()
        process.start()  # after the report
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        end_window(target)
        await target.send("tokens", "cus_gone", 1)
        end_window(target)
        await receiver.until(lambda: len({one.document["id"] for one in receiver.received}) == 2)
        reports = await reported(target, TRIGGERED)
        assert [counts(report["data"]) for report in reports] == [{"meter_event_customer_not_found": 1}] * 2
        assert {report["id"] for report in reports} == {one.document["id"] for one in receiver.received}
    finally:
        process.stop()


async def test_with_the_real_clock_a_report_comes_by_itself(simulator: Target, receiver: Receiver) -> None:
    await secret_of(simulator, receiver)
    await ready(simulator)
    simulator.control.call("POST", "/_control/clock", {"set_ms": int(time.time() * 1000), "rate": 20})
    await simulator.send("tokens", "cus_gone", 5)
    await receiver.until(lambda: len(receiver.of(TRIGGERED)) == 1)
