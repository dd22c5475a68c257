"""Who signed a webhook, and what it says; checked against the library's own way of signing."""

import hashlib
import hmac
from typing import Any

import orjson
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from metering.configuration.secrets import Secret
from metering.stripe.signatures import WebhookRefused, parse_webhook, verify_signature

NOW_S = 1_790_000_000
SECRET = Secret("whsec_one")
OTHER = Secret("whsec_two")
BODY = b'{"id": "evt_1"}'


def signed(body: bytes, secret: Secret, at_s: int = NOW_S) -> str:
    digest = hmac.new(secret.reveal().encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def snapshot(**more: Any) -> dict[str, Any]:
    return {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": NOW_S, "livemode": False, "data": {"object": {"id": "in_1"}}, **more}


def thin(**more: Any) -> dict[str, Any]:
    return {"id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found", "created": "2026-11-22T10:00:00Z", **more}


def reason_of(body: bytes, header: str, secrets: list[Secret], now_s: int = NOW_S) -> str:
    with pytest.raises(WebhookRefused) as caught:
        verify_signature(body, header, secrets, now_s)
    return caught.value.reason


@given(st.binary(max_size=200).filter(lambda body: b"\r" not in body))
def test_a_signature_of_one_of_the_secrets_is_taken(body: bytes) -> None:
    verify_signature(body, signed(body, OTHER), [SECRET, OTHER], NOW_S)


def test_the_library_signs_and_checks_as_this_does() -> None:
    body = orjson.dumps(snapshot())
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET.reveal(), timestamp=NOW_S)
    verify_signature(body, header, [SECRET], NOW_S)
    assert stripe.WebhookSignature.verify_header(body.decode(), signed(body, SECRET), SECRET.reveal(), tolerance=None)


def test_while_a_secret_is_rolled_one_of_two_signatures_is_enough() -> None:
    header = f"{signed(BODY, OTHER)},{signed(BODY, SECRET).partition(',')[2]},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    verify_signature(BODY, header, [SECRET], NOW_S)


def test_another_body_another_secret_another_time_or_no_secret_at_all_is_a_bad_signature() -> None:
    assert reason_of(BODY + b" ", signed(BODY, SECRET), [SECRET]) == "bad_signature"
    assert reason_of(BODY, signed(BODY, OTHER), [SECRET]) == "bad_signature"
    assert reason_of(BODY, signed(BODY, SECRET).replace(str(NOW_S), str(NOW_S + 1)), [SECRET]) == "bad_signature"
    assert reason_of(BODY, signed(BODY, SECRET), []) == "bad_signature"


@pytest.mark.parametrize(
    "header", ["", "t=1", "v1=ab", "t=x,v1=ab", f"t={NOW_S},t={NOW_S},v1=ab", "t=٣,v1=ab", f"t={NOW_S},v1=ä", "=,=,=", "t=-1,v1=a"]
)
def test_a_header_without_one_time_and_a_signature_is_none(header: str) -> None:
    assert reason_of(BODY, header, [SECRET]) == "no_signature"


@given(st.text(max_size=300))
def test_no_header_whatsoever_raises_anything_else(header: str) -> None:
    assert reason_of(BODY, header, [SECRET]) in {"no_signature", "bad_signature"}


def test_a_signature_may_be_as_old_as_the_tolerance_and_from_a_clock_that_is_ahead() -> None:
    verify_signature(BODY, signed(BODY, SECRET, NOW_S - 300), [SECRET], NOW_S)
    verify_signature(BODY, signed(BODY, SECRET, NOW_S + 900), [SECRET], NOW_S)
    assert reason_of(BODY, signed(BODY, SECRET, NOW_S - 301), [SECRET]) == "too_old"


def test_only_who_knows_the_secret_is_told_that_it_is_too_old() -> None:
    assert reason_of(BODY, signed(BODY, OTHER, NOW_S - 301), [SECRET]) == "bad_signature"


def test_a_snapshot_carries_its_object_and_a_thin_notification_does_not() -> None:
    event = parse_webhook(orjson.dumps(snapshot(livemode=True)))
    assert (event.id, event.type, event.created_s, event.thin, event.livemode) == ("evt_1", "invoice.paid", NOW_S, False, True)
    assert event.document["data"]["object"]["id"] == "in_1"
    event = parse_webhook(orjson.dumps(thin()))
    assert (event.id, event.created_s, event.thin, event.livemode) == ("evt_test_1", 1_795_341_600, True, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"evt_1"',
        b"1",
        b"null",
        b"\xff",
        b"[" * 100_000,
        orjson.dumps({"id": "evt_1"}),
        orjson.dumps(snapshot(id=1)),
        orjson.dumps(snapshot(id="cus_1")),
        orjson.dumps(snapshot(id="evt_../../v1/charges")),
        orjson.dumps(snapshot(id="evt_1\n")),
        orjson.dumps(snapshot(id="evt_" + "1" * 300)),
        orjson.dumps(snapshot(type="")),
        orjson.dumps(snapshot(type="a" * 300)),
        orjson.dumps(snapshot(type=None)),
    ],
)
def test_what_is_no_event_of_stripes_is_malformed(body: bytes) -> None:
    with pytest.raises(WebhookRefused) as caught:
        parse_webhook(body)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("created", [None, "yesterday", "0001-01-01T00:00:00", 1.5, []])
def test_a_time_that_cannot_be_read_is_0(created: object) -> None:
    assert parse_webhook(orjson.dumps(snapshot(created=created))).created_s == 0
