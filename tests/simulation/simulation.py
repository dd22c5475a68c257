"""One run: a seed decides the weather, the processes and everything that happens, until the faults end and all must come to rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from aggregator.counting import CountingRules
from aggregator.dead_letter_limits import DeadLetterLimits
from metering.partitioner import partition_of
from reporter.billing_periods import BillingPeriods, Side, SubscriptionPeriods
from tests.simulation.aggregator_actor import CATALOGUE, AggregatorProcess
from tests.simulation.checker import Checker, Evidence, Violation
from tests.simulation.journal import Journal
from tests.simulation.lying_stripe import LyingStripe
from tests.simulation.operator_actor import Operator
from tests.simulation.producers import Customers, GatewayClients, RawProducer, SdkEmitter
from tests.simulation.reporter_actor import ReporterProcess
from tests.simulation.subscriptions import boundaries_of
from tests.simulation.world import CALM, DEADLETTERS, EVENTS, HOUR, LEDGER, MINUTE, SECOND, TALLIES, TOPICS, PartitionStopped, Process, Weather, World

SETTLING_STEPS = 30_000
STORM = Weather(append_faults=0.1, read_faults=0.01, stripe_faults=0.3, chaos=0.15, jumps=0.03, longest_jump_ms=30 * HOUR)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found; `events` were emitted in it."""

    seed: int
    violations: Sequence[Violation]
    events: int
    steps: int
    calls: int
    trace: Sequence[str]


