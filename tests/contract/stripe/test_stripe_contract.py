"""What Stripe does, on the simulator and on Stripe's sandbox."""

import time
import uuid
from typing import Any

import pytest
import stripe

from tests.support.stripe_target import HOUR_S, Target, refused


async def test_a_meter_is_created_shown_renamed_and_listed(any_stripe: Target) -> None:
    meters = any_stripe.client.v1.billing.meters
    made = await any_stripe.meter()
    assert made.id.startswith("mtr_")
    assert (made.object, made.status, made.livemode) == ("billing.meter", "active", False)
    assert (made.customer_mapping.event_payload_key, made.customer_mapping.type) == ("stripe_customer_id", "by_id")
    assert (made.value_settings.event_payload_key, made.default_aggregation.formula) == ("value", "sum")
    assert made.event_time_window is None
    assert made.status_transitions.deactivated_at is None
    renamed = await meters.update_async(made.id, {"display_name": "Another name"})
    assert renamed.display_name == "Another name"
    assert (await meters.retrieve_async(made.id)).event_name == made.event_name
    found = [meter.event_name async for meter in (await meters.list_async({"status": "active", "limit": 100})).auto_paging_iter()]
    assert made.event_name in found


async def test_only_the_display_name_of_a_meter_can_change(any_stripe: Target) -> None:
    made = await any_stripe.meter()
    change: dict[str, object] = {"event_name": "another"}
    error = await refused(any_stripe.client.v1.billing.meters.update_async(made.id, change))  # type: ignore[arg-type]  # wrong on purpose
    assert (error.http_status, error.code, getattr(error, "param", None)) == (400, "parameter_unknown", "event_name")


async def test_an_event_name_belongs_to_one_meter(any_stripe: Target) -> None:
    made = await any_stripe.meter()
    error = await refused(any_stripe.meter(event_name=made.event_name))
    assert isinstance(error, stripe.InvalidRequestError)


async def test_a_deactivated_meter_takes_no_events_until_it_is_reactivated(any_stripe: Target) -> None:
    meters = any_stripe.client.v1.billing.meters
    made, customer = await any_stripe.meter(), await any_stripe.customer()
    off = await meters.deactivate_async(made.id)
    assert off.status == "inactive"
    assert off.status_transitions.deactivated_at is not None
    error = await refused(any_stripe.send(made.event_name, customer, 1))
    assert error.http_status == 400
    assert "No active meter found for event name" in str(error.user_message)
    assert (await meters.reactivate_async(made.id)).status == "active"
    assert (await any_stripe.send(made.event_name, customer, 1)).object == "billing.meter_event"


async def test_an_unknown_event_name_is_refused(any_stripe: Target) -> None:
    error = await refused(any_stripe.send(f"nothing_{uuid.uuid4().hex}", "cus_x", 1))
    assert isinstance(error, stripe.InvalidRequestError)
    assert "No active meter found for event name" in str(error.user_message)


async def test_a_customer_is_created_shown_listed_and_deleted(any_stripe: Target) -> None:
    customers = any_stripe.client.v1.customers
    email = f"{uuid.uuid4().hex}@example.com"
    made = await customers.create_async({"name": "A", "email": email, "metadata": {"team": "models"}})
    assert made.id.startswith("cus_")
    assert (await customers.retrieve_async(made.id)).to_dict()["metadata"] == {"team": "models"}
    assert [customer.id for customer in (await customers.list_async({"email": email})).data] == [made.id]
    assert (await customers.delete_async(made.id)).deleted is True
    assert (await customers.retrieve_async(made.id)).deleted is True
    error = await refused(customers.retrieve_async("cus_doesnotexist"))
    assert (error.http_status, error.code) == (404, "resource_missing")


async def test_an_accepted_event_is_shown_as_it_was_sent(any_stripe: Target) -> None:
    made, customer = await any_stripe.meter(), await any_stripe.customer()
    now, identifier = int(time.time()), uuid.uuid4().hex
    event = await any_stripe.send(made.event_name, customer, 25, identifier=identifier, timestamp=now - 60)
    assert (event.object, event.event_name, event.identifier, event.timestamp) == ("billing.meter_event", made.event_name, identifier, now - 60)
    assert event.to_dict()["payload"] == {"stripe_customer_id": customer, "value": "25"}
    assert event.livemode is False
    assert abs(event.created - now) < 120
    assert (await any_stripe.send(made.event_name, customer, 1)).identifier


async def test_a_duplicate_identifier_is_refused_without_a_code(any_stripe: Target) -> None:
    made, customer, identifier = await any_stripe.meter(), await any_stripe.customer(), uuid.uuid4().hex
    await any_stripe.send(made.event_name, customer, 5, identifier=identifier)
    error = await refused(any_stripe.send(made.event_name, customer, 5, identifier=identifier))
    assert isinstance(error, stripe.InvalidRequestError)
    assert str(error.user_message).startswith(f"An event already exists with identifier {identifier}")
    assert error.code is None
    assert error.headers is not None
    assert error.headers["stripe-should-retry"] == "false"


