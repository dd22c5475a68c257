"""Unclean leader election: the last records of a partition, acknowledged and read, are gone, and others take their offsets.

No reader can tell that from the log alone, so not everything can be promised. `fork_table` says what became of many runs with one fork each:
the partition stopped, the books are right all the same (but for events that were in Kafka and nowhere else), or they are wrong.
"""

from collections import Counter
from collections.abc import Iterator
from enum import Enum

from tests.simulation.bindings import bound
from tests.simulation.simulation import Result, Simulation
from tests.simulation.world import EVENTS, LEDGER, TALLIES

RECORDS_MAX = 3
GONE = ("was acknowledged and is not in the log", "was not forwarded")  # what is said of a record that is nowhere


class Cut(Enum):
    """What a fork takes back."""

    UNREAD_EVENTS = "events that no aggregator has read"
    EVENTS = "events"
    TALLIES = "tallies"
    LEDGER = "entries of the ledger"


class Fate(Enum):
    """What became of it."""

    NO_FORK = "there was nothing to take back"
    STOPPED = "the partition stopped"
    RIGHT = "the books are right"
    WRONG = "the books are wrong, or it is not noticed that they cannot be right"


class ForkedSimulation(Simulation):
    """A run in which one fork happens, half way."""

    audited = 1

    def __init__(self, seed: int, cut: Cut) -> None:
        super().__init__(seed, tracing=False, scope=None)
        self.forked = False
        self._cut = cut

    def _step(self) -> None:
        super()._step()
        if not self.forked and self.steps >= self.scope.steps // 2:
            self.forked = self._fork()

    def _fork(self) -> bool:
        world = self.world
        partition = world.rng.below(world.partitions)
        topic = {Cut.TALLIES: TALLIES, Cut.LEDGER: LEDGER}.get(self._cut, EVENTS)
        log = world.logs[topic, partition]
        left = max(0, len(log) - world.rng.between(1, RECORDS_MAX + 1))
        if self._cut is Cut.UNREAD_EVENTS:
            left = max(left, world.read_to[partition])
        if left >= len(log) or (topic == EVENTS and partition in world.stable):
            return False
        del log[left:]
        return True


def fate_of(seed: int, cut: Cut) -> Fate:
    """Run one seed with this fork."""
    simulation = ForkedSimulation(seed, cut)
    with bound(seed, recent_ids_max=simulation.recent_ids_max, crowded=simulation.crowded):
        try:
            result = simulation.run()
        except (IndexError, KeyError):
            # The checker reads logs that contradict each other by their offsets; the pipeline meets a record that is not there.
            return Fate.WRONG
    fate = _judge(result) if simulation.forked else Fate.NO_FORK
    simulation.take_apart()
    return fate


def fork_table(seeds: range) -> Iterator[str]:
    """Rows of Markdown: what was taken back, and in how many runs which fate followed."""
    yield "| a fork takes back | runs | the partition stopped | right all the same | wrong, unnoticed by the services |"
    yield "| --- | --- | --- | --- | --- |"
    for cut in Cut:
        fates = Counter(fate_of(seed, cut) for seed in seeds)
        forks = len(seeds) - fates[Fate.NO_FORK]
        yield f"| {cut.value} | {forks} | {fates[Fate.STOPPED]} | {fates[Fate.RIGHT]} | {fates[Fate.WRONG]} |"


def _judge(result: Result) -> Fate:
    if result.stopped:
        return Fate.STOPPED
    return Fate.RIGHT if all(violation.text.endswith(GONE) for violation in result.violations) else Fate.WRONG
