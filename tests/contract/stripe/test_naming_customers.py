"""What Stripe's customers name in their metadata, through the library and over HTTP."""

import pytest

from metering.configuration.secrets import Secret
from reporter.linking.naming_customers import NamesUnavailable, StripeNames
from tests.support.stripe_simulator_control import configure
from tests.support.stripe_target import KEY, Target

FIELD = "taximeter_customers"


async def test_names_are_read_by_page_and_by_customer_also_of_deleted_and_unknown_ones(simulator: Target) -> None:
    client = simulator.client.v1.customers
    made = [(await client.create_async({"metadata": {FIELD: f"org_{number}, org_too_{number}"}})).id for number in range(101)]
    plain = (await client.create_async({"metadata": {"other": "org_x"}})).id
    await client.delete_async(made[0])
    port = StripeNames(FIELD, api_key=Secret(KEY), api_base=simulator.control.url, timeout_s=30.0)
    try:
        first = await port.page()
        assert first.after is not None
        second = await port.page(first.after)
        named = {**first.names, **second.names}
        assert (len(first.names), second.after) == (100, None)
        assert named == {plain: frozenset(), **{each: {f"org_{number}", f"org_too_{number}"} for number, each in enumerate(made) if number}}
        asked = [await port.named_by(each) for each in (made[1], plain, made[0], "cus_elsewhere")]
        assert asked == [{"org_1", "org_too_1"}, set(), set(), None]
    finally:
        await port.close()


async def test_a_key_that_may_not_read_customers_is_refused_for_good_and_not_named(simulator: Target) -> None:
    configure(simulator, keys={"restricted": {"rk_test_secretpart1": ["billing_meter_event_write"]}})
    port = StripeNames(FIELD, api_key=Secret("rk_test_secretpart1"), api_base=simulator.control.url, timeout_s=30.0)
    try:
        with pytest.raises(NamesUnavailable) as refused:
            await port.named_by("cus_A")
        assert (refused.value.lasting, "secretpart1" in str(refused.value)) == (True, False)
    finally:
        await port.close()
