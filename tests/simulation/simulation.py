"""One run: a seed decides the weather, the processes and everything that happens, until the faults end and all must come to rest."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial

from taximeter_emitter.wire.partitioner import partition_of

from aggregator.core.counting_rules import CountingRules
from aggregator.ids.id_index import RECENT_IDS_MAX
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.readers import MakeReader
from metering.folds.catalogue_timeline import CatalogueTimeline
from metering.following.customers_log import CustomersLog
from reporter.planning.billing_periods import BillingPeriods, Side, SubscriptionPeriods
from tests.simulation.adjuster_actor import Adjuster, PlanShelf
from tests.simulation.aggregator_process import AggregatorOrder, AggregatorProcess
from tests.simulation.audit_check import audit_violations
from tests.simulation.bindings import bound
from tests.simulation.catalogue_actor import CatalogueKeeper
from tests.simulation.chance import Draws
from tests.simulation.checker import Checker, Evidence, Violation
from tests.simulation.id_disks import Disks
from tests.simulation.journal import Journal
from tests.simulation.kafka import SimulatedReader
from tests.simulation.latest_check import LATEST
from tests.simulation.link_actor import LinkKeeper, SimulatedLinks, link_all, links_written
from tests.simulation.lying_stripe import LyingStripe
from tests.simulation.operator_actor import Operator
from tests.simulation.processes import Process
from tests.simulation.producers import KINDS, Ages, Customers, GatewayClients, RawProducer, SdkEmitter
from tests.simulation.reporter_process import ReporterProcess
from tests.simulation.retention import delete_a_prefix
from tests.simulation.scope import THEMES, Scope, Theme, drawn_scope
from tests.simulation.subscriptions import boundaries_of
from tests.simulation.world import (
    CALM,
    CATALOGUE,
    CUSTOMERS,
    DEADLETTERS,
    EVENTS,
    HOUR,
    LEDGER,
    MINUTE,
    SECOND,
    TALLIES,
    TOPICS,
    PartitionStopped,
    Weather,
    World,
)

SETTLING_STEPS = 20_000
RESTING_LATENESS_MS = 10 * SECOND
STRIDES = (1, 2, 4)  # how often at most a process goes on before another one may
DELETING_WORLDS = 0.04
CHANGING_WORLDS = 0.4  # in which somebody publishes other meters
LINKED_WORLDS = 0.3  # in which half of the customers are billed to others
LATEST_WORLDS = 0.25  # that have a meter of the latest value
KNOWN_PERIODS = 0.4  # of these: in the others all is of one period, so that each older value comes too late
CROWDED_WORLDS = 0.15  # in which only few emitters are remembered, and few sums are carried
CHAOS = 4 * ("producer", "kill", "freeze") + 2 * ("outage",) + 5 * ("rebalance",) + ("elect", "operator")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found; `events` were emitted in it. `stopped`: a partition failed closed."""

    seed: int
    scope: Scope
    violations: Sequence[Violation]
    events: int
    steps: int
    calls: int
    stopped: bool
    trace: Sequence[str]


@lru_cache(maxsize=10_000)
def _periods_of(customer: str) -> BillingPeriods:
    """All that is known of this customer's subscription, and of no other. Nobody adds to it."""
    periods = BillingPeriods()
    if boundaries := boundaries_of(customer):
        periods.learn(SubscriptionPeriods(customer, (boundaries[0], boundaries[-1]), frozenset(boundaries)))
    return periods


class SubscribedPeriods(BillingPeriods):
    """Knows a customer's subscription when it is asked about. It never changes, so that what was learnt of it serves all runs."""

    def side(self, customer: str, minute_ms: int) -> Side:
        return _periods_of(customer).side(customer, minute_ms)

    def event_time_ms(self, customer: str, minute_ms: int) -> int:
        return _periods_of(customer).event_time_ms(customer, minute_ms)

    def since_s(self, customer: str, time_ms: int) -> int:
        return _periods_of(customer).since_s(customer, time_ms)


make_reader: MakeReader = PlainReader


