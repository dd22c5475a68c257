"""Plans and the invoices that their usage is on: the services as processes, and the simulator of Stripe, whose clock was put back so that
subscriptions have periods behind them.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import pytest
import stripe
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.replaying import ANSWERS, MORE_METERS, Pipeline, pipeline
from tests.support.stripe_target import KEY
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMERS: Final = ("cus_1", "cus_2", "cus_3")
UNIT_CENTS: Final = 7
FINAL_DAYS, OPEN_DAYS, TOO_OLD_DAYS = 7, 1, 36


async def test_usage_of_final_invoices_is_billed_in_the_current_period(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, CUSTOMERS) as running:
        # The third customer has no subscription: nothing bills it, and nothing is brought forward.
        subscriptions = sold(running, CUSTOMERS[:2], interval="month", age_ms=64 * DAY_MS)
        began_s = [client_of(running).v1.subscriptions.retrieve(each)["items"].data[0].current_period_start for each in subscriptions.values()]
        assert all(OPEN_DAYS * DAY_MS < time.time() * 1000 - each * 1000 < FINAL_DAYS * DAY_MS for each in began_s)
        running.start()
        now = datetime.now(UTC)
        ages = {"cus_1": (FINAL_DAYS, OPEN_DAYS), "cus_2": (FINAL_DAYS,)}
        await running.emit(
            [
                {"customer": customer, "usage": {"n": 1, "i": 3}, "time": now - timedelta(days=days)}
                for customer, all_ in ages.items()
                for days in all_
            ]
        )
        await running.emit([{"customer": "cus_3", "usage": {"n": 1}}])
        tokens = {("cus_1", "tokens"): 2, ("cus_2", "tokens"): 1, ("cus_3", "tokens"): 1}
        await running.billed(tokens)
        (running.folder / "taximeter.toml").write_text(MORE_METERS)
        assert running.taximeter("meters", "apply", "--reason", "images were forgotten", *ANSWERS)[0] == OK
        before = due(running, subscriptions)
        assert before == {"cus_1": 0, "cus_2": 0}

        code, plan = running.taximeter("replay", "plan", "--count", "images", "--out", "as-it-was")
        assert (code, plan["unbilled_rows"], plan["into_current_ms"]) == (DISCREPANCY, 2, None)
        code, plan = running.taximeter("replay", "plan", "--count", "images", "--into-current", "--out", "forward")
        assert [(period["state"], period["units"], period["billed"]) for period in plan["periods"]] == [("open", "9", True)]
        assert (code, plan["unbilled_rows"], plan["brought_forward"]) == (OK, 0, {"customers": 2, "units": {"images": "6"}})
        assert abs(plan["into_current_ms"] - time.time() * 1000) < 10 * MINUTE_MS
        (amount,) = plan["money"]["amounts"]
        assert amount["low"] == amount["high"]

        assert running.taximeter("replay", "apply", "forward", "--reason", "images were not billed", *ANSWERS)[0] == OK
        await asyncio.to_thread(until_settled, running)
        after = due(running, subscriptions)
        assert after == {"cus_1": before["cus_1"] + 6 * UNIT_CENTS, "cus_2": 3 * UNIT_CENTS}
        assert Decimal(sum(after.values()) - sum(before.values())) / 100 == Decimal(amount["low"])
        code, verified = running.taximeter("verify")
        assert (code, verified["verdict"], [each["proof"] for each in verified["plans"]]) == (OK, "EXACT", ["derived"])

        # What is older than Stripe takes; nothing bills the third customer, so nothing of theirs is brought forward.
        rows = [{"customer": customer, "meter": "images", "time": old(), "quantity": 10} for customer in ("cus_1", "cus_3")]
        (tmp_path / "rows").write_bytes(b"\n".join(map(orjson.dumps, rows)))
        given = ("replay", "plan", "--rows", "rows", "--evidence", "ticket 7", "--into-current", "--out", "given")
        code, promised = running.taximeter(*given)
        assert (code, promised["unbilled_rows"], promised["brought_forward"]["units"]) == (DISCREPANCY, 1, {"images": "10"})

        code, back = running.taximeter("replay", "revert", plan["plan"], "--into-current", "--out", "back")
        assert (code, back["unbilled_rows"], back["totals"]["images"]["units"]) == (OK, 0, "-9")
        assert running.taximeter("replay", "apply", "back", "--reason", "they were a present", *ANSWERS)[0] == OK
        await asyncio.to_thread(until_settled, running)
        assert due(running, subscriptions) == before
        _, verified = running.taximeter("verify")
        assert [(each["proof"], each["problems"]) for each in verified["plans"]] == [("derived", []), ("opposite", [])]
        # No meter counts the early images any more, as before the plan.
        assert [term["name"] for terms in verified["terms"].values() for term in terms] == ["unknown_usage"]
        running.stop()


@pytest.mark.parametrize("tiers", [False, True])
async def test_the_money_of_a_plan_is_the_change_of_the_invoice_previews(broker: str, tmp_path: Path, *, tiers: bool) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    used = {"cus_1": (7, 4), "cus_2": (30, 15), "cus_3": (3, 3)}
    with pipeline(kafka, tmp_path, CUSTOMERS) as running:
        subscriptions = sold(running, CUSTOMERS, interval="month", age_ms=2 * DAY_MS, tiers=tiers)
        running.start(MORE_METERS)
        for place, source in enumerate(("right", "wrong")):
            await running.send(
                [
                    {
                        "id": f"{source}-{customer}",
                        "source": source,
                        "customer": customer,
                        "time": datetime.now(UTC).isoformat(),
                        "usage": {"i": units[place]},
                    }
                    for customer, units in used.items()
                ]
            )
        await running.billed({(customer, "images"): sum(units) for customer, units in used.items()})
        before = due(running, subscriptions)
        code, plan = running.taximeter("replay", "plan", "--take-out", "--source", "wrong", "--out", "plan")
        money = {
            each["customer"]: (each["meter"], each["period"], each["units"], each["money"]["amounts"][0]["low"], each["money"]["amounts"][0]["high"])
            for each in plan["customers"]
        }
        assert (code, {customer: each[:3] for customer, each in money.items()}) == (
            OK,
            {customer: ("images", "open", str(-wrong)) for customer, (_, wrong) in used.items()},
        )
        assert running.taximeter("replay", "apply", "plan", "--reason", "sent twice", *ANSWERS)[0] == OK
        await running.billed({(customer, "images"): right for customer, (right, _) in used.items()})
        after = due(running, subscriptions)
        for customer, (*_, low, high) in money.items():
            change = Decimal(after[customer] - before[customer]) / 100
            # Where a price has tiers, it depends on what the customer used before in the period: then it is a range.
            assert Decimal(low) <= change <= Decimal(high) < 0
            assert (low == high) is not tiers
        (total,) = plan["money"]["amounts"]
        assert Decimal(total["low"]) == sum(Decimal(each[3]) for each in money.values())
        running.stop()


async def test_a_plan_that_would_not_be_through_before_an_invoice_closes_is_refused(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, CUSTOMERS[:1]) as running:
        running.changes["TAXIMETER_STRIPE_INVOICE_GRACE_SECONDS"] = "0"
        sold(running, CUSTOMERS[:1], interval="week", age_ms=7 * DAY_MS - 20 * MINUTE_MS)
        running.start()
        await running.emit([{"customer": "cus_1", "usage": {"n": 5}}])
        await running.billed({("cus_1", "tokens"): 5})
        assert running.taximeter("replay", "plan", "--take-out", "--out", "late")[0] == OK
        apply = ("replay", "apply", "late", "--reason", "a test", *ANSWERS)
        code, why = running.taximeter(*apply)
        assert (code, "invoice of cus_1 closes" in why, "--past-closing" in why) == (DISCREPANCY, True, True), why
        assert running.taximeter("replay", "list")[1]["plans"] == []
        assert running.taximeter(*apply, "--past-closing")[0] == OK
        await running.billed({})
        running.stop()


def old() -> str:
    return (datetime.now(UTC) - timedelta(days=TOO_OLD_DAYS)).isoformat()


def sold(running: Pipeline, customers: tuple[str, ...], *, interval: Literal["week", "month"], age_ms: int, tiers: bool = False) -> dict[str, str]:
    """A subscription to images for each, since so long ago; the periods that are over are invoiced. `tiers`: ten images cost more than the rest."""
    running.simulator.call("POST", "/_control/clock", {"advance_ms": -age_ms})
    client = client_of(running)
    meter = next(meter for meter in client.v1.billing.meters.list().data if meter.event_name == "images")
    terms: Any = {"unit_amount": UNIT_CENTS}
    if tiers:
        rows = [{"up_to": 10, "unit_amount": 9}, {"up_to": "inf", "unit_amount": 4}]
        terms = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": rows}
    recurring = {"interval": interval, "usage_type": "metered", "meter": meter.id}
    wanted: Any = {"currency": "usd", "recurring": recurring, "product_data": {"name": "Images"}} | terms
    price = client.v1.prices.create(wanted)
    found: Any = running.simulator.call("POST", "/_control/subscriptions", {"customers": list(customers), "price": price.id})
    running.simulator.call("DELETE", "/_control/clock")
    return dict(found["subscriptions"])


def due(running: Pipeline, subscriptions: dict[str, str]) -> dict[str, int]:
    """What the next invoice of each comes to, in cents."""
    client = client_of(running)
    return {
        customer: client.v1.invoices.create_preview({"customer": customer, "subscription": each}).total for customer, each in subscriptions.items()
    }


def client_of(running: Pipeline) -> stripe.StripeClient:
    return stripe.StripeClient(KEY, base_addresses={"api": running.simulator.url}, http_client=stripe.UrllibClient())


def until_settled(running: Pipeline) -> None:
    """Wait until nothing waits any more."""
    while running.taximeter("replay", "plan")[0] != OK:
        time.sleep(0.1)
