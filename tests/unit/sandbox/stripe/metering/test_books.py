"""The books against a naive model, and their survival of a restart."""

import pytest
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.metering.meter_events import EventState
from taximeter_sandbox.stripe.metering.processing import Processing
from taximeter_sandbox.stripe.state.assumptions import Assumptions

from tests.support.stripe_account import HOUR_MS, NOW_MS, NOW_S, add_customer, add_meter, make_account, send, totals


def test_sums_are_exact_far_beyond_floating_point() -> None:
    account = make_account()
    add_meter(account)
    add_customer(account)
    for value in ("999999999999999", "999999999999999", "0.000000000000001"):
        send(account, **{"payload[value]": value})
    assert totals(account) == {("tokens", "cus_1"): ("1999999999999998.000000000000001", 3)}


def test_usage_becomes_visible_after_the_lag_and_not_in_order() -> None:
    account = make_account(processing=Processing(1_000, 60_000))
    add_meter(account)
    add_customer(account)
    for number in range(50):
        send(account, identifier=str(number))
    assert account.books.visible(("tokens", "cus_1")) == []
    account.advance(NOW_MS + 30_000)
    seen = [event.sequence for event in account.books.visible(("tokens", "cus_1"))]
    assert 0 < len(seen) < 50
    assert seen != list(range(len(seen)))
    account.advance(NOW_MS + 60_000)
    assert len(account.books.visible(("tokens", "cus_1"))) == 50


def test_an_event_is_dropped_if_its_customer_is_gone_when_it_is_processed() -> None:
    account = make_account(processing=Processing(1_000, 1_000))
    add_meter(account)
    customer = add_customer(account)
    send(account, NOW_MS)
    send(account, NOW_MS + 2_000)
    account.delete_customer(customer, NOW_MS + 2_500)
    account.advance(NOW_MS + 10_000)
    assert totals(account) == {("tokens", "cus_1"): ("5", 1)}
    assert account.stats.drops == {"meter_event_customer_not_found": 1}


def test_cancelling_works_within_24_hours_of_receipt_once() -> None:
    account = make_account(processing=Processing(500, 500))
    add_meter(account)
    add_customer(account)
    send(account, identifier="a")
    assert account.cancel("tokens", "a", NOW_MS + 24 * HOUR_MS - 1).status == "pending"
    assert totals(account) == {("tokens", "cus_1"): ("5", 1)}
    account.advance(NOW_MS + 24 * HOUR_MS + 1_000)
    assert totals(account) == {}
    assert account.adjustments[0].status == "complete"
    with pytest.raises(ApiError, match="cancelled already"):
        account.cancel("tokens", "a", NOW_MS + 1_000)


@pytest.mark.parametrize(("event_name", "identifier", "after_ms"), [("tokens", "b", 0), ("other", "a", 0), ("tokens", "a", 24 * HOUR_MS)])
def test_what_cannot_be_cancelled_is_refused(event_name: str, identifier: str, after_ms: int) -> None:
    account = make_account(assumptions=Assumptions(adjustment_error_code="invalid_cancel_configuration"))
    add_meter(account)
    add_meter(account, "other")
    send(account, identifier="a")
    with pytest.raises(ApiError) as caught:
        account.cancel(event_name, identifier, NOW_MS + after_ms)
    assert (caught.value.status, caught.value.code) == (400, "invalid_cancel_configuration")


@pytest.mark.parametrize("reusable", [False, True])
def test_a_cancelled_identifier_is_reusable_or_not_as_assumed(reusable: bool) -> None:
    account = make_account(assumptions=Assumptions(identifier_reusable_after_cancel=reusable))
    add_meter(account)
    add_customer(account)
    send(account, identifier="a")
    account.cancel("tokens", "a", NOW_MS)
    account.advance(NOW_MS)
    if reusable:
        send(account, identifier="a")
        assert totals(account) == {("tokens", "cus_1"): ("5", 1)}
    else:
        with pytest.raises(ApiError, match="already exists"):
            send(account, identifier="a")


def test_in_an_event_time_window_the_event_received_last_counts() -> None:
    account = make_account()
    add_meter(account, event_time_window="hour")
    add_customer(account)
    base = NOW_S // 3600 * 3600
    for identifier, value, offset in (("a", "10", -60), ("b", "20", 5), ("c", "15", 1)):
        send(account, identifier=identifier, timestamp=str(base + offset), **{"payload[value]": value})
    assert totals(account) == {("tokens", "cus_1"): ("25", 2)}
    account.cancel("tokens", "c", NOW_MS)
    account.advance(NOW_MS)
    assert totals(account) == {("tokens", "cus_1"): ("30", 2)}


def test_cancelling_an_event_that_was_overwritten_changes_nothing() -> None:
    account = make_account()
    add_meter(account, event_time_window="hour")
    add_customer(account)
    for identifier, value in (("a", "10"), ("b", "20")):
        send(account, identifier=identifier, **{"payload[value]": value})
    account.cancel("tokens", "a", NOW_MS)
    account.advance(NOW_MS)
    assert totals(account) == {("tokens", "cus_1"): ("20", 1)}


def test_cancelling_an_event_that_was_dropped_changes_nothing() -> None:
    account = make_account()
    add_meter(account)
    event = send(account, identifier="a")  # no such customer
    account.cancel("tokens", "a", NOW_MS)
    account.advance(NOW_MS)
    assert (account.events.state(event.sequence), account.adjustments[0].status) == (EventState.DROPPED, "complete")
    assert totals(account) == {}
