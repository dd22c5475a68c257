"""One row for each thing that Stripe, the network or somebody in between may answer."""

import pytest

from reporter.sending.verdicts import (
    VERDICT_DETAIL_CHARS_MAX,
    Delivered,
    MeterRefused,
    Refused,
    Reply,
    Retry,
    StopTheWorld,
    TooOld,
    TryAgain,
    Verdict,
    classify,
    interrupted,
    unreachable,
)

INVALID = "invalid_request_error"
EXISTS = "An event already exists with identifier tm-1."


def limited(reason: str) -> dict[str, str]:
    return {"Stripe-Rate-Limited-Reason": reason}


ROWS: list[tuple[str, Reply, Verdict]] = [
    ("accepted", Reply(200), Delivered(duplicate=False)),
    ("duplicate, v1: by message, no code", Reply(400, error_type=INVALID, message=EXISTS), Delivered(duplicate=True)),
    (
        "duplicate, told not to retry",
        Reply(400, error_type=INVALID, message=EXISTS, headers={"Stripe-Should-Retry": "false"}),
        Delivered(duplicate=True),
    ),
    ("duplicate, v2: by code", Reply(400, code="duplicate_meter_event", message="Already submitted."), Delivered(duplicate=True)),
    (
        "same lane busy",
        Reply(409, error_type=INVALID, code="too_many_concurrent_requests", message="Cannot create multiple"),
        TryAgain(Retry.CONCURRENT),
    ),
    ("key still at work", Reply(409, error_type="idempotency_error", code="idempotency_key_in_use"), TryAgain(Retry.KEY_IN_USE, maybe_arrived=True)),
    (
        "key used with other parameters",
        Reply(400, error_type="idempotency_error", message="Keys for idempotent requests"),
        TryAgain(Retry.KEY_REUSED, "HTTP 400 idempotency_error: Keys for idempotent requests", maybe_arrived=True, rotate_key=True),
    ),
    ("conflict without a code", Reply(409, error_type=INVALID), TryAgain(Retry.ASKED_TO, f"HTTP 409 {INVALID}", maybe_arrived=True)),
    ("object locked", Reply(429, error_type=INVALID, code="lock_timeout", headers={"Stripe-Should-Retry": "true"}), TryAgain(Retry.LOCK_TIMEOUT)),
    (
        "rate limit, endpoint",
        Reply(429, code="rate_limit", headers=limited("endpoint-rate")),
        TryAgain(Retry.RATE_LIMITED, "endpoint-rate", rate_limited=True),
    ),
    (
        "rate limit, global",
        Reply(429, error_type=INVALID, headers=limited("global-rate")),
        TryAgain(Retry.RATE_LIMITED, "global-rate", rate_limited=True),
    ),
    (
        "concurrency limit",
        Reply(429, error_type=INVALID, headers=limited("global-concurrency")),
        TryAgain(Retry.RATE_LIMITED, "global-concurrency", rate_limited=True, concurrency_limited=True),
    ),
    ("limit of one resource", Reply(429, code="rate_limit", headers=limited("resource-specific")), TryAgain(Retry.RATE_LIMITED, "resource-specific")),
    ("429 that names no limiter", Reply(429, error_type=INVALID), TryAgain(Retry.RATE_LIMITED, f"HTTP 429 {INVALID}")),
    ("rate limit by code alone", Reply(429, code="rate_limit"), TryAgain(Retry.RATE_LIMITED, "HTTP 429 rate_limit", rate_limited=True)),
    ("rate limit, old style", Reply(400, code="rate_limit"), TryAgain(Retry.RATE_LIMITED, "HTTP 400 rate_limit", rate_limited=True)),
    ("rate limit, v2 type", Reply(429, error_type="rate_limit"), TryAgain(Retry.RATE_LIMITED, "HTTP 429 rate_limit", rate_limited=True)),
    ("429 of a proxy", Reply(429, recognised=False), TryAgain(Retry.RATE_LIMITED, "HTTP 429", rate_limited=True)),
    (
        "server error, perhaps kept under the key",
        Reply(500, error_type="api_error", message="oh"),
        TryAgain(Retry.SERVER_ERROR, "HTTP 500 api_error: oh", maybe_arrived=True, rotate_key=True),
    ),
    (
        "server error, replayed",
        Reply(500, recognised=False, headers={"Idempotent-Replayed": "true"}),
        TryAgain(Retry.SERVER_ERROR, "HTTP 500", maybe_arrived=True, rotate_key=True),
    ),
    (
        "server error that is not to be retried with this key",
        Reply(500, error_type="api_error", headers={"Stripe-Should-Retry": "false"}),
        TryAgain(Retry.SERVER_ERROR, "HTTP 500 api_error", maybe_arrived=True, rotate_key=True),
    ),
    ("HTML 502", Reply(502, recognised=False), TryAgain(Retry.SERVER_ERROR, "HTTP 502", maybe_arrived=True)),
    ("HTML 503", Reply(503, recognised=False), TryAgain(Retry.SERVER_ERROR, "HTTP 503", maybe_arrived=True)),
    ("200 of somebody else", Reply(200, recognised=False), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 200", maybe_arrived=True)),
    ("HTML 400", Reply(400, recognised=False), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 400", maybe_arrived=True)),
    ("HTML 413", Reply(413, recognised=False), TryAgain(Retry.NOT_UNDERSTOOD, "HTTP 413", maybe_arrived=True)),
    ("request timeout", Reply(408, error_type="api_error"), TryAgain(Retry.ASKED_TO, "HTTP 408 api_error", maybe_arrived=True)),
    (
        "asked to retry",
        Reply(424, error_type="api_error", headers={"Stripe-Should-Retry": "true"}),
        TryAgain(Retry.ASKED_TO, "HTTP 424 api_error", maybe_arrived=True),
    ),
    (
        "asked to retry by a reply that is kept",
        Reply(409, error_type="api_error", headers={"Idempotent-Replayed": "true"}),
        TryAgain(Retry.ASKED_TO, "HTTP 409 api_error", maybe_arrived=True, rotate_key=True),
    ),
    (
        "unknown meter",
        Reply(400, error_type=INVALID, message='No active meter found for event name "x"'),
        MeterRefused("no_meter", 'No active meter found for event name "x"'),
    ),
    (
        "unknown meter, from a key that kept the reply",
        Reply(400, error_type=INVALID, message='No active meter found for event name "x"', headers={"Idempotent-Replayed": "true"}),
        TryAgain(Retry.ASKED_TO, f'HTTP 400 {INVALID}: No active meter found for event name "x"', rotate_key=True),
    ),
    ("meter archived, v2", Reply(400, code="archived_meter", message="must be Active"), MeterRefused("archived_meter", "must be Active")),
    ("no such meter", Reply(404, code="resource_missing", message="No such meter: 'x'"), MeterRefused("resource_missing", "No such meter: 'x'")),
    (
        "the meter reads another key",
        Reply(400, error_type=INVALID, code="parameter_missing", message="Missing required param: payload[cus].", param="payload[cus]"),
        MeterRefused("parameter_missing", "Missing required param: payload[cus]."),
    ),
    (
        "it reads another key, v2",
        Reply(400, code="payload_no_value_defined", message="no value"),
        MeterRefused("payload_no_value_defined", "no value"),
    ),
    (
        "another parameter is missing",
        Reply(400, error_type=INVALID, code="parameter_missing", message="Missing required param: event_name.", param="event_name"),
        Refused("parameter_missing", "Missing required param: event_name."),
    ),
    (
        "a message that repeats what a customer sent",
        Reply(400, error_type=INVALID, message="Invalid value: No active meter found"),
        Refused(INVALID, "Invalid value: No active meter found"),
    ),
    (
        "no such customer",
        Reply(400, error_type=INVALID, code="resource_missing", message="No such customer"),
        Refused("resource_missing", "No such customer"),
    ),
    ("no such customer, 404", Reply(404, error_type=INVALID, code="resource_missing", message="No such"), Refused("resource_missing", "No such")),
    ("too many digits", Reply(400, code="meter_event_value_too_many_digits", message="15"), Refused("meter_event_value_too_many_digits", "15")),
    ("bad parameter", Reply(400, error_type=INVALID, code="parameter_unknown", message="p"), Refused("parameter_unknown", "p")),
    ("request failed", Reply(402, message="no"), Refused("http_402", "no")),
    ("too old", Reply(400, code="timestamp_too_far_in_past", message="35 days"), TooOld("35 days")),
    ("ahead of Stripe's clock", Reply(400, code="timestamp_in_future", message="5 min"), TryAgain(Retry.IN_FUTURE, "5 min", rotate_key=True)),
    ("bad key", Reply(401, error_type=INVALID, message="Invalid API Key"), StopTheWorld(f"HTTP 401 {INVALID}: Invalid API Key")),
    ("revoked key", Reply(401, code="api_key_expired"), StopTheWorld("HTTP 401 api_key_expired")),
    ("revoked key under another status", Reply(400, code="api_key_expired"), StopTheWorld("HTTP 400 api_key_expired")),
    ("no permission", Reply(403, error_type=INVALID), StopTheWorld(f"HTTP 403 {INVALID}")),
    ("401 of a proxy", Reply(401, recognised=False), StopTheWorld("HTTP 401")),
    ("403 of a firewall", Reply(403, recognised=False), StopTheWorld("HTTP 403")),
    (
        "wrong path",
        Reply(404, error_type=INVALID, message="Unrecognized request URL"),
        StopTheWorld(f"HTTP 404 {INVALID}: Unrecognized request URL"),
    ),
    ("wrong server", Reply(404, recognised=False), StopTheWorld("HTTP 404 without an error object: the address is not Stripe's API")),
    ("redirect", Reply(302, recognised=False), StopTheWorld("the address redirects (HTTP 302); Stripe's API does not")),
]


@pytest.mark.parametrize(("reply", "verdict"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_reply_has_its_verdict(reply: Reply, verdict: Verdict) -> None:
    assert classify(reply) == verdict


def test_a_message_that_only_mentions_a_duplicate_is_no_success() -> None:
    verdict = classify(Reply(400, error_type=INVALID, message=f"Invalid value: {EXISTS}"))
    assert isinstance(verdict, Refused)


def test_without_a_connection_nothing_arrived_and_without_a_reply_it_may_have() -> None:
    assert unreachable("connection refused") == TryAgain(Retry.UNREACHABLE, "connection refused")
    assert interrupted(Retry.TIMEOUT, "10 s") == TryAgain(Retry.TIMEOUT, "10 s", maybe_arrived=True)


def test_what_strangers_say_is_cut_to_a_bounded_length() -> None:
    refused = classify(Reply(400, error_type=INVALID, message="x" * 10_000))
    assert isinstance(refused, Refused)
    assert len(refused.message) == VERDICT_DETAIL_CHARS_MAX
    stopped = classify(Reply(401, error_type=INVALID, message="x" * 10_000))
    assert isinstance(stopped, StopTheWorld)
    assert len(stopped.reason) == VERDICT_DETAIL_CHARS_MAX
