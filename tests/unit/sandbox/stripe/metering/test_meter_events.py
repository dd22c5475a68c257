from contextlib import suppress
from dataclasses import replace

import pytest
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.metering.meter_events import EventState
from taximeter_sandbox.stripe.state.assumptions import Assumptions

from tests.support.stripe_account import HOUR_MS, NOW_MS, NOW_S, add_customer, add_meter, make_account, send, submission, totals

DAY_S = 86_400


def refusal(**fields: str) -> ApiError:
    account = make_account()
    add_meter(account)
    with pytest.raises(ApiError) as caught:
        submission(account, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"event_name": ""}, "event_name", "parameter_missing"),
        ({"event_name": "x" * 101}, "event_name", None),
        ({"identifier": "x" * 101}, "identifier", None),
        ({"colour": "red"}, "colour", "parameter_unknown"),
        ({"expand[]": "payload"}, "expand", None),
        ({"timestamp": "yesterday"}, "timestamp", "parameter_invalid_integer"),
        ({"timestamp": "1.5"}, "timestamp", "parameter_invalid_integer"),
        ({"timestamp": str(NOW_MS)}, "timestamp", "timestamp_in_future"),
        ({"payload[stripe_customer_id]": ""}, "payload[stripe_customer_id]", "parameter_missing"),
        ({"payload[value]": ""}, "payload[value]", "parameter_missing"),
        ({"payload[value]": "abc"}, "payload[value]", "meter_event_invalid_value"),
        ({"payload[value]": "NaN"}, "payload[value]", "meter_event_invalid_value"),
        ({"payload[value]": "+5"}, "payload[value]", "meter_event_invalid_value"),
        ({"payload[value]": "\u0665"}, "payload[value]", "meter_event_invalid_value"),
        ({"payload[value]": "1e3"}, "payload[value]", "meter_event_invalid_value"),
        ({"payload[value]": "1" * 16}, "payload[value]", "meter_event_value_too_many_digits"),
        ({"payload[value]": "12345678.12345678"}, "payload[value]", "meter_event_value_too_many_digits"),
    ],
)
def test_a_bad_call_is_refused_by_name_and_not_kept(fields: dict[str, str], param: str, code: str | None) -> None:
    error = refusal(**fields)
    assert (error.status, error.param, error.code, error.stored) == (400, param, code, False)


def test_a_nested_payload_value_is_refused() -> None:
    assert refusal(**{"payload[value]": "", "payload[value][deep]": "1"}).param == "payload[value]"


def test_a_payload_that_is_no_hash_is_refused() -> None:
    error = refusal(**{"payload[value]": "", "payload[stripe_customer_id]": "", "payload": "5"})
    assert (error.message, error.param) == ("Invalid hash", "payload")


@pytest.mark.parametrize("value", ["0", "-7", "1.5", "007", "9" * 15, "-" + "9" * 15, "000" + "9" * 15])
def test_good_values_are_taken(value: str) -> None:
    account = make_account()
    add_meter(account)
    assert submission(account, **{"payload[value]": value}).value == value


@pytest.mark.parametrize(
    ("offset_s", "code"),
    [(-35 * DAY_S, None), (-35 * DAY_S - 1, "timestamp_too_far_in_past"), (300, None), (301, "timestamp_in_future")],
)
def test_timestamps_reach_35_days_back_and_5_minutes_ahead(offset_s: int, code: str | None) -> None:
    account = make_account()
    add_meter(account)
    given = {"timestamp": str(NOW_S + offset_s)}
    if code is None:
        assert submission(account, **given).timestamp == NOW_S + offset_s
    else:
        with pytest.raises(ApiError) as caught:
            submission(account, **given)
        assert caught.value.code == code


def test_an_unknown_or_inactive_meter_is_named_and_the_refusal_is_kept() -> None:
    account = make_account()
    meter = add_meter(account)
    account.deactivate_meter(meter.id, NOW_MS)
    for event_name in ("tokens", "nothing"):
        with pytest.raises(ApiError) as caught:
            submission(account, event_name=event_name)
        error = caught.value
        assert (error.message, error.code, error.stored) == (f'No active meter found for event name "{event_name}"', None, True)


def test_a_duplicate_within_24_hours_is_refused_in_stripes_words() -> None:
    account = make_account()
    add_meter(account)
    add_customer(account)
    send(account, identifier="a:b")
    with pytest.raises(ApiError) as caught:
        send(account, NOW_MS + 24 * HOUR_MS - 1, identifier="a:b")
    error = caught.value
    assert (error.status, error.message, error.code) == (400, "An event already exists with identifier a:b.", None)
    assert dict(error.headers) == {"Stripe-Should-Retry": "false"}
    assert totals(account) == {("tokens", "cus_1"): ("5", 1)}
    assert account.stats.duplicates == 1


def test_after_24_hours_the_same_identifier_is_accepted_and_billed_twice() -> None:
    account = make_account()
    add_meter(account)
    add_customer(account)
    send(account, identifier="a")
    send(account, NOW_MS + 24 * HOUR_MS, identifier="a")
    assert totals(account) == {("tokens", "cus_1"): ("10", 2)}
    assert account.stats.counted_again == 1


