"""Run the pipeline under steady load and look whether anything grows. Exit code 0 only if nothing does and the books are exact."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import RunnableBroker
from taximeter_sandbox.demo.installation import GATEWAY, SERVICES, Installation
from taximeter_sandbox.demo.plan import PARTITIONS, Pace, Plan
from taximeter_sandbox.demo.processes import Command, Fleet, own_environment
from taximeter_sandbox.demo.stripe_side import SimulatedStripe

from audit.positions import PartitionPosition, Positions, all_settled
from audit.verification.term import ProofWord
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from benchmarks.plot import Panel, svg
from tests.soak.load import SoakOrder
from tests.soak.sampling import Series, grown, take

CUSTOMERS: Final = 1_000
LOADS: Final = 2
ID_EVERY: Final = 4
SAMPLE_SECONDS: Final = 5.0
TELL_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 300.0
METER: Final = "alpaca_ai_tokens"
# Ids are kept for so long; over a horizon that is longer than the run their index would grow all the time, as it must.
HORIZON_SECONDS: Final = 600
STRIPE: Final = "stripe"


@dataclass(slots=True)
class Soak:
    """One run in a folder of its own."""

    folder: Path
    broker: RunnableBroker
    seconds: float
    rate: int
    fleet: Fleet = field(init=False)
    series: dict[str, Series] = field(default_factory=dict)
    lag: list[tuple[float, int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.folder)

    async def run(self) -> None:
        """Everything; what is wrong is among the problems."""
        bootstrap = await asyncio.to_thread(self.broker.start)
        stripe = await self._stripe()
        customers = await stripe.set_up(CUSTOMERS)
        plan = Plan(customers=CUSTOMERS, pace=Pace(flush=5.0, report=30.0, drain_target=60.0, session=10.0))
        installation = Installation(
            folder=self.folder, fleet=self.fleet, plan=plan, bootstrap_servers=bootstrap, prefix=f"soak-{secrets.token_hex(3)}", stripe=stripe
        )
        installation.prepare()
        for name in ("aggregator-1", "aggregator-2"):
            installation.environments[name] = {
                "TAXIMETER_AGGREGATOR_STATE_DIR": str(self.folder / f"{name}.state"),
                "TAXIMETER_AGGREGATOR_DEDUPLICATION_HORIZON_SECONDS": str(HORIZON_SECONDS),
            }
        await installation.start(SERVICES)
        await installation.wait_until_ready(SERVICES)
        orders = self._start_loads(installation, customers)
        positions = Positions(installation.kafka, SystemClock())
        try:
            await self._watch(positions, [name for name in SERVICES if name != GATEWAY] + [STRIPE])
            for name, code in (await self.fleet.join([order.name for order in orders], SETTLE_SECONDS)).items():
                if code:
                    self.problems.append(f"{name} ended with exit code {code}")
            await installation.stop([GATEWAY])
            await self._settle(positions)
        finally:
            await positions.close()
        await self._compare(installation, stripe, orders)
        # The simulator keeps every meter event, as Stripe does: it is shown, and grows.
        self.problems += grown({name: one for name, one in self.series.items() if name != STRIPE})
        self.problems += self._lag_problems()

    def close(self) -> None:
        """End all processes."""
        self.fleet.kill_all()
        self.broker.stop()

    async def _stripe(self) -> SimulatedStripe:
        port_file = self.folder / "stripe.port"
        self.fleet.start(
            Command(STRIPE, ("taximeter_sandbox.stripe", "--port", "0", "--port-file", str(port_file), "--seed", "1"), own_environment())
        )
        url = f"http://127.0.0.1:{await self.fleet.wait_for_file(STRIPE, port_file, 60.0)}"
        return SimulatedStripe(url)

    def _start_loads(self, installation: Installation, customers: list[str]) -> list[SoakOrder]:
        orders = []
        for number in range(LOADS):
            order = SoakOrder(
                name=f"load-{number + 1}",
                bootstrap_servers=installation.bootstrap_servers,
                topic_prefix=installation.prefix,
                partitions=PARTITIONS,
                customers=customers,
                events_per_second=self.rate // LOADS,
                seconds=self.seconds,
                id_every=ID_EVERY,
                seed=number,
                sums=str(self.folder / f"load-{number + 1}.sums.json"),
            )
            path = self.folder / f"{order.name}.order.json"
            order.write(path)
            self.fleet.start(Command(order.name, ("tests.soak.load", str(path)), own_environment()))
            orders.append(order)
        return orders

    async def _watch(self, positions: Positions, names: list[str]) -> None:
        self.series = {name: Series(name) for name in names}
        began = told = time.monotonic()
        while (passed := time.monotonic() - began) < self.seconds:
            self.fleet.check()
            for name in names:
                self.series[name].samples.append(take(self.fleet.pid(name), passed))
            found = await positions.read()
            self.lag.append((passed, sum(each.uncounted for each in found), sum(each.unreported for each in found)))
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                memory = ", ".join(f"{name} {self.series[name].samples[-1].memory_bytes >> 20}" for name in names)
                print(f"{passed / 60:.0f} of {self.seconds / 60:.0f} min: lag {self.lag[-1][1]:,} records; MiB: {memory}", flush=True)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _settle(self, positions: Positions) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        found: list[PartitionPosition] = []
        while time.monotonic() < deadline:
            found = await positions.read()
            if all_settled(found):
                return
            await asyncio.sleep(1.0)
        self.problems.append(f"not at rest after {SETTLE_SECONDS:.0f} s")

    async def _compare(self, installation: Installation, stripe: SimulatedStripe, orders: list[SoakOrder]) -> None:
        emitted, expected = await asyncio.to_thread(_sums, orders)
        books = (await stripe.books({(METER, customer): units for customer, units in expected.items()})).by_customer(METER)
        wrong = [customer for customer in expected.keys() | books.keys() if expected[customer] != books[customer]]
        if wrong:
            self.problems.append(
                f"{len(wrong)} customers differ, such as {wrong[0]}: {expected[wrong[0]]} emitted, {books[wrong[0]]} in Stripe's books"
            )
        report = await verify(installation.kafka)
        if verdict_of(report).word is not ProofWord.EXACT:
            self.problems.append(f"the verification of the log says {verdict_of(report).text}")
        self.facts |= {
            "events": emitted,
            "units": sum(expected.values()),
            "events_per_second": round(emitted / self.seconds),
            "verdict": verdict_of(report).text,
        }
        for name, one in self.series.items():
            first, last = one.samples[0], one.samples[-1]
            self.facts[name] = {
                "cores": round((last.cpu_s - first.cpu_s) / (last.at_s - first.at_s), 3),
                "memory_mib": last.memory_bytes >> 20,
                "memory_growth": round(one.memory_growth(), 4),
                "descriptors": last.descriptors,
                "descriptor_growth": round(one.descriptor_growth(), 4),
            }

    def _lag_problems(self) -> list[str]:
        settled = self.lag[len(self.lag) // 3 :]
        half = len(settled) // 2
        before, after = (sum(lag for _, lag, _ in part) / max(1, len(part)) for part in (settled[:half], settled[half:]))
        self.facts["mean_lag_records"] = {"before": round(before, 1), "after": round(after, 1)}
        # A lag of less than the records of two flushes is no lag.
        return [f"lag grew from {before:.0f} to {after:.0f} records"] if after > max(before * 1.05, 2_000) else []


def _sums(orders: list[SoakOrder]) -> tuple[int, Counter[str]]:
    """How many events were emitted, and the units by customer."""
    emitted, units = 0, Counter[str]()
    for order in orders:
        sums = orjson.loads(Path(order.sums).read_bytes())
        units.update(sums["units"])
        emitted += sums["emitted"]
    return emitted, units


def main() -> int:
    """Exit code 0 only if nothing grew and nothing differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Steady load for long; nothing may grow.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=10_000, help="events a second (default %(default)d)")
    parser.add_argument("--kafka", help="docker, apache, embedded or HOST:PORT")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="taximeter-soak-"))
    choice = choose_broker(arguments.kafka, data=folder / "broker")
    print(f"{choice}; {arguments.minutes:g} minutes at {arguments.rate:,} events a second; files in {folder}", flush=True)
    soak = Soak(folder, choice.broker, arguments.minutes * 60, arguments.rate)
    try:
        asyncio.run(soak.run())
    finally:
        soak.close()
    result = {"minutes": arguments.minutes, "rate": arguments.rate, "broker": choice.broker.describe(), **soak.facts, "problems": soak.problems}
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if arguments.svg:
        arguments.svg.write_text(_plot(soak, arguments.rate))
    if not soak.problems:
        shutil.rmtree(folder)
    return 1 if soak.problems else 0


def _plot(soak: Soak, rate: int) -> str:
    memory = {name: [(s.at_s / 60, s.memory_bytes / (1 << 20)) for s in one.samples] for name, one in soak.series.items()}
    descriptors = {name: [(s.at_s / 60, float(s.descriptors)) for s in one.samples] for name, one in soak.series.items()}
    lag = {"records to count": [(at / 60, float(records)) for at, records, _ in soak.lag]}
    panels = {"memory, MiB": memory, "open descriptors": descriptors, "lag, records": lag}
    return svg(f"{rate:,} events a second", {name: Panel(lines, unit=" min") for name, lines in panels.items()})


if __name__ == "__main__":
    sys.exit(main())