class SubscribedPeriods(BillingPeriods):
    """Learns a customer's subscription when it is first asked about."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: set[str] = set()

    def side(self, customer: str, minute_ms: int) -> Side:
        if customer not in self._asked:
            self._asked.add(customer)
            if boundaries := boundaries_of(customer):
                self.learn(SubscriptionPeriods(customer, (boundaries[0], boundaries[-1]), frozenset(boundaries)))
        return super().side(customer, minute_ms)


class Simulation:
    """The processes of one run."""

    def __init__(self, seed: int, *, tracing: bool, weather: Weather | None) -> None:
        chooser = Random(~seed)
        self.seed = seed
        drawn = _weather(chooser)
        self.world = world = World(seed, partitions=chooser.choice((1, 1, 2)), weather=weather or drawn, tracing=tracing)
        self.horizon_ms = chooser.choice((HOUR, 6 * HOUR, 24 * HOUR))
        self.journal = Journal()
        self.stripe = LyingStripe(world)
        customers = Customers(world, self.journal)
        self.emitters = [SdkEmitter(world, customers, f"sdk{number}", self.horizon_ms) for number in range(chooser.randrange(1, 3))]
        self.clients = GatewayClients(world, customers, self.horizon_ms)
        self.raw = RawProducer(world, customers, self.journal, self.horizon_ms)
        self.rules = CountingRules(
            topic=EVENTS,
            catalogue=CATALOGUE,
            partition_of=partial(partition_of, partitions=world.partitions),
            instance="simulated",
            deduplication_horizon_ms=self.horizon_ms,
            dead_letter_limits=DeadLetterLimits(run_max=1_000_000, percent_max=100),
        )
        self.started = 0
        self.processes: list[AggregatorProcess | ReporterProcess] = []
        self.operators = [Operator(world, f"operator-{number}") for number in range(chooser.choice((0, 1, 2)))]
        self.aggregators = chooser.randrange(1, 4)
        self.reporters = chooser.randrange(1, 4)
        self.budget = chooser.randrange(40, 150)
        self.steps = 0

    def run(self) -> Result:
        """From the first event to the verdict."""
        violations: Sequence[Violation]
        try:
            self._bad_times()
            violations = self._settle() or self._replay() or Checker(self._evidence()).check()
        except PartitionStopped as stopped:
            violations = [Violation("unaccounted", str(stopped))]
        finally:
            for process in (*self.processes, *self.operators):
                process.kill()
        return Result(self.seed, violations, len(self.journal.events), self.steps, self.stripe.calls, list(self.world.trace))

    # Faults

    def _bad_times(self) -> None:
        world, rng = self.world, self.world.rng
        weather = world.weather
        while len(self.journal.events) < self.budget:
            self.steps += 1
            if self.steps % 4 == 0:
                self._produce()
            if rng.random() < weather.chaos:
                self._chaos()
            if rng.random() < weather.jumps:
                world.advance(int(10 ** rng.uniform(4, 4 + (weather.longest_jump_ms > HOUR) * 4.2)) % weather.longest_jump_ms)
            world.advance(rng.randrange(600))
            self._step()

    def _step(self) -> None:
        self._keep_up()
        if self.operators and self.world.chance(0.25):
            self._operate(self.world.rng.choice(self.operators))
        running = [process for process in self.processes if process.frozen_until_ms <= self.world.now_ms]
        if running:
            self.world.rng.choice(running).step()

    def _operate(self, operator: Operator) -> None:
        """A command goes on; or it is interrupted, and the operator begins another."""
        if self.world.chance(self.world.weather.chaos):
            operator.kill()
            self._tell(operator, "is interrupted")
            self.operators[self.operators.index(operator)] = Operator(self.world, operator.name)
            return
        for _ in range(self.world.rng.randrange(1, 6)):
            operator.step()

    def _keep_up(self) -> None:
        """Somebody starts what is missing."""
        if len(self.processes) < self.aggregators + self.reporters:
            missing = sum(isinstance(process, AggregatorProcess) for process in self.processes) < self.aggregators
            process = self._start(aggregator=missing)
            for partition in range(self.world.partitions):
                if self.world.chance(0.8):
                    process.assign(partition)

    def _start(self, *, aggregator: bool) -> AggregatorProcess | ReporterProcess:
        self.started += 1
        process: AggregatorProcess | ReporterProcess
        if aggregator:
            process = AggregatorProcess(self.world, f"aggregator-{self.started}", self.rules)
        else:
            process = ReporterProcess(self.world, f"reporter-{self.started}", TOPICS, self.stripe, SubscribedPeriods())
        self.processes.append(process)
        return process

    def _produce(self) -> None:
        rng = self.world.rng
        dice = rng.random()
        if dice < 0.25:
            rng.choice(self.emitters).emit(rng.randrange(1, 7))
        elif dice < 0.45:
            self.clients.emit(rng.randrange(1, 5))
        elif dice < 0.6:
            self.raw.emit()
        elif dice < 0.85:
            emitter = rng.choice(self.emitters)
            if rng.random() < 0.5:
                emitter.close_batches()
            emitter.send()
        else:
            self.clients.retry()
            self.clients.send()

    def _chaos(self) -> None:
        world, rng = self.world, self.world.rng
        process = rng.choice(self.processes) if self.processes else None
        dice = rng.random()
        if dice < 0.1:
            rng.choice(self.emitters).crash()
        elif dice < 0.2:
            self.clients.crash()
        elif dice < 0.25:
            world.elect()
        elif dice < 0.35:
            self._change_stripe()
        elif process is None:
            return
        elif dice < 0.55:
            self._tell(process, "is killed")
            process.kill()
            self.processes.remove(process)
        elif dice < 0.75:
            process.frozen_until_ms = world.now_ms + int(10 ** rng.uniform(3, 8.05))
            self._tell(process, f"is frozen for {(process.frozen_until_ms - world.now_ms) / 1000:.0f} s")
        elif dice < 0.9:
            partition = rng.randrange(world.partitions)
            self._tell(process, f"is assigned {partition}")
            process.assign(partition)
        else:
            partition = rng.randrange(world.partitions)
            self._tell(process, f"is revoked {partition}")
            process.revoke(partition)

    def _change_stripe(self) -> None:
        world = self.world
        health = world.rng.choice(("up", "down", "locked out"))
        self.stripe.fall_ill(health, world.now_ms + int(10 ** world.rng.uniform(4, 8.05)))
        if world.tracing:
            world.note(f"stripe is {health}")

    def _tell(self, process: Process, what: str) -> None:
        if self.world.tracing:
            self.world.note(f"{process.name} {what}")

    # Rest

    def _settle(self) -> list[Violation]:
        """The faults end. Whoever still believes to own something may go on for a while; then one process of each kind must finish."""
        world = self.world
        world.weather = CALM
        self.stripe.fall_ill("up", 0)
        for _ in range(60):
            self._step()
            world.advance(300)
        for process in list(self.processes):
            process.frozen_until_ms = 0
        while not all([emitter.finish() for emitter in self.emitters] + [self.clients.finish()]):
            world.advance(SECOND)
        for _ in range(60):
            self._step()
            world.advance(300)
        for operator in self.operators:
            operator.kill()
        self.operators.clear()
        world.advance(4 * HOUR)  # what is on its way arrives
        return self._come_to_rest(survivors=self.seed % 2 == 0)

    def _come_to_rest(self, *, survivors: bool) -> list[Violation]:
        """One aggregator and one reporter finish everything: new ones, or two that have seen it all."""
        world = self.world
        last: list[AggregatorProcess | ReporterProcess] = []
        for kind in (AggregatorProcess, ReporterProcess):
            found = [process for process in self.processes if isinstance(process, kind)]
            last.append(found[0] if survivors and found else self._start(aggregator=kind is AggregatorProcess))
        for process in self.processes:
            if process not in last:
                process.kill()
        self.processes = last
        for process in last:
            process.frozen_until_ms = 0
            for partition in range(world.partitions):
                if not process.owns(partition):
                    process.assign(partition)
        for _ in range(SETTLING_STEPS):
            self.steps += 1
            for process in last:
                process.step()
            world.advance(SECOND)
            if last[0].is_done and last[1].is_done and world.is_quiet:
                return []
        return [Violation("unaccounted", f"no rest after {SETTLING_STEPS} steps: {[process.is_done for process in last]}")]

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
            books=self.stripe.books,
            cancelled=self.stripe.cancelled,
            dropped=self.stripe.dropped,
            boundaries={customer: boundaries_of(customer) for customer, _ in self.journal.events},
        )


def run(seed: int, *, tracing: bool = False, weather: Weather | None = None) -> Result:
    """Run one seed to its verdict, in this weather or in that which the seed has."""
    return Simulation(seed, tracing=tracing, weather=weather).run()


def _weather(rng: Random) -> Weather:
    return Weather(
        append_faults=rng.choice((0.0, 0.02, 0.1, 0.25)),
        read_faults=rng.choice((0.0, 0.01, 0.05)),
        stripe_faults=rng.choice((0.0, 0.1, 0.3, 0.6)),
        chaos=rng.choice((0.0, 0.02, 0.06, 0.12)),
        jumps=rng.choice((0.0, 0.01, 0.03)),
        longest_jump_ms=rng.choice((10 * MINUTE, 30 * HOUR, 60 * HOUR)),
    )
