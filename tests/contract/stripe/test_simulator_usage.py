"""What becomes of usage: time, lag, missing customers, formulas and windows."""

import time

from tests.support.stripe_simulator_control import books, configure, ready, stats
from tests.support.stripe_target import HOUR_S, Target, refused


async def test_an_identifier_is_forgotten_after_24_hours_and_usage_is_billed_twice(simulator: Target) -> None:
    await ready(simulator)
    await simulator.send("tokens", "cus_1", 5, identifier="a")
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 24 * 3_600_000 - 60_000})
    assert (await refused(simulator.send("tokens", "cus_1", 5, identifier="a"))).http_status == 400
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    await simulator.send("tokens", "cus_1", 5, identifier="a")
    assert books(simulator) == [{"event_name": "tokens", "customer": "cus_1", "total": "10", "events": 2}]
    counted = stats(simulator)
    assert (counted["duplicates"], counted["counted_again"]) == (1, 1)


async def test_timestamps_are_judged_by_the_simulated_clock(simulator: Target) -> None:
    await ready(simulator)
    now = int(time.time())
    error = await refused(simulator.send("tokens", "cus_1", 1, timestamp=now - 36 * 86_400))
    assert (error.http_status, error.code) == (400, "timestamp_too_far_in_past")
    assert (await refused(simulator.send("tokens", "cus_1", 1, timestamp=now + 3600))).code == "timestamp_in_future"
    assert (await refused(simulator.send("tokens", "cus_1", 1, timestamp=now * 1000))).code == "timestamp_in_future"
    simulator.control.call("POST", "/_control/clock", {"advance_ms": -2 * 86_400_000, "rate": 0})
    await simulator.send("tokens", "cus_1", 1, timestamp=now - 36 * 86_400)


async def test_usage_shows_in_summaries_only_after_the_lag(simulator: Target) -> None:
    made = await ready(simulator)
    simulator.control.call("POST", "/_control/clock", {"rate": 0})
    configure(simulator, processing={"lag_min_ms": 1_000, "lag_max_ms": 60_000})
    for value in (1, 2, 4):
        await simulator.send("tokens", "cus_1", value)
    assert await simulator.total(made.id, "cus_1") == 0.0
    assert simulator.control.call("GET", "/_oracle/books")["events_pending"] == 3
    simulator.control.call("POST", "/_control/clock", {"advance_ms": 60_000})
    assert await simulator.total(made.id, "cus_1") == 7.0
    assert stats(simulator)["events_pending"] == 0


async def test_usage_of_a_missing_or_deleted_customer_is_taken_and_dropped_later(simulator: Target) -> None:
    await ready(simulator)
    gone = await simulator.customer()
    await simulator.client.v1.customers.delete_async(gone)
    for customer in (gone, "cus_nobody", "cus_1"):
        await simulator.send("tokens", customer, 9)
    assert books(simulator) == [{"event_name": "tokens", "customer": "cus_1", "total": "9", "events": 1}]
    assert stats(simulator)["drops"] == {"meter_event_customer_not_found": 2}
    events = simulator.control.call("GET", "/_oracle/events")["events"]
    assert [(event["customer"], event["state"]) for event in events] == [(gone, "dropped"), ("cus_nobody", "dropped"), ("cus_1", "counted")]


async def test_formulas_windows_and_custom_keys_reach_the_summaries(simulator: Target) -> None:
    simulator.control.call("POST", "/_control/customers", {"ids": ["cus_1"]})
    hour = int(time.time()) // HOUR_S * HOUR_S
    keys = {"customer_mapping": {"event_payload_key": "who", "type": "by_id"}, "value_settings": {"event_payload_key": "much"}}
    for formula, window, expected in (("sum", None, 60.0), ("count", None, 3.0), ("last", None, 30.0), ("sum", "hour", 20.0)):
        extra = {} if window is None else {"event_time_window": window}
        made = await simulator.meter(default_aggregation={"formula": formula}, **keys, **extra)
        for value, offset in ((10, 10), (30, 30), (20, 20)):
            await simulator.send(made.event_name, "", 0, payload={"who": "cus_1", "much": str(value), "model": "m"}, timestamp=hour - HOUR_S + offset)
        assert await simulator.total(made.id, "cus_1") == expected


async def test_lists_are_paged_by_ten(simulator: Target) -> None:
    simulator.control.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(25)]})
    page = await simulator.client.v1.customers.list_async()
    assert (len(page.data), page.has_more, page.data[0].id) == (10, True, "cus_24")
    assert len([customer.id async for customer in page.auto_paging_iter()]) == 25
    made = await simulator.meter()
    hour = int(time.time()) // HOUR_S * HOUR_S
    for number in range(12):
        await simulator.send(made.event_name, "cus_1", 1, timestamp=hour - number * HOUR_S)
    summaries = simulator.client.v1.billing.meters.event_summaries
    first = await summaries.list_async(
        made.id, {"customer": "cus_1", "start_time": hour - 20 * HOUR_S, "end_time": hour + HOUR_S, "value_grouping_window": "hour"}
    )
    assert (len(first.data), first.has_more) == (10, True)
    assert len({row.id async for row in first.auto_paging_iter()}) == 12