class Simulation:
    """The processes of one run. One seed in so many is `audited`, too."""

    audited = 4

    def __init__(self, seed: int, *, tracing: bool, scope: Scope | None) -> None:
        chooser = Draws(~seed)
        self.seed = seed
        theme = chooser.pick(THEMES)
        drawn = drawn_scope(chooser, theme)
        self.scope = scope = scope or drawn
        self.theme = theme
        weather = _weather(chooser, theme, scope.off)
        self.world = world = World(seed, partitions=chooser.pick((1, 1, 1, 1, 2)), weather=weather, tracing=tracing)
        self.horizon_ms = chooser.pick((HOUR, 6 * HOUR, 24 * HOUR))
        self.journal = Journal()
        self.stripe = LyingStripe(world)
        customers = Customers(world, self.journal, KINDS[2] if theme.name == "stripe" else chooser.pick(KINDS))
        ages = Ages(world, self.horizon_ms, now=chooser.pick((0.1, 0.5) if theme.name == "stripe" else (0.1, 0.85, 0.85, 0.95)))
        self.emitters = [SdkEmitter(world, customers, f"sdk{number}", ages) for number in range(chooser.between(1, 3))]
        self.clients = GatewayClients(world, customers, ages)
        self.raw = RawProducer(world, customers, self.journal, ages)
        self.rules = CountingRules(
            topic=EVENTS,
            timeline=CatalogueTimeline(),
            partition_of=partial(partition_of, partitions=world.partitions),
            instance="simulated",
            deduplication_horizon_ms=self.horizon_ms,
            make_reader=make_reader,
        )
        self.started = 0
        self.processes: list[AggregatorProcess | ReporterProcess] = []
        operators = chooser.pick(theme.operators) * ("operator" not in scope.off)
        self.operators: list[Operator | Adjuster | CatalogueKeeper | LinkKeeper] = [
            Operator(world, f"operator-{number}") for number in range(operators)
        ]
        self.aggregators = chooser.pick(theme.aggregators)
        self.reporters = chooser.pick(theme.reporters)
        self.stride = chooser.pick(STRIDES)
        tiny = chooser.random() < theme.archives and "archive" not in scope.off
        self.recent_ids_max = chooser.between(0, 12) if tiny else RECENT_IDS_MAX
        self.disks = Disks(world, self.horizon_ms, machines=chooser.between(1, 4) if tiny else 0)
        self.crowded = chooser.random() < CROWDED_WORLDS and "crowd" not in scope.off
        self.tempo_ms = chooser.pick((600, 3_000, 15_000))  # what a step takes at most
        self.deletes = chooser.random() < DELETING_WORLDS and "retention" not in scope.off
        self.deletes_at = chooser.between(scope.steps // 4, scope.steps)
        self.shelf = PlanShelf()
        adjusters = chooser.pick(theme.adjusters) * ("plan" not in scope.off)
        self.operators += [Adjuster(world, f"adjuster-{number}", self.shelf) for number in range(adjusters)]
        if chooser.random() < CHANGING_WORLDS and "meters" not in scope.off:
            self.operators += [
                CatalogueKeeper(world, f"keeper-{number}", moves_leaders="elect" not in scope.off) for number in range(chooser.between(1, 3))
            ]
        self.links = chooser.random() < LINKED_WORLDS and "links" not in scope.off
        # Where customers wait for a link, more often: only there what is carried may be too much.
        self.crowded |= self.links and chooser.random() < CROWDED_WORLDS and "crowd" not in scope.off
        if self.links:
            self.operators += [LinkKeeper(world, f"linker-{number}", self.journal) for number in range(chooser.between(1, 3))]
        if chooser.random() < LATEST_WORLDS and "latest" not in scope.off:
            world.meters += (LATEST,)
        self.periods_are_known = LATEST not in world.meters or chooser.random() < KNOWN_PERIODS
        self.steps = 0

    def run(self) -> Result:
        """From the first event to the verdict."""
        violations: Sequence[Violation]
        stopped = False
        try:
            self._bad_times()
            violations = self._settle() or self._replay() or Checker(self._evidence()).check() or self._audit()
        except PartitionStopped as error:
            violations, stopped = [Violation("unaccounted", str(error))], True
        finally:
            for process in (*self.processes, *self.operators):
                process.kill()
        return Result(self.seed, self.scope, violations, len(self.journal.events), self.steps, self.stripe.calls, stopped, list(self.world.trace))

    def take_apart(self) -> None:
        """Break the circles in what is left of a run, of which nothing works afterwards. To find them costs a sixth of the run."""
        for thing in (*self.world.owners, self.world):
            vars(thing).clear()

    def _audit(self) -> Sequence[Violation]:
        """In some seeds: most of what it would find the checker has found before."""
        if self.seed % self.audited:
            return []
        return audit_violations(self._evidence(), self.rules.partition_of)

    # Faults

    def _bad_times(self) -> None:
        world, rng = self.world, self.world.rng
        weather = world.weather
        scope = self.scope
        for _ in range(scope.steps):
            self.steps += 1
            if self.steps % 4 == 0:
                self._produce()
            if self.deletes and self.steps == self.deletes_at:
                self._delete()
            if rng.random() < weather.chaos:
                self._chaos()
            if rng.random() < weather.jumps:
                world.advance(int(10 ** rng.uniform(4, 4 + (weather.longest_jump_ms > HOUR) * 4.2)) % weather.longest_jump_ms)
            world.advance(rng.below(self.tempo_ms))
            self._step()

    def _step(self) -> None:
        world = self.world
        if len(self.processes) < self.aggregators + self.reporters:
            self._keep_up()
        for _ in range(world.rng.between(1, self.stride + 1)):
            if not world.step():
                return

    def _interrupt(self) -> None:
        """A command is interrupted, and the operator begins another."""
        operator = self.world.rng.pick(self.operators)
        operator.kill()
        self._tell(operator, "is interrupted")
        self.operators[self.operators.index(operator)] = operator.again()

    def _keep_up(self) -> None:
        """Somebody starts one of those that are missing."""
        missing = sum(isinstance(process, AggregatorProcess) for process in self.processes) < self.aggregators
        process = self._start_aggregator() if missing else self._start_reporter()
        for partition in range(self.world.partitions):
            if self.world.chance(0.8):
                process.assign(partition)

    def _start_aggregator(self) -> AggregatorProcess:
        self.started += 1
        name = f"aggregator-{self.started}"
        process = AggregatorProcess(self.world, name, AggregatorOrder(self.rules, self.deletes), self.disks.take(name))
        self.processes.append(process)
        return process

    def _start_reporter(self) -> ReporterProcess:
        self.started += 1
        log = CustomersLog(SimulatedReader(self.world), TOPICS.customers.name)
        log.links = SimulatedLinks()
        links = log.links if self.links else None
        periods = SubscribedPeriods(links=links) if self.periods_are_known else BillingPeriods(links=links)
        process = ReporterProcess(self.world, f"reporter-{self.started}", self.stripe, periods, log if self.links else None)
        self.processes.append(process)
        return process

    def _produce(self) -> None:
        rng = self.world.rng
        dice = rng.random()
        room = self.scope.events - len(self.journal.events)
        if dice < 0.6 and room <= 0:
            return
        if dice < 0.25:
            rng.pick(self.emitters).emit(min(room, rng.between(1, 7)))
        elif dice < 0.45:
            self.clients.emit(min(room, rng.between(1, 5)))
        elif dice < 0.57:
            self.raw.emit()
        elif dice < 0.6:
            if "transaction" not in self.scope.off:
                self.raw.emit_in_transaction()
        elif dice < 0.85:
            emitter = rng.pick(self.emitters)
            if rng.random() < 0.5:
                emitter.close_batches()
            emitter.send()
            if self.crowded and rng.random() < 0.4:
                emitter.restart()
        else:
            self.clients.retry()
            self.clients.send()

    def _chaos(self) -> None:
        world, rng = self.world, self.world.rng
        fault = rng.pick(CHAOS)
        if fault in self.scope.off:
            return
        match fault:
            case "producer":
                self._end_a_producer()
            case "elect":
                world.elect()
            case "outage":
                self._change_stripe()
            case "operator":
                if self.operators:
                    self._interrupt()
            case _ if self.processes:
                self._disturb(rng.pick(self.processes), fault)

    def _end_a_producer(self) -> None:
        rng = self.world.rng
        dice = rng.random()
        if dice < 0.3:
            self.clients.crash()
        elif dice < 0.7:
            rng.pick(self.emitters).crash()
        else:
            rng.pick(self.emitters).restart()

    def _disturb(self, process: AggregatorProcess | ReporterProcess, fault: str) -> None:
        world, rng = self.world, self.world.rng
        match fault:
            case "kill":
                self._tell(process, "is killed")
                self._kill(process)
            case "freeze":
                process.freeze(int(10 ** rng.uniform(3, 8.05)))
                self._tell(process, f"is frozen for {(process.frozen_until_ms - world.now_ms) / 1000:.0f} s")
            case _:
                partition = rng.below(world.partitions)
                assigned = rng.random() < 0.6
                self._tell(process, f"is {'assigned' if assigned else 'revoked'} {partition}")
                (process.assign if assigned else process.revoke)(partition)

    def _kill(self, process: AggregatorProcess | ReporterProcess) -> None:
        process.kill()
        self.disks.give_back(process.name)
        self.processes.remove(process)

    def _delete(self) -> None:
        """For longer than events are kept no aggregator ran, but for some that are frozen."""
        world = self.world
        for process in [found for found in self.processes if isinstance(found, AggregatorProcess)]:
            if world.chance(0.2):
                process.freeze(world.rng.spread(MINUTE, HOUR))
            else:
                self._kill(process)
        delete_a_prefix(world)

    def _change_stripe(self) -> None:
        world = self.world
        health = world.rng.pick(("up", "down", "locked out"))
        self.stripe.fall_ill(health, world.now_ms + int(10 ** world.rng.uniform(4, 8.6)))  # up to four and a half days
        if world.tracing:
            world.note(f"stripe is {health}")
        if world.chance(0.3):
            self._deactivate_a_meter()

    def _deactivate_a_meter(self) -> None:
        world = self.world
        meter, until_ms = world.rng.pick(world.meters), world.now_ms + int(10 ** world.rng.uniform(3.5, 8.6))
        self.stripe.deactivate(meter, until_ms)
        if world.tracing:
            world.note(f"the meter {meter} is inactive until {until_ms}")

    def _tell(self, process: Process, what: str) -> None:
        if self.world.tracing:
            self.world.note(f"{process.name} {what}")

    # Rest

    def _settle(self) -> list[Violation]:
        """The faults end. A process that still believes it owns something may continue for a while; then one process of each kind must finish."""
        world = self.world
        world.weather = CALM
        self.stripe.fall_ill("up", 0)
        for meter in world.meters:
            self.stripe.deactivate(meter, 0)
        self._go_on()
        self._thaw()
        for _ in range(2):
            world.advance(world.rng.below(self.horizon_ms // 2))
            self.clients.emit(1)
            self.clients.repeat()
            while not all([emitter.finish() for emitter in self.emitters] + [self.clients.finish()]):
                world.advance(SECOND)
            self._go_on()
        for operator in self.operators:
            operator.kill()
        self.operators.clear()
        if self.links:
            link_all(world, self.journal)
        world.advance(4 * HOUR)  # what is on its way arrives
        return self._come_to_rest(survivors=self.seed % 2 == 0)

    def _thaw(self) -> None:
        for process in self.processes:
            process.frozen_until_ms = 0
            process.thaw()

    def _go_on(self) -> None:
        """What still runs does some more, the more the longer it ran."""
        for _ in range(4 + self.scope.steps // 20):
            self._step()
            self.world.advance(600)

    def _come_to_rest(self, *, survivors: bool) -> list[Violation]:
        """One aggregator and one reporter finish everything: new ones, or two that have seen it all."""
        world = self.world
        aggregators = [process for process in self.processes if isinstance(process, AggregatorProcess)]
        reporters = [process for process in self.processes if isinstance(process, ReporterProcess)]
        retired: list[AggregatorProcess | ReporterProcess] = [*aggregators[survivors:], *reporters[survivors:]]
        for process in retired:
            self._kill(process)
        aggregator = aggregators[0] if survivors and aggregators else self._start_aggregator()
        reporter = reporters[0] if survivors and reporters else self._start_reporter()
        self.processes = [aggregator, reporter]
        for process in self.processes:
            for partition in range(world.partitions):
                if not process.owns(partition):
                    process.assign(partition)
        world.lateness_ms = RESTING_LATENESS_MS
        for _ in range(SETTLING_STEPS):
            self.steps += 1
            if not world.step():
                if world.is_quiet and aggregator.is_done and reporter.is_done:
                    return [Violation("slow", "Stripe is called at less than the pace")] if reporter.is_slow_without_cause else []
                world.advance_to_next(MINUTE)
        return [Violation("unaccounted", f"no rest after {SETTLING_STEPS} steps: {[process.is_done for process in self.processes]}")]

    def _replay(self) -> list[Violation]:
        """Everything starts again from nothing: that must cost nothing and change nothing."""
        if self.seed % 4:
            return []
        self.world.advance(MINUTE)
        calls, books = self.stripe.calls, list(self.stripe.books)
        violations = self._come_to_rest(survivors=False)
        if self.stripe.calls != calls or self.stripe.books != books:
            violations.append(Violation("duplicate", f"a replay made {self.stripe.calls - calls} calls to Stripe"))
        return violations

    def _evidence(self) -> Evidence:
        logs = self.world.logs
        partitions = range(self.world.partitions)
        return Evidence(
            partitions=self.world.partitions,
            horizon_ms=self.horizon_ms,
            journal=self.journal,
            events={partition: logs[EVENTS, partition] for partition in partitions},
            tallies={partition: logs[TALLIES, partition] for partition in partitions},
            ledger={partition: logs[LEDGER, partition] for partition in partitions},
            deadletters={partition: logs[DEADLETTERS, partition] for partition in partitions},
            catalogue=logs[CATALOGUE, 0],
            books=self.stripe.books,
            cancelled=self.stripe.cancelled,
            dropped=self.stripe.dropped,
            refused=self.stripe.refused,
            crowded=self.crowded,
            kept_from=self.world.kept_from,
            billed=self.stripe.billed,
            links=links_written(logs[CUSTOMERS, 0]) if self.links else {},
            plans={found.plan.plan: (found.plan.partition, found.rows) for found in self.shelf.plans},
            tells_latest=LATEST in self.world.meters,
            boundaries={customer: boundaries_of(customer) for customer, _ in self.journal.events} if self.periods_are_known else {},
        )


def run(seed: int, *, tracing: bool = False, scope: Scope | None = None) -> Result:
    """Run one seed to its verdict, in this scope or in that which the seed has."""
    with _uncollected():
        simulation = Simulation(seed, tracing=tracing, scope=scope)
        with bound(seed, recent_ids_max=simulation.recent_ids_max, crowded=simulation.crowded):
            result = simulation.run()
        simulation.take_apart()
        return result


@cache
def _freeze_what_is_there() -> None:
    """Before the first run of a process: modules and what they hold are hundreds of thousands of things that no collection has to look at."""
    gc.freeze()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Garbage in circles is looked for between runs. Meanwhile it takes an eighth of the time, and finds little."""
    if not gc.isenabled():
        yield
        return
    _freeze_what_is_there()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _weather(rng: Draws, theme: Theme, off: frozenset[str]) -> Weather:
    """Switching a fault off changes none of the others."""
    append, read, call, noise, chaos, jumps = (
        rng.pick((0.0, 0.03, 0.1, 0.25)),
        rng.pick((0.0, 0.01, 0.05)),
        rng.pick(theme.stripe_faults),
        rng.pick((0.0, 0.0, 0.01, 0.1)),
        rng.pick(theme.chaos),
        rng.pick(theme.jumps),
    )
    return Weather(
        append_faults=0.0 if "append" in off else append,
        read_faults=0.0 if "read" in off else read,
        stripe_faults=0.0 if "call" in off else call,
        noise=0.0 if "noise" in off else noise,
        chaos=chaos,
        jumps=0.0 if "jump" in off else jumps,
        longest_jump_ms=rng.pick((10 * MINUTE, 30 * HOUR, 60 * HOUR)),
    )