async def test_an_idempotency_key_gives_the_first_reply_again(any_stripe: Target) -> None:
    made, customer, key = await any_stripe.meter(), await any_stripe.customer(), uuid.uuid4().hex
    first = await any_stripe.send(made.event_name, customer, 5, key=key, identifier=key)
    again = await any_stripe.send(made.event_name, customer, 5, key=key, identifier=key)
    assert again.to_dict() == first.to_dict()
    error = await refused(any_stripe.send(made.event_name, customer, 6, key=key, identifier=key))
    assert isinstance(error, stripe.IdempotencyError)


async def test_bad_parameters_are_refused(any_stripe: Target) -> None:
    made, customer = await any_stripe.meter(), await any_stripe.customer()
    payload = {"stripe_customer_id": customer, "value": "1"}
    wrong: list[dict[str, Any]] = [
        {"identifier": "x" * 101},
        {"colour": "red"},
        {"payload": {**payload, "value": {"deep": "1"}}},
        {"payload": {"stripe_customer_id": customer, "value": "abc"}},
        {"timestamp": "yesterday"},
        {"event_name": ""},
    ]
    for changes in wrong:
        error = await refused(any_stripe.send(changes.pop("event_name", made.event_name), customer, 1, **{"identifier": uuid.uuid4().hex, **changes}))
        assert isinstance(error, stripe.InvalidRequestError), changes
        assert error.http_status == 400


async def test_a_wrong_key_is_refused(any_stripe: Target) -> None:
    options: stripe.RequestOptions = {"api_key": "sk_live_wrong"} if any_stripe.simulator is None else {"api_key": "wrong_key_1234"}
    error = await refused(any_stripe.client.v1.billing.meters.list_async({}, options))
    assert isinstance(error, stripe.AuthenticationError)
    assert error.request_id is not None or any_stripe.simulator is None


async def test_an_unknown_address_is_refused(any_stripe: Target) -> None:
    error = await refused(any_stripe.client.raw_request_async("get", "/v1/billing/nothing"))
    assert error.http_status == 404


async def test_summaries_show_the_exact_total_in_time(any_stripe: Target) -> None:
    made, customer = await any_stripe.meter(), await any_stripe.customer()
    hour = int(time.time()) // HOUR_S * HOUR_S
    for value, timestamp in ((100, hour - 1800), (20, hour - 1740), (3, int(time.time()) - 1)):
        await any_stripe.send(made.event_name, customer, value, timestamp=timestamp)
    await any_stripe.until(123.0, lambda: any_stripe.total(made.id, customer))
    page = await any_stripe.client.v1.billing.meters.event_summaries.list_async(
        made.id, {"customer": customer, "start_time": hour - HOUR_S, "end_time": hour, "value_grouping_window": "hour"}
    )
    rows = [(row.start_time, row.end_time, row.aggregated_value) for row in page.data if row.aggregated_value]
    assert [row[:2] for row in rows] == [(hour - HOUR_S, hour)]
    assert rows[0][2] in (120.0, 123.0)  # the third event may fall just before the hour
    assert "customer" not in page.data[0]
    assert page.data[0].object == "billing.meter_event_summary"


@pytest.mark.parametrize(("start", "end", "grouping"), [(1, 60, None), (0, 61, None), (60, 3600, "hour"), (0, 3600, "day")])
async def test_unaligned_summaries_are_refused(any_stripe: Target, start: int, end: int, grouping: str | None) -> None:
    made, customer = await any_stripe.meter(), await any_stripe.customer()
    day = int(time.time()) // 86_400 * 86_400
    params = {"customer": customer, "start_time": day + start, "end_time": day + end}
    if grouping is not None:
        params["value_grouping_window"] = grouping
    summaries = any_stripe.client.v1.billing.meters.event_summaries
    error = await refused(summaries.list_async(made.id, params))  # type: ignore[arg-type]  # built from parts
    assert isinstance(error, stripe.InvalidRequestError)


async def test_a_cancelled_event_leaves_the_summary(any_stripe: Target) -> None:
    made, customer, identifier = await any_stripe.meter(), await any_stripe.customer(), uuid.uuid4().hex
    await any_stripe.send(made.event_name, customer, 40, identifier=identifier)
    await any_stripe.send(made.event_name, customer, 2)
    await any_stripe.until(42.0, lambda: any_stripe.total(made.id, customer))
    adjustment = await any_stripe.client.v1.billing.meter_event_adjustments.create_async(
        {"event_name": made.event_name, "type": "cancel", "cancel": {"identifier": identifier}}
    )
    assert adjustment.object == "billing.meter_event_adjustment"
    assert adjustment.status in ("pending", "complete")
    assert adjustment.cancel is not None
    assert adjustment.cancel.identifier == identifier
    await any_stripe.until(2.0, lambda: any_stripe.total(made.id, customer))
