"""Webhooks and the event API, as the official library sees them."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from metering.configuration.secrets import Secret
from metering.stripe.signatures import parse_webhook, verify_signature
from tests.support.stripe_simulator_control import configure
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import Target, client_of, refused
from tests.support.stripe_webhook_receiver import PATIENCE_S, Receiver, receiving

CREATED = "customer.created"
MINUTE_MS = 60_000


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def endpoint(target: Target, receiver: Receiver, *kinds: str) -> Any:
    params: Any = {"url": receiver.url, "enabled_events": list(kinds or ("*",))}
    return await target.client.v1.webhook_endpoints.create_async(params)


async def destination(target: Target, receiver: Receiver, payload: str = "thin", *kinds: str) -> Any:
    params: Any = {
        "name": "Contract",
        "type": "webhook_endpoint",
        "event_payload": payload,
        "enabled_events": list(kinds or ("*",)),
        "webhook_endpoint": {"url": receiver.url},
        "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
    }
    return await target.client.v2.core.event_destinations.create_async(params)


async def make_customers(target: Target, count: int) -> list[str]:
    return [(await target.client.v1.customers.create_async({"name": "Contract"})).id for _ in range(count)]


async def settle(target: Target) -> None:
    """Wait until what is due was attempted; in a thread, because the receiver runs in this one."""
    deadline = time.monotonic() + PATIENCE_S
    while not (await asyncio.to_thread(target.control.call, "POST", "/_control/webhooks", {"settle": True}))["settled"]:
        assert time.monotonic() < deadline, "deliveries do not end"


def attempts(target: Target, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = target.control.call("GET", f"/_oracle/deliveries{query}")["attempts"]
    return rows


async def test_a_webhook_is_signed_so_that_the_library_and_the_receiving_side_take_it(simulator: Target, receiver: Receiver) -> None:
    made = await endpoint(simulator, receiver, CREATED)
    customer = await simulator.client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "key-of-ada"})
    await receiver.until(lambda: len(receiver.received) == 1)
    got = receiver.received[0]
    event = stripe.Webhook.construct_event(got.body, got.signature, made.secret)
    assert (event.type, event.data.object["id"], event.request.idempotency_key) == (CREATED, customer.id, "key-of-ada")
    assert customer.last_response is not None
    assert event.request.id == customer.last_response.request_id
    assert event.pending_webhooks == 1
    assert got.headers["User-Agent"].startswith("Stripe/1.0")
    verify_signature(got.body, got.signature, [Secret(made.secret)], int(time.time()))
    assert parse_webhook(got.body).id == event.id
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(got.body + b" ", got.signature, made.secret)
    await settle(simulator)
    listed = (await simulator.client.v1.events.list_async({"type": CREATED})).data
    assert [(one.id, one.pending_webhooks, one.data.object["name"]) for one in listed] == [(event.id, 0, "Ada")]


async def test_an_event_tells_what_changed(simulator: Target) -> None:
    meter = await simulator.meter()
    await simulator.client.v1.billing.meters.deactivate_async(meter.id)
    created, deactivated = reversed((await simulator.client.v1.events.list_async({"type": "billing.meter.*"})).data)
    assert (created.type, created.data.object["status"]) == ("billing.meter.created", "active")
    assert (deactivated.type, deactivated.data.object["status"]) == ("billing.meter.deactivated", "inactive")
    assert deactivated.data.previous_attributes is not None
    assert deactivated.data.previous_attributes["status"] == "active"
    found = await simulator.client.v1.events.retrieve_async(deactivated.id)
    assert found.data.object["id"] == meter.id


async def test_events_are_listed_by_type_and_time_newest_first(simulator: Target) -> None:
    simulator.control.call("POST", "/_control/clock", {"set_ms": 1_800_000_000_000, "rate": 0})
    first = await make_customers(simulator, 2)
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    second = await make_customers(simulator, 2)
    await simulator.meter()

    async def ids(**params: Any) -> list[str]:
        listed = await simulator.client.v1.events.list_async(params)  # type: ignore[arg-type]  # built from parts
        return [event.data.object["id"] async for event in listed.auto_paging_iter()]

    assert await ids(types=[CREATED], limit=1) == [*second[::-1], *first[::-1]]
    assert await ids(type=CREATED, created={"gte": 1_800_000_060}) == second[::-1]
    assert await ids(type=CREATED, created={"lt": 1_800_000_060}) == first[::-1]
    assert await ids(types=["invoice.paid"]) == []
    error = await refused(simulator.client.v1.events.list_async({"type": CREATED, "types": [CREATED]}))
    assert error.http_status == 400
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 30 * 86_400_000 - 60_000})
    assert await ids(type=CREATED) == second[::-1]
    error = await refused(simulator.client.v1.events.retrieve_async("evt_gone"))
    assert error.http_status == 404


async def test_endpoints_of_v1_are_kept_changed_and_deleted(simulator: Target, receiver: Receiver) -> None:
    made = await endpoint(simulator, receiver, CREATED)
    assert (made.id[:3], made.secret[:6], made.status, made.livemode) == ("we_", "whsec_", "enabled", False)
    shown = await simulator.client.v1.webhook_endpoints.retrieve_async(made.id)
    assert "secret" not in shown
    changed = await simulator.client.v1.webhook_endpoints.update_async(made.id, {"enabled_events": ["*"], "disabled": True, "metadata": {"a": "b"}})
    assert (changed.status, changed.enabled_events, changed.metadata["a"], changed.url) == ("disabled", ["*"], "b", receiver.url)
    await make_customers(simulator, 1)
    await settle(simulator)
    assert (attempts(simulator), receiver.received) == ([], [])
    assert [one.id for one in (await simulator.client.v1.webhook_endpoints.list_async()).data] == [made.id]
    assert (await simulator.client.v1.webhook_endpoints.delete_async(made.id)).deleted is True
    assert (await refused(simulator.client.v1.webhook_endpoints.retrieve_async(made.id))).http_status == 404
    error = await refused(simulator.client.v1.webhook_endpoints.create_async({"url": "localhost:80", "enabled_events": ["*"]}))
    assert error.code == "url_invalid"
    for _ in range(16):
        await endpoint(simulator, receiver)
    assert (await refused(endpoint(simulator, receiver))).http_status == 400


async def test_destinations_of_v2_are_kept_changed_and_deleted(simulator: Target, receiver: Receiver) -> None:
    made = await destination(simulator, receiver, "thin", "v1.billing.meter.no_meter_found")
    assert (made.status, made.event_payload, made.webhook_endpoint.url) == ("enabled", "thin", receiver.url)
    assert made.webhook_endpoint.signing_secret.startswith("whsec_")
    api = simulator.client.v2.core.event_destinations
    shown = await api.retrieve_async(made.id, {"include": ["webhook_endpoint.url"]})
    assert shown.webhook_endpoint is not None
    assert (shown.webhook_endpoint.url, "signing_secret" in shown.webhook_endpoint) == (receiver.url, False)
    assert (await api.retrieve_async(made.id)).webhook_endpoint is None
    assert (await api.update_async(made.id, {"name": "Other", "metadata": {"a": "b"}})).name == "Other"
    assert (await api.disable_async(made.id)).status == "disabled"
    assert (await api.enable_async(made.id)).status == "enabled"
    others = [(await destination(simulator, receiver, "snapshot")).id for _ in range(2)]
    listed = await api.list_async({"limit": 1})
    assert [one.id async for one in listed.auto_paging_iter()] == [*others[::-1], made.id]
    await api.delete_async(made.id)
    assert (await refused(api.retrieve_async(made.id))).http_status == 404
    params: Any = {
        "name": "x",
        "type": "webhook_endpoint",
        "event_payload": "thick",
        "enabled_events": ["*"],
        "webhook_endpoint": {"url": "https://a.example"},
    }
    assert (await refused(api.create_async(params))).http_status == 400


async def test_a_ping_is_a_thin_notification_whose_event_is_fetched(simulator: Target, receiver: Receiver) -> None:
    made = await destination(simulator, receiver, "thin", "v1.billing.meter.no_meter_found")
    pinged = await simulator.client.v2.core.event_destinations.ping_async(made.id)
    await receiver.until(lambda: len(receiver.received) == 1)
    got = receiver.received[0]
    notification = simulator.client.parse_event_notification(got.body, got.signature, made.webhook_endpoint.signing_secret)
    assert (notification.id, notification.type) == (pinged.id, "v2.core.event_destination.ping")
    fetched = await notification.fetch_event_async()
    assert (fetched.id, fetched.created, fetched.livemode) == (pinged.id, notification.created, False)
    assert notification.reason is not None
    assert parse_webhook(got.body).thin
    assert (await simulator.client.v2.core.events.retrieve_async(pinged.id)).type == pinged.type
    with pytest.raises(ValueError, match="thin"):
        stripe.Webhook.construct_event(got.body, got.signature, made.webhook_endpoint.signing_secret)


async def test_thin_events_are_listed_by_type_object_and_time(simulator: Target, receiver: Receiver) -> None:
    simulator.control.call("POST", "/_control/clock", {"set_ms": 1_800_000_000_500, "rate": 0})
    one, other = [await destination(simulator, receiver) for _ in range(2)]
    api = simulator.client.v2.core
    first = await api.event_destinations.ping_async(one.id)
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 100})
    second = await api.event_destinations.ping_async(other.id)
    third = await api.event_destinations.ping_async(one.id)
    assert (first.created, second.created) == ("2027-01-15T08:00:00.500Z", "2027-01-15T08:00:00.600Z")

    async def ids(**params: Any) -> list[str]:
        listed = await api.events.list_async(params)  # type: ignore[arg-type]  # built from parts
        return [event.id async for event in listed.auto_paging_iter()]

    assert await ids(limit=1, types=[first.type]) == [third.id, second.id, first.id]
    assert await ids(object_id=one.id) == [third.id, first.id]
    assert await ids(created={"gte": second.created}) == [third.id, second.id]
    assert await ids(created={"lt": second.created}, limit=1) == [first.id]
    assert await ids(types=["v1.billing.meter.no_meter_found"]) == []
    assert (await refused(api.events.list_async({"created": {"gte": "yesterday"}}))).http_status == 400
    assert (await refused(api.events.retrieve_async("evt_test_gone"))).http_status == 404


async def test_what_is_not_2xx_is_tried_again_until_the_tries_are_used_up(simulator: Target, receiver: Receiver) -> None:
    simulator.control.call("POST", "/_control/clock", {"set_ms": 1_800_000_000_000, "rate": 0})
    await endpoint(simulator, receiver, CREATED)
    statuses = iter((302, 500, 404))
    receiver.answer = lambda _: next(statuses)
    await make_customers(simulator, 1)
    await settle(simulator)
    for wait_ms in (30 * MINUTE_MS, 120 * MINUTE_MS, 10 * 1440 * MINUTE_MS):
        simulator.control.call("POST", "/_control/clock", {"advance_ms": wait_ms - 1})
        await settle(simulator)
        simulator.control.call("POST", "/_control/clock", {"advance_ms": 1})
        await settle(simulator)
    assert [(row["attempt"], row["status"]) for row in attempts(simulator)] == [(1, 302), (2, 500), (3, 404)]
    assert [row["next_ms"] is None for row in attempts(simulator)] == [False, False, True]
    assert len({one.document["id"] for one in receiver.received}) == 1


async def test_retries_go_as_fast_as_a_test_wants(simulator: Target, receiver: Receiver) -> None:
    configure(simulator, webhooks={"retry_scale": 0.00001})
    await endpoint(simulator, receiver, CREATED)
    receiver.answer = lambda _: 200 if len(receiver.received) == 3 else 503
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 3)
    await settle(simulator)
    assert [row["status"] for row in attempts(simulator)] == [503, 503, 200]


async def test_a_dead_receiver_holds_up_neither_calls_nor_other_receivers(simulator: Target, receiver: Receiver) -> None:
    async with receiving() as dead:
        dead.answer = lambda _: None
        configure(simulator, webhooks={"connections": 2, "timeout_ms": 60_000})
        await endpoint(simulator, dead, CREATED)
        await endpoint(simulator, receiver, CREATED)
        customers = await make_customers(simulator, 20)
        await receiver.until(lambda: len(receiver.received) == 20)
        assert sorted(one.document["data"]["object"]["id"] for one in receiver.received) == sorted(customers)
        await dead.until(lambda: len(dead.received) == 2)
        state = simulator.control.call("GET", "/_oracle/deliveries")
        assert (state["waiting"], state["in_flight"]) == (18, 2)


async def test_duplicates_and_late_ones_come_as_configured_and_nothing_is_missing(simulator: Target, receiver: Receiver) -> None:
    simulator.control.call("POST", "/_control/clock", {"set_ms": 1_800_000_000_000, "rate": 0})
    await endpoint(simulator, receiver, CREATED)
    configure(simulator, webhooks={"duplicate_probability": 1.0, "hold_back_probability": 0.5, "hold_back_ms": 300, "connections": 1})
    customers = await make_customers(simulator, 60)
    await settle(simulator)
    assert 0 < len(receiver.received) < 120
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 300})
    await receiver.until(lambda: len(receiver.received) == 120)
    got = [one.document["data"]["object"]["id"] for one in receiver.received]
    assert sorted(got) == sorted(customers * 2)
    assert list(dict.fromkeys(got)) != customers
    assert len({one.document["id"] for one in receiver.received}) == 60


async def test_two_secrets_sign_while_one_replaces_the_other(simulator: Target, receiver: Receiver) -> None:
    made = await endpoint(simulator, receiver, CREATED)
    overlap = {"roll": made.id, "overlap_ms": 3_600_000}
    secret = simulator.control.call("POST", "/_control/webhooks", overlap)["secret"]
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 1)
    both = receiver.received[0]
    assert both.signature.count("v1=") == 2
    for one in (made.secret, secret):
        stripe.Webhook.construct_event(both.body, both.signature, one)
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 3_600_000})
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 2)
    new = receiver.received[1]
    stripe.Webhook.construct_event(new.body, new.signature, secret)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(new.body, new.signature, made.secret)


async def test_signatures_bear_real_time_or_simulated_time(simulator: Target, receiver: Receiver) -> None:
    simulator.control.call("POST", "/_control/clock", {"set_ms": 1_000_000_000_000, "rate": 0})
    await endpoint(simulator, receiver, CREATED)
    configure(simulator, webhooks={"signed_at": "simulated"})
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 1)
    assert receiver.received[0].signature.startswith("t=1000000000,")
    configure(simulator, webhooks={"signed_at": "real"})
    before = int(time.time())
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 2)
    assert int(receiver.received[1].signature.partition(",")[0][2:]) >= before


async def test_an_event_is_sent_again_when_asked_for(simulator: Target, receiver: Receiver) -> None:
    await endpoint(simulator, receiver, CREATED)
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 1)
    event_id = receiver.received[0].document["id"]
    assert simulator.control.call("POST", "/_control/webhooks", {"resend": event_id}) == {"destinations": 1}
    await receiver.until(lambda: len(receiver.received) == 2)
    assert receiver.received[1].document["id"] == event_id
    await settle(simulator)
    assert [row["status"] for row in attempts(simulator, f"?event={event_id}")] == [200, 200]
    for mistake in ({"resend": "evt_no"}, {"roll": "we_no", "overlap_ms": 0}, {"settle": False}, {"roll": "we_no", "overlap_ms": -1}, {}):
        assert "webhooks" in simulator.control.refusal("POST", "/_control/webhooks", mistake)
    assert "retry_scale" in simulator.control.refusal("POST", "/_control/config", {"webhooks": {"retry_scale": 2.0}})


async def test_deliveries_go_on_after_a_kill(tmp_path: Path, http_client: stripe.HTTPClient, receiver: Receiver) -> None:
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"))
    process.start()
    try:
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        process.call("POST", "/_control/clock", {"set_ms": 1_800_000_000_000, "rate": 0})
        made = await endpoint(target, receiver, CREATED)
        receiver.answer = lambda _: 503
        customers = await make_customers(target, 5)
        await settle(target)
        process.kill()
        first_tries = len(receiver.received)
        receiver.answer = lambda _: 200
        process.start()
        target = Target(client_of(process.url, http_client), "", 2.0, process)
        process.call("POST", "/_control/clock", {"advance_ms": 30 * MINUTE_MS})
        await settle(target)
        events = [event async for event in (await target.client.v1.events.list_async({"type": CREATED, "limit": 2})).auto_paging_iter()]
        assert [event.data.object["id"] for event in events] == customers[::-1]
        assert sorted(one.document["id"] for one in receiver.received[first_tries:]) == sorted(event.id for event in events)
        more = await make_customers(target, 1)
        await settle(target)
        last = receiver.received[-1]
        assert stripe.Webhook.construct_event(last.body, last.signature, made.secret).data.object["id"] == more[0]
    finally:
        process.stop()


async def test_a_reset_forgets_events_and_keeps_destinations_with_the_catalogue(simulator: Target, receiver: Receiver) -> None:
    made = await endpoint(simulator, receiver, CREATED)
    await make_customers(simulator, 1)
    await settle(simulator)
    simulator.control.call("POST", "/_oracle/reset", {"keep_catalogue": True})
    assert (await simulator.client.v1.events.list_async()).data == []
    await make_customers(simulator, 1)
    await receiver.until(lambda: len(receiver.received) == 2)
    stripe.Webhook.construct_event(receiver.received[1].body, receiver.received[1].signature, made.secret)
    simulator.control.call("POST", "/_oracle/reset")
    assert (await simulator.client.v1.webhook_endpoints.list_async()).data == []


async def test_endpoints_of_both_kinds_on_any_stripe(any_stripe: Target) -> None:
    client, url = any_stripe.client, "https://example.com/taximeter-contract"
    endpoint_params: Any = {"url": url, "enabled_events": ["invoice.paid"]}
    made = await client.v1.webhook_endpoints.create_async(endpoint_params)
    try:
        assert (made.object, made.status, made.enabled_events, (made.secret or "")[:6]) == ("webhook_endpoint", "enabled", ["invoice.paid"], "whsec_")
        changed = await client.v1.webhook_endpoints.update_async(made.id, {"disabled": True})
        assert (changed.status, changed.url, "secret" in changed) == ("disabled", url, False)
        assert made.id in [one.id for one in (await client.v1.webhook_endpoints.list_async({"limit": 100})).data]
    finally:
        assert (await client.v1.webhook_endpoints.delete_async(made.id)).deleted is True
    params: Any = {
        "name": "Taximeter contract",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"],
        "webhook_endpoint": {"url": url},
        "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
    }
    destination = await client.v2.core.event_destinations.create_async(params)
    try:
        assert destination.webhook_endpoint is not None
        assert (destination.webhook_endpoint.signing_secret or "")[:6] == "whsec_"
        assert (destination.object, destination.status, destination.event_payload) == ("v2.core.event_destination", "enabled", "thin")
        assert (await client.v2.core.event_destinations.disable_async(destination.id)).status == "disabled"
        shown = await client.v2.core.event_destinations.retrieve_async(destination.id, {"include": ["webhook_endpoint.url"]})
        assert shown.webhook_endpoint is not None
        assert (shown.webhook_endpoint.url, shown.status) == (url, "disabled")
    finally:
        await client.v2.core.event_destinations.delete_async(destination.id)
    assert (await refused(client.v2.core.event_destinations.retrieve_async(destination.id))).http_status == 404


async def test_a_new_meter_makes_an_event_on_any_stripe(any_stripe: Target) -> None:
    meter = await any_stripe.meter()

    async def found() -> float:
        listed = (await any_stripe.client.v1.events.list_async({"type": "billing.meter.created", "limit": 20})).data
        return float(len([event for event in listed if event.data.object["id"] == meter.id]))

    await any_stripe.until(1, found)
    assert (await any_stripe.client.v2.core.events.list_async({"types": ["v1.billing.meter.no_meter_found"], "limit": 1})).data is not None