def test_the_memory_rolls_with_the_latest_receipt() -> None:
    account = make_account()
    add_meter(account)
    send(account, identifier="a")
    send(account, NOW_MS + 25 * HOUR_MS, identifier="a")
    with pytest.raises(ApiError, match="already exists"):
        send(account, NOW_MS + 48 * HOUR_MS, identifier="a")


@pytest.mark.parametrize(("scope", "accepted"), [("account", 1), ("meter", 2), ("customer", 3)])
def test_an_identifier_is_unique_within_the_scope_assumed(scope: str, accepted: int) -> None:
    account = make_account()
    account.assume(replace(Assumptions(), identifier_scope=scope))  # type: ignore[arg-type]  # the parameters are its literals
    add_meter(account)
    add_meter(account, "other")
    for event_name, customer in (("tokens", "cus_1"), ("other", "cus_1"), ("tokens", "cus_2")):
        call = submission(account, event_name=event_name, identifier="a", **{"payload[stripe_customer_id]": customer})
        with suppress(ApiError):
            account.accept(call, NOW_MS)
    assert (len(account.events), account.stats.duplicates) == (accepted, 3 - accepted)


def test_changing_the_scope_covers_events_that_are_there_already() -> None:
    account = make_account()
    add_meter(account)
    send(account, identifier="a")
    account.assume(replace(Assumptions(), identifier_scope="customer"))
    with pytest.raises(ApiError, match="already exists"):
        send(account, identifier="a")
    send(account, identifier="a", **{"payload[stripe_customer_id]": "cus_2"})


def test_an_event_without_identifier_or_timestamp_gets_both() -> None:
    account = make_account()
    add_meter(account)
    first, second = send(account), send(account)
    assert first.identifier != second.identifier
    assert len(first.identifier) == 36
    assert first.timestamp == NOW_S


def test_custom_payload_keys_are_the_ones_that_count() -> None:
    account = make_account()
    keys = {"customer_mapping[event_payload_key]": "who", "customer_mapping[type]": "by_id", "value_settings[event_payload_key]": "much"}
    add_meter(account, **keys)
    add_customer(account)
    event = send(
        account, **{"payload[stripe_customer_id]": "", "payload[value]": "", "payload[who]": "cus_1", "payload[much]": "8", "payload[model]": "m"}
    )
    assert (event.customer, event.value, event.dimensions) == ("cus_1", "8", (("model", "m"),))


def test_asynchronous_errors_are_answered_with_200_and_dropped_by_reason() -> None:
    account = make_account(assumptions=Assumptions(timestamp_errors="async", payload_errors="async"))
    add_meter(account)
    add_customer(account)
    wrong = [
        ({"timestamp": "1"}, "timestamp_too_far_in_past"),
        ({"payload[value]": "abc"}, "meter_event_invalid_value"),
        ({"payload[value]": ""}, "meter_event_value_not_found"),
        ({"payload[stripe_customer_id]": ""}, "meter_event_no_customer_defined"),
        ({"payload[stripe_customer_id]": "cus_nobody"}, "meter_event_customer_not_found"),
    ]
    for fields, _ in wrong:
        event = send(account, **fields)
        assert account.events.state(event.sequence) is EventState.DROPPED
    assert account.stats.drops == {reason: 1 for _, reason in wrong}
    assert totals(account) == {}


def test_too_many_digits_are_dropped_later_for_old_api_versions() -> None:
    account = make_account()
    add_meter(account)
    call = submission(account, NOW_MS, "2026-03-25.dahlia", **{"payload[value]": "1" * 16})
    assert call.problem == "meter_event_value_too_many_digits"


@pytest.mark.parametrize("burnt", [True, False])
def test_a_rejected_identifier_is_burnt_or_not_as_assumed(burnt: bool) -> None:
    account = make_account(assumptions=Assumptions(identifier_burnt_by_rejection=burnt))
    add_meter(account)
    send(account, identifier="a")  # no such customer: dropped
    add_customer(account)
    if burnt:
        with pytest.raises(ApiError, match="already exists"):
            send(account, identifier="a")
    else:
        send(account, identifier="a")
        assert totals(account) == {("tokens", "cus_1"): ("5", 1)}


def test_a_missing_customer_is_refused_at_once_under_the_other_reading() -> None:
    account = make_account(assumptions=Assumptions(missing_customer="sync"))
    add_meter(account)
    with pytest.raises(ApiError) as caught:
        send(account)
    assert (caught.value.status, caught.value.code) == (400, "resource_missing")


@pytest.mark.parametrize(
    ("assumptions", "value", "taken"),
    [
        (Assumptions(zero_value="reject"), "0", False),
        (Assumptions(decimal_value="reject"), "1.5", False),
        (Assumptions(decimal_value="reject"), "1.0", True),
        (Assumptions(exponent_value="accept"), "1e3", True),
    ],
)
def test_values_follow_the_assumptions(assumptions: Assumptions, value: str, taken: bool) -> None:
    account = make_account(assumptions=assumptions)
    add_meter(account)
    add_customer(account)
    if taken:
        send(account, **{"payload[value]": value})
        assert len(account.events) == 1
    else:
        with pytest.raises(ApiError):
            send(account, **{"payload[value]": value})
