import pytest

from metering.records.ledger_records import MeterEvent
from metering.records.meters import Meter
from metering.records.service_limits import VALUE_MAX
from reporter.sending.meter_events import payload_of


def event(value: int) -> MeterEvent:
    return MeterEvent("cus_1", "tokens", (("model", "alpaca"), ("region", "eu")), 0, value)


def test_the_payload_holds_customer_value_and_dimensions_as_text_under_the_meters_keys() -> None:
    assert payload_of(event(12), Meter("tokens", ("in",))) == {"stripe_customer_id": "cus_1", "value": "12", "model": "alpaca", "region": "eu"}
    assert payload_of(event(VALUE_MAX), Meter("tokens", ("in",), customer_key="who", value_key="n"))["n"] == "9" * 15


def test_what_a_correction_takes_back_is_a_value_below_zero() -> None:
    assert payload_of(event(-VALUE_MAX), Meter("tokens", ("in",)))["value"] == "-" + "9" * 15


@pytest.mark.parametrize("value", [-VALUE_MAX - 1, VALUE_MAX + 1])
def test_a_value_that_stripe_would_refuse_is_not_sent(value: int) -> None:
    with pytest.raises(AssertionError, match="digits"):
        payload_of(event(value), Meter("tokens", ("in",)))
