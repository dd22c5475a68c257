"""How long live usage takes to Stripe while a plan is applied beside it: real processes, a broker, and the simulator of Stripe.

    python -m tests.soak.beside_a_plan --minutes 4000 --calls 200

A customer of the plan's partition, and one of another, use something twice a second: first for a while alone, then while a plan of six customers
is applied.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from taximeter_emitter.wire.partitioner import partition_of
from taximeter_sandbox.brokers.choose import choose_broker

from tests.support.replaying import ANSWERS, Pipeline, pipeline
from tests.support.usage_topic import PARTITIONS, make_topics, settings_for

PLAN_CUSTOMERS: Final = 6
EVERY_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.02

Latencies = Mapping[str, Sequence[float]]
"""Seconds from the start of sending an event until Stripe has it, by customer, sorted."""


def customers_in(partition: int, count: int) -> list[str]:
    """The first so many whose home it is."""
    return [name for name in (f"cus_{number}" for number in range(1_000)) if partition_of(name, PARTITIONS) == partition][:count]


async def measure(running: Pipeline, live: Sequence[str], is_over: Callable[[], bool]) -> Latencies:
    """Use one unit each again and again until it is over, and wait for the last of them."""
    found: dict[str, list[float]] = {customer: [] for customer in live}
    before = {customer: running.bill().get((customer, "tokens"), 0) for customer in live}
    sent: list[float] = []
    following = time.monotonic()
    while not is_over() or any(len(each) < len(sent) for each in found.values()):
        if not is_over() and time.monotonic() >= following:
            following = time.monotonic() + EVERY_SECONDS
            sent.append(time.monotonic())
            moment = datetime.now(UTC).isoformat()
            await running.send([{"id": uuid.uuid4().hex, "source": "live", "customer": each, "time": moment, "usage": {"n": 1}} for each in live])
        bill = await asyncio.to_thread(running.bill)
        for customer, each in found.items():
            arrived = bill.get((customer, "tokens"), 0) - before[customer]
            each += [time.monotonic() - start for start in sent[len(each) : arrived]]
        await asyncio.sleep(LOOK_SECONDS)
    return {customer: sorted(each) for customer, each in found.items()}


def tell(what: str, latencies: Latencies) -> None:
    """A line for each customer; the first is in the plan's partition."""
    for place, each in zip(("the plan's partition", "another partition"), latencies.values(), strict=True):
        middle, most = each[len(each) // 2], each[int(len(each) * 0.95)]
        print(f"{what}, {place}: {len(each)} events, median {middle:.2f} s, 95 % {most:.2f} s, longest {each[-1]:.2f} s", flush=True)


async def run(bootstrap: str, folder: Path, options: argparse.Namespace) -> None:
    """Both measurements, told as they end."""
    kafka = settings_for(bootstrap)
    await make_topics(kafka)
    *planned, mine = customers_in(0, PLAN_CUSTOMERS + 1)
    live = [mine, *customers_in(1, 1)]
    with pipeline(kafka, folder, [*planned, *live]) as running:
        running.changes["TAXIMETER_STRIPE_CALLS_PER_SECOND"] = str(options.calls)
        running.start()
        now = datetime.now(UTC)
        past = [now - timedelta(minutes=minutes) for minutes in range(options.minutes)]
        await running.emit([{"customer": customer, "usage": {"n": 1}, "time": moment} for customer in planned for moment in past])
        await running.billed({(customer, "tokens"): options.minutes for customer in planned})
        chosen = [word for customer in planned for word in ("--customer", customer)]
        code, plan = running.taximeter("replay", "plan", "--take-out", *chosen, "--out", "plan")
        assert code == 0, plan
        print(f"a plan of {plan['totals']['tokens']['rows']:,} rows in {plan['parts']} parts, {options.calls} calls a second", flush=True)
        until = time.monotonic() + options.seconds
        tell("alone", await measure(running, live, lambda: time.monotonic() > until))
        began, applying = time.monotonic(), running.begin("replay", "apply", "plan", "--reason", "a measurement", *ANSWERS)
        tell("beside the plan", await measure(running, live, lambda: applying.poll() is not None))
        _, error = applying.communicate()
        assert applying.returncode == 0, error
        print(f"it was applied within {time.monotonic() - began:.0f} s", flush=True)
        running.stop()


def main() -> None:
    """Measure on the broker that KAFKA_BROKER names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=4_000, help="of past usage of each of the plan's customers: a row each (default %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="calls to Stripe a second, of all partitions (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it is measured without the plan (default %(default)s)")
    options, broker = parser.parse_args(), choose_broker().broker
    bootstrap = broker.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run(bootstrap, Path(folder), options))
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
