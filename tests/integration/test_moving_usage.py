"""Usage moves to a customer of another partition, and set-aside usage is taken back at the account's prices: the services are processes."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.clients import KafkaSettings
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.replaying import ANSWERS, Pipeline, pipeline
from tests.support.stripe_target import KEY
from tests.support.usage_topic import make_topics, settings_for
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker


def event(number: int, customer: str, units: int, usage_field: str = "n") -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat()
    return {"id": f"{customer}-{number}", "source": "test", "customer": customer, "time": moment, "usage": {usage_field: units}}


def customers_of(kafka: KafkaSettings, partition: int) -> Iterator[str]:
    return (name for name in (f"cus_{number}" for number in range(1_000)) if partition_of(name, kafka.partitions) == partition)


async def verified(running: Pipeline) -> dict[str, Any]:
    while (found := running.taximeter("verify")[1])["word"] == "PENDING":  # noqa: ASYNC110  # another process sets no event
        await asyncio.sleep(0.1)
    assert isinstance(found, dict)
    return found


async def test_refused_usage_is_billed_once_to_a_successor_in_another_partition(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    gone, heir, neighbour = next(customers_of(kafka, 0)), *[name for name, _ in zip(customers_of(kafka, 1), range(2), strict=False)]
    with pipeline(kafka, tmp_path, [heir, neighbour]) as running:
        running.simulator.call("POST", "/_control/config", {"assumptions": {"missing_customer": "sync"}})
        running.start()
        await running.send([*(event(number, gone, 10) for number in range(3)), event(0, neighbour, 5)])
        before = {(neighbour, "tokens"): 5}
        await running.billed(before)

        def refused() -> list[dict[str, Any]]:
            return list(running.taximeter("rejected", "list")[1]["meter_events"])

        await until_async(lambda: sum(int(each["value"]) for each in refused()) == 30)
        assert {each["customer"] for each in refused()} == {gone}
        move = ("correct", "--to-customer", heir, "--customer", gone, "--reason", "made anew", *ANSWERS, "--wait", "60")
        code, done = running.taximeter(*move)
        assert (code, done["units"]) == (OK, {"tokens": "30"}), done
        partitions = {tuple(int(each[name].split("-")[2]) for name in ("identifier", "target")) for each in done["corrections"]}
        assert partitions == {(1, 0)}, "billed in the partition of the successor, for a meter event of the other one"
        after = {**before, (heir, "tokens"): 30}
        await running.billed(after)
        again = running.taximeter(*move)[1]
        assert [each["identifier"] for each in again["corrections"]] == [each["identifier"] for each in done["corrections"]]
        found = await verified(running)
        assert (found["verdict"], found["meters"]["tokens"]["counted"], found["meters"]["tokens"]["billed"]) == ("EXACT", 35, 35)
        running.start()  # new owners send nothing again
        await running.send([event(1, neighbour, 7)])
        await running.billed({(neighbour, "tokens"): 12, (heir, "tokens"): 30})
        running.stop()


async def test_counted_usage_is_moved_by_a_plan_to_a_customer_in_another_partition(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    wrong, right = next(customers_of(kafka, 0)), next(customers_of(kafka, 1))
    with pipeline(kafka, tmp_path, [wrong, right]) as running:
        running.start()
        await running.send([*(event(number, wrong, 10) for number in range(3)), event(0, right, 5)])
        await running.billed({(wrong, "tokens"): 30, (right, "tokens"): 5})
        code, plan = running.taximeter("replay", "plan", "--move-to", right, "--customer", wrong, "--out", "move")
        assert code == OK, plan
        for _ in range(2):
            assert running.taximeter("replay", "apply", "move", "--reason", "a wrong key", *ANSWERS)[0] == OK
        await running.billed({(right, "tokens"): 35})
        found = await verified(running)
        tokens = found["meters"]["tokens"]
        assert (found["verdict"], tokens["counted"], tokens["adjusted"], tokens["billed"]) == ("EXACT", 35, 0, 35)
        running.stop()


async def test_a_dry_run_of_a_redrive_says_what_would_be_billed_at_the_prices_of_the_account(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    with pipeline(kafka, tmp_path, ["cus_1"]) as running:
        client = stripe.StripeClient(KEY, base_addresses={"api": running.simulator.url}, http_client=stripe.UrllibClient())
        (meter,) = [each for each in client.v1.billing.meters.list().data if each.event_name == "tokens"]
        product = client.v1.products.create({"name": "Tokens"})
        recurring: Any = {"interval": "month", "usage_type": "metered", "meter": meter.id}
        client.v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 3, "recurring": recurring})
        running.start()
        await running.send([event(0, "cus_1", 1), *(event(number, "cus_1", 20, "misspelt") for number in (1, 2))])
        await running.billed({("cus_1", "tokens"): 1})
        await until_async(lambda: running.taximeter("deadletters", "list")[0] == DISCREPANCY)
        chosen = ("deadletters", "redrive", "--rename", "misspelt=n")
        code, plan = running.taximeter(*chosen, "--dry-run")
        assert (code, plan["counted"], plan["units"]) == (OK, 2, {"tokens": "40"}), plan
        assert plan["money"] == {"amounts": [{"currency": "usd", "low": "1.20", "high": "1.20"}], "unpriced": []}
        assert running.bill() == {("cus_1", "tokens"): 1}, "a dry run writes nothing"
        code, done = running.taximeter(*chosen, "--reason", "misspelt", *ANSWERS)
        assert (code, done["money"]) == (OK, plan["money"])
        await running.billed({("cus_1", "tokens"): 41})
        assert (await verified(running))["verdict"] == "EXACT"
        running.stop()
