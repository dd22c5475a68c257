"""One chaos run: set up, load and break at the same time, let it come to rest, compare the books with the journals."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.demo.books import expected_books
from taximeter_sandbox.demo.closing import MeterComparison, compare, log_problems
from taximeter_sandbox.demo.installation import GATEWAY, SERVICES, Installation
from taximeter_sandbox.demo.load.journal import SUFFIX
from taximeter_sandbox.demo.load.load_orders import LoadOrder, read_progress
from taximeter_sandbox.demo.load.load_plan import MODULES, load_commands, load_orders
from taximeter_sandbox.demo.plan import Mix, Pace, Plan
from taximeter_sandbox.demo.processes import Command, Fleet, own_environment
from taximeter_sandbox.demo.stripe_side import SimulatedStripe

from audit.positions import Positions, all_settled
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from metering.kafka.provision import ensure_topics
from tests.chaos.actions import ACTIONS, Action
from tests.chaos.arena import Arena
from tests.chaos.brokers import Brokers, OneBroker, ThreeBrokers
from tests.chaos.loads.lives import UNNUMBERED_SUFFIX, customers_without_ids
from tests.chaos.loads.unnumbered import METER, take_in
from tests.support.small_disks import SmallDisks

RUNNER: Final = ("tests.chaos.service",)
LIVES: Final = "lives-1"
TRANSACTIONS: Final = "transactions-1"
MORE_LOADS: Final = {"lives": "tests.chaos.loads.lives", "transactions": "tests.chaos.loads.transactions"}
LIVES_EVENTS_PER_SECOND: Final = 8
TRANSACTIONS_EVENTS_PER_SECOND: Final = 30
PAUSE_SECONDS: Final = (0.1, 1.2)
AT_ONCE: Final = 3
SETTLE_SECONDS: Final = 300.0
START_SECONDS: Final = 30.0
TELL_SECONDS: Final = 15.0
END_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """How long things are broken, under how much load and what may happen (`actions`).

    `malformed`: the share of events that cannot be read.
    """

    seconds: float
    seed: int
    events_per_second: int = 1_500
    customers: int = 300
    stripe_api: str = "v1"
    at_once: int = AT_ONCE
    malformed: float = 0.01
    actions: Sequence[Action] = ACTIONS


@dataclass(slots=True)
class ChaosResult:
    """What was done and what came of it."""

    seed: int
    broker: str
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    meters: Sequence[MeterComparison] = ()
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Units that were emitted and are not in Stripe's books."""
        return sum(max(0, meter.expected - meter.in_stripe) for meter in self.meters)

    @property
    def double(self) -> int:
        """Units in Stripe's books that were not emitted."""
        return sum(max(0, meter.in_stripe - meter.expected) for meter in self.meters)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems and bool(self.meters) and all(meter.is_exact for meter in self.meters)

    def as_json(self) -> Mapping[str, Any]:
        """For `--json`."""
        return {
            "seed": self.seed,
            "broker": self.broker,
            "seconds": round(self.seconds, 1),
            "holds": self.holds,
            "lost": self.lost,
            "double": self.double,
            "counts": dict(sorted(self.counts.items())),
            "facts": self.facts,
            "problems": self.problems,
            "meters": {m.meter: {"expected": m.expected, "in_stripe": m.in_stripe, "events": m.counted_events} for m in self.meters},
        }


