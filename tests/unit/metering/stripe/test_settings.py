"""What follows from how meter events are sent."""

import pytest

from metering.configuration.secrets import Secret
from metering.stripe.settings import API_BASE, STREAM_BASE, StripeSettings


def settings(**changes: object) -> StripeSettings:
    return StripeSettings(api_key=Secret("sk_test_settings1234"), **changes)  # type: ignore[arg-type]  # built from parts


@pytest.mark.parametrize(
    ("changes", "events", "calls", "in_flight"),
    [
        ({"production": True}, 1_000, None, 256),
        ({"production": True, "meter_events": "v2_stream"}, 10_000, None, 25_600),
        ({}, 25, 20.0, 256),
        ({"meter_events": "v2_stream", "connections": 4}, 2_500, 20.0, 400),
        ({"meter_events": "v2_stream", "calls_per_second": 500}, 500, None, 25_600),
        ({"calls_per_second": 12}, 12, None, 256),
    ],
)
def test_limits_are_stripes_own_unless_the_account_has_others(changes: dict[str, object], events: int, calls: float | None, in_flight: int) -> None:
    subject = settings(**changes)
    assert (subject.events_limit, subject.stream_calls_per_second, subject.events_in_flight) == (events, calls, in_flight)


def test_the_stream_has_an_address_of_its_own_at_stripe_and_nowhere_else() -> None:
    assert (settings().api_base, settings().stream_base) == (API_BASE, STREAM_BASE)
    assert settings(api_base="http://127.0.0.1:9").stream_base == "http://127.0.0.1:9"
    assert settings(meter_events_base="http://127.0.0.1:8").stream_base == "http://127.0.0.1:8"
