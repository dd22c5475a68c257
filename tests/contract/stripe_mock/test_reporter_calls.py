"""Every call that the reporter makes, against stripe-mock."""

from collections.abc import AsyncIterator

import pytest
from taximeter_emitter.clock import SystemClock

from audit.next_boundary import find_next_boundary
from metering.configuration.secrets import Secret
from reporter.planning.billing_periods import read_subscription
from reporter.sending.verdicts import Delivered, StopTheWorld
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from reporter.stripe.notifications import EventsUnavailable, StripeEvents
from reporter.stripe.stream import StripeMeterEventStream
from reporter.stripe.subscriptions import StripeSubscriptions
from tests.support.stripe_mock_expectations import malformed
from tests.support.stripe_mock_fixtures import EVENT_NAME, IDENTIFIER, METER
from tests.support.stripe_mock_process import MockProcess
from tests.support.stripe_mock_recording import Exchange, record

KEY = Secret("sk_test_reporter1234")
NOW_S = 1_790_000_100


@pytest.fixture(autouse=True)
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    return record(monkeypatch)


@pytest.fixture
async def meter_events(metered_mock: MockProcess) -> AsyncIterator[StripeMeterEvents]:
    port = StripeMeterEvents(api_key=KEY, api_base=metered_mock.url, connections=2, timeout_s=10)
    yield port
    await port.close()


@pytest.fixture
async def events(metered_mock: MockProcess) -> AsyncIterator[StripeEvents]:
    port = StripeEvents(api_key=KEY, api_base=metered_mock.url, timeout_s=10)
    yield port
    await port.close()


async def test_a_meter_event(meter_events: StripeMeterEvents, exchanges: list[Exchange]) -> None:
    payload = {"stripe_customer_id": "cus_1", "value": "1789", "model": "alpaca 2&é"}
    verdict = await meter_events.send(event_name=EVENT_NAME, payload=payload, identifier=IDENTIFIER, timestamp_s=NOW_S, idempotency_key=IDENTIFIER)

    assert malformed(exchanges) == []
    assert verdict == Delivered()


async def test_an_adjustment(meter_events: StripeMeterEvents, exchanges: list[Exchange]) -> None:
    verdict = await meter_events.cancel(event_name=EVENT_NAME, identifier=IDENTIFIER, idempotency_key=f"{IDENTIFIER}.x")

    assert malformed(exchanges) == []
    assert verdict == Delivered()


@pytest.mark.parametrize(("after", "ends"), [(None, None), ("sub_1", None), (None, (NOW_S, NOW_S + 3600))])
async def test_subscriptions(metered_mock: MockProcess, exchanges: list[Exchange], after: str | None, ends: tuple[int, int] | None) -> None:
    port = StripeSubscriptions(api_key=KEY, api_base=metered_mock.url, timeout_s=10)
    try:
        page = await port.page(after, ends=ends)
    finally:
        await port.close()

    assert malformed(exchanges) == []
    (found,) = page.subscriptions
    assert read_subscription(found) is not None


async def test_the_next_boundary(metered_mock: MockProcess, exchanges: list[Exchange]) -> None:
    port = StripeSubscriptions(api_key=KEY, api_base=metered_mock.url, timeout_s=10)
    try:
        found = await find_next_boundary(port, NOW_S, 3600)
    finally:
        await port.close()

    assert malformed(exchanges) == []
    assert found.at_s == 4_000_000_000


async def test_the_name_of_a_meter(events: StripeEvents, exchanges: list[Exchange]) -> None:
    assert await events.meter_name(METER) == EVENT_NAME
    assert malformed(exchanges) == []


async def test_notifications_are_paths_of_version_2_which_the_document_does_not_have(events: StripeEvents, exchanges: list[Exchange]) -> None:
    with pytest.raises(EventsUnavailable) as fetched:
        await events.fetch("evt_1")
    with pytest.raises(EventsUnavailable) as listed:
        async for _ in events.reports(NOW_S * 1000):
            pass
    assert fetched.value.lasting
    assert listed.value.lasting
    assert len(exchanges) == 2
    assert malformed(exchanges) == []


async def test_the_stream_is_a_path_of_version_2_which_the_document_does_not_have(metered_mock: MockProcess, exchanges: list[Exchange]) -> None:
    port = StripeMeterEventStream(
        api_key=KEY, api_base=metered_mock.url, stream_base=metered_mock.url, connections=2, timeout_s=10, clock=SystemClock()
    )
    try:
        verdict = await port.send(event_name=EVENT_NAME, payload={"value": "1"}, identifier=IDENTIFIER, timestamp_s=NOW_S, idempotency_key=IDENTIFIER)
    finally:
        await port.close()
    assert not isinstance(verdict, Delivered)
    assert isinstance(verdict, StopTheWorld), verdict
    assert len(exchanges) == 1
    assert malformed(exchanges) == []