class Chaos:
    """One run in a folder of its own; `close` ends everything that was started."""

    def __init__(self, plan: ChaosPlan, folder: Path, brokers: Brokers, random: Random, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._folder = folder
        self._brokers = brokers
        self._say = say
        self._random = random
        self._fleet = Fleet(folder)
        self._disks = SmallDisks()
        self._positions: Positions | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End all processes."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self._positions is not None:
            await self._positions.close()
        self._fleet.kill_all()
        await self._brokers.close()
        await asyncio.to_thread(self._disks.unmount)

    async def run(self) -> ChaosResult:
        """Everything. Raises what set-up raises; what goes wrong later is among the problems."""
        began = time.monotonic()
        arena, stripe, orders = await self._set_up()
        result = ChaosResult(self.plan.seed, self._brokers.describe(), 0.0, counts=arena.counts)
        await self.break_things(arena, orders)
        self._say("the load is done and nothing is broken any more; waiting until all is counted and reported")
        await self._come_to_rest(arena, orders, result)
        result.problems += [f"crash: {crash}" for crash in arena.crashes]
        books = await asyncio.to_thread(expected_books, [order.journal for order in orders])
        report = await verify(arena.installation.kafka)
        in_stripe = await stripe.books({})
        result.problems += take_in(books, self._folder.glob(f"*{UNNUMBERED_SUFFIX}"), in_stripe.by_customer(METER))
        result.meters = compare(books, report, in_stripe)
        result.problems += log_problems(books, report)
        result.facts |= {
            "events emitted": books.totals.emitted,
            "events counted": report.events["counted"],
            "duplicates recognised": report.events["duplicates"],
            "appends of losers skipped": report.tallies_skipped + report.intents_skipped,
            "verdict": verdict_of(report).text,
        }
        result.seconds = time.monotonic() - began
        return result

    async def _set_up(self) -> tuple[Arena, SimulatedStripe, Sequence[LoadOrder]]:
        plan = Plan(
            events=max(5_000, int(self.plan.events_per_second * self.plan.seconds)),
            customers=self.plan.customers,
            seed=self.plan.seed,
            load_seconds=self.plan.seconds,
            pace=Pace(flush=0.5, report=1.5, receipt=0.3, session=3.0),
            emitter_mix=Mix(retries=0.03, late=0.02, malformed=self.plan.malformed),
            http_mix=Mix(retries=0.03, late=0.02, malformed=self.plan.malformed),
            record_mix=Mix(retries=0.05, late=0.02, malformed=self.plan.malformed, misplaced=0.02),
        )
        self._say(f"starting {self._brokers.describe()}")
        await self._brokers.start()
        port_file = self._folder / "stripe.port"
        arguments = ("taximeter_sandbox.stripe", "--port", "0", "--port-file", str(port_file), "--seed", str(self.plan.seed))
        self._fleet.start(Command("stripe", arguments, own_environment()))
        url = f"http://127.0.0.1:{await self._fleet.wait_for_file('stripe', port_file, START_SECONDS)}"
        stripe = SimulatedStripe(url)
        customers = await stripe.set_up(plan.customers)
        await stripe.add_customers(customers_without_ids(LIVES))
        installation = Installation(
            folder=self._folder,
            fleet=self._fleet,
            plan=plan,
            bootstrap_servers=self._brokers.bootstrap,
            copies=self._brokers.copies,
            prefix=f"chaos-{secrets.token_hex(3)}",
            stripe=stripe,
        )
        arena = Arena(self._folder, self._random, self._fleet, installation, self._brokers, url, self.plan.stripe_api, self._say)
        self.prepare(arena)
        installation.prepare()
        self._positions = Positions(installation.kafka, SystemClock())
        problems = await ensure_topics(installation.kafka, installation.kafka.topics, clock=SystemClock())
        assert not problems, problems
        # A reassignment leaves two copies for a moment, and services that start then must not refuse to.
        installation.copies = min(2, installation.copies)
        await installation.start(SERVICES)
        await installation.wait_until_ready(SERVICES)
        orders = [*load_orders(plan, installation, customers), *self._more_orders(plan, installation, customers)]
        arena.small_disk = await asyncio.to_thread(self._disks.mount, next(order.spool for order in orders if order.name.startswith("sdk")))
        if arena.small_disk is None:
            self._say("a small disk cannot be mounted here: no disk will be full")
        for command in load_commands(orders, self._folder, MODULES | MORE_LOADS):
            self._fleet.start(command)
        self._watcher = asyncio.create_task(arena.watch(), name="watch")
        return arena, stripe, orders

    def prepare(self, arena: Arena) -> None:
        """What services run with, before the first of them starts."""
        arena.prepare(RUNNER)

    def _more_orders(self, plan: Plan, installation: Installation, customers: Sequence[str]) -> list[LoadOrder]:
        """Loads that the demo does not have; transactions only where the broker has them."""
        found = []
        for name, per_second in ((LIVES, LIVES_EVENTS_PER_SECOND), (TRANSACTIONS, TRANSACTIONS_EVENTS_PER_SECOND)):
            if name == TRANSACTIONS and "Apache" not in self._brokers.describe():
                continue
            order = LoadOrder(
                name=name,
                events=max(40, int(per_second * plan.load_seconds)),
                seconds=plan.load_seconds,
                seed=plan.seed,
                customers=customers,
                mix=Mix(retries=0.05, late=0.02, malformed=0.0),
                journal=installation.folder / f"{name}{SUFFIX}",
                progress=installation.folder / f"{name}.progress.json",
                bootstrap_servers=installation.bootstrap_servers,
                topic_prefix=installation.prefix,
                partitions=installation.kafka.partitions,
                spool=installation.folder / f"{name}.spool",
            )
            found.append(order)
        return found

    async def break_things(self, arena: Arena, orders: Sequence[LoadOrder], /) -> None:
        """Up to `at_once` actions at the same time, until the time is over; then all of them are waited for."""
        running: set[asyncio.Task[None]] = set()
        began = told = time.monotonic()
        while (now := time.monotonic()) - began < self.plan.seconds:
            done = {task for task in running if task.done()}
            for task in done:
                task.result()
            running -= done
            if len(running) < self.plan.at_once:
                (action,) = self._random.choices(self.plan.actions, [action.weight for action in self.plan.actions])
                running.add(asyncio.create_task(_named(action, arena)))
            if now - told > TELL_SECONDS:
                told = now
                emitted = sum(read_progress(order.progress).emitted for order in orders)
                kills = sum(number for name, number in arena.counts.items() if name.startswith(("kill", "SIG")))
                self._say(f"{now - began:.0f} of {self.plan.seconds:.0f} s: {emitted:,} events emitted, {kills} kills and stops")
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
        if running:
            await asyncio.wait(running)
            for task in running:
                task.result()
        await arena.all_running()

    async def _come_to_rest(self, arena: Arena, orders: Sequence[LoadOrder], result: ChaosResult) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS + self.plan.seconds
        await arena.mend_stripe()
        while not all(read_progress(order.progress).done for order in orders):
            if time.monotonic() > deadline:
                result.problems.append("the load did not end")
                return
            await asyncio.sleep(0.3)
        result.problems += [f"{order.name}: {failure}" for order in orders if (failure := read_progress(order.progress).failure)]
        await self._fleet.join([order.name for order in orders], END_SECONDS)
        # The gateway says how many events it sent, so that the verification can see that none is missing.
        await arena.all_running()
        async with arena.holding(GATEWAY):
            codes = await self._fleet.stop([GATEWAY])
            if codes.get(GATEWAY):
                result.problems.append(f"the gateway ended with {codes[GATEWAY]} at the end")
            arena.installation.admin_urls.pop(GATEWAY, None)
            await self._until_settled(result)

    async def _until_settled(self, result: ChaosResult) -> None:
        assert self._positions is not None
        deadline = time.monotonic() + SETTLE_SECONDS
        rest = "Kafka did not answer"
        while time.monotonic() < deadline:
            found = await self._positions.read()
            stopped = [f"partition {each.partition} stopped: {each.problem}" for each in found if each.problem]
            if stopped:
                result.problems += stopped
                return
            if all_settled(found):
                return
            uncounted, rows, waiting = (sum(getattr(each, name) for each in found) for name in ("uncounted", "uncovered_rows", "open_meter_events"))
            unread = [f"partition {each.partition}: {each.unread}" for each in found if each.unread]
            rest = f"{uncounted} records uncounted, {rows} sums unreported, {waiting} meter events without an outcome; unread: {unread}"
            await asyncio.sleep(0.5)
        result.problems.append(f"not at rest after {SETTLE_SECONDS:.0f} s: {rest}")


async def _named(action: Action, arena: Arena) -> None:
    arena.counts[f"action {action.name}"] += 1
    try:
        await action.run(arena)
    except Exception as error:
        # Whatever it is, it must be told with the action's name: the run goes on to its end and fails.
        arena.crashes.append(f"action {action.name}: {type(error).__name__}: {error}")


def brokers_of(kind: str, count: int, folder: Path, random: Random) -> Brokers:
    """One broker (`kind`: apache or embedded) or a cluster of three. Raises BrokerUnavailable."""
    data = folder / "broker"
    data.mkdir(parents=True)
    return ThreeBrokers(data, random) if count > 1 else OneBroker(kind, data, random)
