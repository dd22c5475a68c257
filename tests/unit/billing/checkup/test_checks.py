"""What the doctor makes of what was seen."""

from dataclasses import replace
from decimal import Decimal
from email.utils import formatdate
from typing import Any

import pytest

from billing.catalogue.account import Account
from billing.checkup.checks import (
    Destination,
    TimedReply,
    check_catalogue,
    check_clock,
    check_destinations,
    check_key_kind,
    check_permission,
    check_reception,
    check_version,
)
from billing.checkup.permissions import PERMISSIONS, Permission, needed_by
from metering.configuration.secrets import Secret
from tests.support.billing_catalogue import COMPLETE, FOUND_METER, FOUND_PRICE, FOUND_PRODUCT, WANTED, with_meter, with_price

REPORT = Permission("billing_meter_event_write", ("reporter",), "post", "/v1/billing/meter_events")
PREVIEW = Permission("invoice_write", ("preview",), "post", "/v1/invoices/create_preview")
URL = "https://example.com/webhooks/stripe"


def reply(status: int = 200, **changes: Any) -> TimedReply:
    return replace(TimedReply(status, "message", "", {}, 1_000.0, 1_000.2), **changes)


def dated(skew_s: float, trip_s: float = 0.2) -> TimedReply:
    """A reply whose Date is `skew_s` behind this machine's clock."""
    return reply(
        headers={"date": formatdate(1_000_000, usegmt=True)}, sent_s=1_000_000.5 + skew_s - trip_s / 2, received_s=1_000_000.5 + skew_s + trip_s / 2
    )


@pytest.mark.parametrize(
    ("key", "production", "state"),
    [
        ("sk_test_1234567890", False, "ok"),
        ("rk_live_1234567890", True, "ok"),
        ("sk_live_1234567890", True, "warning"),
        ("sk_live_1234567890", False, "failed"),
        ("rk_test_1234567890", True, "failed"),
    ],
)
def test_the_key_must_be_of_the_mode_that_the_settings_say(key: str, production: bool, state: str) -> None:
    check = check_key_kind(Secret(key), production=production)
    assert check.state == state
    assert "1234567890" not in check.seen + check.way_out


@pytest.mark.parametrize(
    ("skew", "state"), [(0, "ok"), (59, "ok"), (-59, "ok"), (62, "warning"), (-62, "warning"), (239, "warning"), (242, "failed"), (-242, "failed")]
)
def test_a_clock_may_be_a_minute_off_and_not_four(skew: int, state: str) -> None:
    assert check_clock(dated(skew)).state == state


def test_a_slow_reply_is_not_taken_for_a_wrong_clock() -> None:
    assert check_clock(dated(70, trip_s=30.0)).state == "ok"
    assert check_clock(dated(100, trip_s=30.0)).state == "warning"


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_reply_without_a_date_says_nothing_about_the_clock(headers: dict[str, str]) -> None:
    assert check_clock(reply(headers=headers)).state == "warning"


def test_the_version_of_the_reply_is_the_one_that_was_asked_for() -> None:
    assert check_version(reply(headers={"stripe-version": "a"}), "a").state == "ok"
    assert check_version(reply(headers={"stripe-version": "b"}), "a").state == "warning"
    assert check_version(reply(), "a").state == "warning"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (reply(200), "ok"),
        (reply(400), "ok"),
        (reply(404, code="resource_missing"), "ok"),
        (reply(404), "warning"),
        (reply(403), "failed"),
        (reply(500), "warning"),
        (reply(429), "warning"),
    ],
)
def test_only_403_says_that_a_permission_is_missing(answer: TimedReply, state: str) -> None:
    assert check_permission(REPORT, answer).state == state


def test_a_permission_that_only_a_command_needs_is_no_failure() -> None:
    check = check_permission(PREVIEW, reply(403))
    assert check.state == "warning"
    assert "preview" in check.seen


def test_each_permission_is_listed_once_and_tried_by_a_call_without_effect() -> None:
    assert len({permission.name for permission in PERMISSIONS}) == len(PERMISSIONS)
    for permission in PERMISSIONS:
        assert permission.writes == (permission.method == "post")
        # A call that writes names an object that does not exist, or lacks what is required.
        lacking = {"/v1/billing/meter_events", "/v1/invoices/create_preview"}
        assert not permission.writes or "taximeter_doctor" in permission.path or (permission.path in lacking and not permission.parameters)
    assert "billing_meter_event_write" in needed_by("reporter")
    assert needed_by("nobody") == ()


def test_a_complete_account_passes() -> None:
    assert [(check.name, check.state) for check in check_catalogue(WANTED, COMPLETE)] == [
        ("meter tokens", "ok"),
        ("product ai", "ok"),
        ("price monthly", "ok"),
    ]


def test_what_is_missing_fails_and_names_the_command() -> None:
    checks = check_catalogue(WANTED, Account())
    assert {check.state for check in checks} == {"failed"}
    assert {check.way_out for check in checks} == {"taximeter stripe setup"}


def test_what_spoils_bills_fails_and_names_do_not() -> None:
    for changes in ({"formula": "last"}, {"event_time_window": "day"}, {"active": False}, {"value_key": "v"}, {"customer_key": "c"}):
        assert check_catalogue(WANTED, with_meter(**changes))[0].state == "failed"
    assert check_catalogue(WANTED, with_meter(display_name="Old"))[0].state == "warning"
    assert check_catalogue(WANTED, Account((FOUND_METER,), (replace(FOUND_PRODUCT, name="Old"),), (FOUND_PRICE,)))[1].state == "warning"
    assert check_catalogue(with_price(unit_amount=Decimal(5)), COMPLETE)[2].state == "failed"


@pytest.mark.parametrize(("status", "state"), [(400, "ok"), (200, "failed"), (404, "failed"), (502, "failed"), (None, "failed")])
def test_our_endpoint_refuses_what_is_not_signed(status: int | None, state: str) -> None:
    assert check_reception(URL, status, "refused").state == state


def destination(**changes: Any) -> Destination:
    return replace(Destination("ed_1", URL + "/", enabled=True, thin=True, event_types=frozenset({"report"})), **changes)


def delivered(*destinations: Destination) -> list[str]:
    return [check.state for check in check_destinations(URL, destinations, thin_types=["report"], snapshot_types=["paid"])]


def test_both_kinds_of_events_need_a_destination() -> None:
    snapshot = destination(id="we_1", thin=False, event_types=frozenset({"*"}))
    assert delivered(destination(), snapshot) == ["ok", "ok"]
    assert delivered() == ["failed", "warning"]
    assert delivered(destination(url="https://elsewhere.example")) == ["failed", "warning"]
    assert delivered(destination(enabled=False), snapshot) == ["failed", "ok"]
    assert delivered(destination(event_types=frozenset({"other"})), snapshot) == ["failed", "ok"]
    assert delivered(destination(), replace(snapshot, event_types=frozenset({"other"}))) == ["ok", "warning"]
