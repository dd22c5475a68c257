"""Organisations that are billed to customers of Stripe: real reporters, a real broker, the simulator of Stripe, and the commands."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import stripe
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.gateway_process import METERS, environment
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

PATIENCE_S: Final = 120.0
UNLINKED: Final = "taximeter_reporter_unlinked_units"


@dataclass(slots=True)
class World:
    """Tallies that were counted of each customer, and what Stripe has."""

    kafka: KafkaSettings
    appender: Appender
    simulator: SimulatorProcess
    folder: Path
    counted: dict[str, int] = field(default_factory=dict)
    heads: dict[int, tuple[int, int]] = field(default_factory=dict)

    async def count(self, *customers: str, units: int = 7) -> None:
        now_ms = int(time.time() * 1000)
        for customer in customers:
            partition = partition_of(customer, self.kafka.partitions)
            head, end = self.heads.get(partition, (NO_OFFSET, 0))
            tally = Tally(
                chain_id="0123456789abcdef",
                partition=partition,
                link=ChainLink(end, end + 1, head),
                checkpoint=NO_OFFSET,
                instance="test",
                catalogue="test",
                log_time_ms=now_ms,
                records=RecordCounts(singles=1),
                events=EventCounts(counted=1),
                rows=[TallyRow(customer, "tokens", (), now_ms // 60_000 * 60_000, units, 1)],
                emitter_states=[],
            )
            landed = await self.appender.append(self.kafka.topics.tallies.name, partition, encode_tally(tally))
            self.heads[partition] = landed.offset, end + 1
            self.counted[customer] = self.counted.get(customer, 0) + units

    def at_stripe(self) -> dict[str, int]:
        rows = self.simulator.call("GET", "/_oracle/books")["rows"]
        return {row["customer"]: int(row["total"]) for row in rows if row["event_name"] == "tokens"}

    def variables(self) -> Mapping[str, str]:
        return {
            **reporting_to(self.simulator.url),
            "TAXIMETER_STRIPE_CALLS_PER_SECOND": "1000",
        }

    def command(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "taximeter", *arguments],
            cwd=self.folder,
            env=dict(environment(self.kafka, self.variables())),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def link(self, customer: str, stripe_customer: str) -> None:
        code, said = self.command("customers", "link", customer, stripe_customer, "--yes", "--reason", "a contract")
        assert code == OK, said

    def told(self, *arguments: str) -> Any:
        code, said = self.command("customers", *arguments, "--json")
        assert code in {OK, DISCREPANCY}, said
        return json.loads(said)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": ["cus_A", "cus_B", "cus_1"]})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        yield process
    finally:
        process.stop()


@pytest.fixture
async def world(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[World]:
    kafka = settings_for(broker)
    await make_topics(kafka)
    (tmp_path / "taximeter.toml").write_text(METERS)
    appender = Appender(kafka, "counter")
    yield World(kafka, appender, simulator, tmp_path)
    await appender.close()


async def test_usage_is_held_until_its_customer_is_linked_and_billed_once_whoever_dies(world: World) -> None:
    await world.count("cus_1", "org_a", "org_b", "org_late")
    world.link("org_a", "cus_A")
    with reporter(world.kafka, world.folder / "first", world.variables()) as running:
        await running.until(lambda: world.at_stripe() == {"cus_1": 7, "cus_A": 7})
        await running.until(lambda: running.metric(UNLINKED, meter="tokens") == 14)
        held = {each["customer"]: each["units"] for each in world.told("list", "--held")["held"]}
        assert held == {"org_b": 7, "org_late": 7}
        world.link("org_b", "cus_A")
        running.kill()
    await world.count("org_a", "org_b", "org_late", units=2)
    with reporter(world.kafka, world.folder / "second", world.variables()) as running:
        await running.until(lambda: world.at_stripe() == {"cus_1": 7, "cus_A": 18})
        world.link("org_late", "cus_B")
        await running.until(lambda: world.at_stripe() == {"cus_1": 7, "cus_A": 18, "cus_B": 9})
        await running.until(lambda: running.metric(UNLINKED, meter="tokens") == 0)
        assert (world.told("list", "--held")["held"], running.metric("taximeter_reporter_customer_links")) == ([], 3)
        assert running.terminate() == 0, running.log
    with reporter(world.kafka, world.folder / "third", world.variables()) as running:  # everything again, from the log
        await world.count("cus_1", units=1)
        await running.until(lambda: world.at_stripe() == {"cus_1": 8, "cus_A": 18, "cus_B": 9})


async def test_sums_of_a_stripe_customer_are_those_of_all_its_customers_whatever_their_partitions(world: World) -> None:
    assert len({partition_of(customer, world.kafka.partitions) for customer in ("org_a", "org_b", "org_c", "cus_A")}) > 1
    for customer in ("org_a", "org_b", "org_c"):
        world.link(customer, "cus_A")
    await world.count("org_a", "org_b", "org_c", "cus_A")
    with reporter(world.kafka, world.folder / "reporter", world.variables()) as running:
        await running.until(lambda: world.at_stripe() == {"cus_A": 28})
        assert running.terminate() == 0, running.log
    world.simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})
    for arguments in (("--all",), ("--customer", "cus_A")):
        code, said = world.command("reconcile", *arguments, "--settle-seconds", "0", "--calls-per-second", "1000", "--json", "--yes")
        found = json.loads(said)
        assert (code, {cell["verdict"] for cell in found["cells"]}) == (OK, {"settled"}), said
    assert world.told("show", "cus_A")["billed_for"] == ["org_a", "org_b", "org_c"]


async def test_links_follow_what_customers_of_stripe_say_of_themselves(world: World) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": world.simulator.url}, http_client=stripe.UrllibClient())
    client.v1.customers.update("cus_A", {"metadata": {"taximeter_customers": "org_a, org_b"}})
    client.v1.customers.update("cus_B", {"metadata": {"taximeter_customers": "org_c"}})
    world.link("org_d", "cus_B")

    def synced() -> tuple[int, dict[str, str]]:
        code, said = world.command("customers", "sync", "--yes")
        assert code in {OK, DISCREPANCY}, said
        return code, {link["customer"]: link["stripe_customer"] for link in world.told("list")["links"]}

    linked = {"org_a": "cus_A", "org_b": "cus_A", "org_c": "cus_B", "org_d": "cus_B"}
    assert synced() == (OK, linked)
    client.v1.customers.update("cus_B", {"metadata": {"taximeter_customers": "org_a"}})
    assert synced() == (DISCREPANCY, linked)
    client.v1.customers.delete("cus_A")
    assert synced() == (OK, {"org_a": "cus_B", "org_d": "cus_B"})


async def test_webhooks_link_and_unlink_within_seconds(world: World) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": world.simulator.url}, http_client=stripe.UrllibClient())
    kinds: Any = ["customer.created", "customer.updated", "customer.deleted"]
    endpoint: Any = client.v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/not-yet", "enabled_events": kinds})
    await world.count("org_a", "org_b")
    variables = {
        **world.variables(),
        "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": endpoint.secret,
        "TAXIMETER_WEBHOOKS_CUSTOMERS_FIELD": "taximeter_customers",
        "TAXIMETER_WEBHOOKS_CUSTOMERS_SECONDS": "0",
    }
    with reporter(world.kafka, world.folder / "reporter", variables) as running:
        client.v1.webhook_endpoints.update(endpoint.id, {"url": running.webhooks})
        await running.until(lambda: running.metric(UNLINKED, meter="tokens") == 14)
        began = time.monotonic()
        client.v1.customers.update("cus_A", {"metadata": {"taximeter_customers": "org_a, org_b"}})
        await running.until(lambda: world.at_stripe() == {"cus_A": 14})
        assert time.monotonic() - began < 30
        links = world.told("list")["links"]
        assert {(link["customer"], link["stripe_customer"], link["reason"]) for link in links} == {
            ("org_a", "cus_A", "metadata taximeter_customers"),
            ("org_b", "cus_A", "metadata taximeter_customers"),
        }
        client.v1.customers.delete("cus_A")
        await running.until(lambda: running.metric("taximeter_reporter_metadata_links_total", change="unlinked") == 2)
        assert world.told("list")["links"] == []
        assert running.terminate() == 0, running.log


async def test_a_link_to_a_customer_that_stripe_does_not_have_is_refused_and_a_file_is_taken_as_a_whole(world: World) -> None:
    code, said = world.command("customers", "link", "org_a", "cus_nobody", "--yes", "--reason", "a contract")
    assert (code, "no customer cus_nobody" in said) == (DISCREPANCY, True), said
    assert world.told("list")["links"] == []
    file = world.folder / "links.csv"
    file.write_text("customer,stripe_customer\norg_a,cus_A\norg_b,not an id\n,cus_B\n")
    code, said = world.command("customers", "import", str(file), "--yes", "--reason", "a contract")
    assert (code, "line 3: 'not an id' is no id" in said, "line 4: customer" in said) == (DISCREPANCY, True, True), said
    assert world.told("list")["links"] == []
    file.write_text("customer,stripe_customer\n" + "".join(f"org_{number},cus_A\n" for number in range(1_200)))
    for new in (1_200, 0):
        code, said = world.command("customers", "import", str(file), "--yes", "--reason", "a contract")
        assert code == OK, said
        assert f"{new:,} customers are linked for the first time" in said
    assert len(world.told("list")["links"]) == 1_200
    code, said = world.command("customers", "unlink", "org_7", "--yes", "--reason", "left")
    assert (code, world.told("show", "org_7")["billed"]) == (OK, None), said
