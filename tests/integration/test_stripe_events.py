"""How error reports are read from Stripe, against the simulator: pages, meters' names, refusals."""

from collections.abc import AsyncIterator, Iterator

import pytest
import stripe

from metering.configuration.secrets import Secret
from metering.stripe.client import PAGE_ROWS
from reporter.stripe.notifications import EventsUnavailable, StripeEvents
from reporter.stripe.report_types import REPORT_TYPES
from reporter.webhooks.error_reports import ReportReader
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS

WINDOW_MS = 10_000


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path_factory.mktemp("stripe"))
    process.start()
    process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    yield process
    assert process.stop() == 0


@pytest.fixture
def clean(simulator: SimulatorProcess) -> SimulatorProcess:
    simulator.call("POST", "/_oracle/reset")
    simulator.call("DELETE", "/_control/script")
    client_of(simulator).v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    return simulator


@pytest.fixture
async def events(clean: SimulatorProcess) -> AsyncIterator[StripeEvents]:
    subject = StripeEvents(api_key=Secret(KEY), api_base=clean.url, timeout_s=30.0)
    yield subject
    await subject.close()


def client_of(simulator: SimulatorProcess) -> stripe.StripeClient:
    return stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())


def refuse(simulator: SimulatorProcess, identifier: str) -> None:
    """Have Stripe accept a meter event for a customer that it does not have, and end its window."""
    client_of(simulator).v1.billing.meter_events.create(
        {"event_name": "tokens", "payload": {"stripe_customer_id": "cus_nobody", "value": "1"}, "identifier": identifier},
        {"idempotency_key": f"{identifier}.2"},
    )
    simulator.call("POST", "/_control/clock", {"advance_ms": WINDOW_MS})


def now_ms(simulator: SimulatorProcess) -> int:
    return int(simulator.call("GET", "/_control/clock")["now_ms"])


async def test_reports_are_listed_over_all_pages_from_a_time_on(events: StripeEvents, clean: SimulatorProcess) -> None:
    for number in range(PAGE_ROWS + 5):
        refuse(clean, f"tm-ab-3-0-1-{number}")
    found = [report async for report in events.reports(0)]
    assert len({report.id for report in found}) == PAGE_ROWS + 5
    latest = max(report.created_ms for report in found)
    assert {report.id async for report in events.reports(latest)} == {report.id for report in found if report.created_ms >= latest // 1000 * 1000}
    assert [report async for report in events.reports(now_ms(clean) + WINDOW_MS)] == []


@pytest.mark.parametrize("sample_names", ["request", "event"])
@pytest.mark.parametrize("sample_request", ["identifier", "idempotency_key"])
async def test_a_fetched_report_leads_to_the_identifier_on_every_reading(
    events: StripeEvents, clean: SimulatorProcess, sample_names: str, sample_request: str
) -> None:
    clean.call("POST", "/_control/config", {"assumptions": {"sample_names": sample_names, "sample_request": sample_request}})
    refuse(clean, "tm-ab-3-0-1-0")
    (report,) = [each async for each in events.reports(0)]
    document = await events.fetch(report.id)
    assert document["type"] in REPORT_TYPES
    meter = await events.meter_name(document["related_object"]["id"])
    reader = ReportReader(partitions=12, instance="reporter-1", identifiers_of=lambda _: ())
    (found,) = reader.rejections(document, meter=meter, at_ms=5)
    assert (found.event_id, found.meter, found.code) == (report.id, "tokens", "meter_event_customer_not_found")
    assert (found.partition, found.identifiers, found.error_count) == (3, ("tm-ab-3-0-1-0",), 1)
    assert found.window_end_ms - found.window_start_ms == WINDOW_MS


async def test_an_event_that_stripe_does_not_have_is_not_worth_asking_for_again(events: StripeEvents) -> None:
    with pytest.raises(EventsUnavailable) as caught:
        await events.fetch("evt_nothing")
    assert caught.value.lasting


@pytest.mark.parametrize(("kind", "lasting"), [("key_revoked", True), ("forbidden", True), ("server_error_before", False), ("rate_limited", False)])
async def test_what_stripe_refuses_says_whether_asking_again_helps_and_not_the_key(
    events: StripeEvents, clean: SimulatorProcess, kind: str, *, lasting: bool
) -> None:
    clean.call("POST", "/_control/script", {"route": "v2.events.list", "kind": kind, "times": 1})
    with pytest.raises(EventsUnavailable) as caught:
        [report async for report in events.reports(0)]
    assert caught.value.lasting is lasting
    assert KEY not in str(caught.value)


# The HTTP library itself repeats a GET once when the connection is reset.
@pytest.mark.parametrize(("kind", "times"), [("reset_before", 2), ("truncate_after", 1), ("bad_gateway_before", 1)])
async def test_a_connection_that_breaks_is_worth_another_attempt(events: StripeEvents, clean: SimulatorProcess, kind: str, times: int) -> None:
    clean.call("POST", "/_control/script", {"route": "v2.events.list", "kind": kind, "times": times})
    with pytest.raises(EventsUnavailable) as caught:
        [report async for report in events.reports(0)]
    assert not caught.value.lasting
    clean.call("DELETE", "/_control/script")
    assert [report async for report in events.reports(0)] == []


async def test_a_meter_whose_name_cannot_be_told_is_named_by_its_id(events: StripeEvents, clean: SimulatorProcess) -> None:
    assert await events.meter_name("mtr_nothing") == "mtr_nothing"
    (meter,) = client_of(clean).v1.billing.meters.list().data
    assert await events.meter_name(meter.id) == "tokens"


async def test_nobody_is_followed_to_another_host(clean: SimulatorProcess) -> None:
    subject = StripeEvents(api_key=Secret(KEY), api_base=clean.url, timeout_s=30.0)
    asked: list[str] = []

    async def reply(path: str, **_: object) -> dict[str, object]:
        asked.append(path)
        return {"data": [], "next_page_url": "https://elsewhere.example/v2/core/events?page=2" if len(asked) == 1 else None}

    subject._get = reply  # type: ignore[method-assign]  # a reply that the simulator would never give
    assert [report async for report in subject.reports(0)] == []
    await subject.close()
    assert asked == ["/v2/core/events", "/v2/core/events?page=2"]
