"""Bugs put in on purpose where what was counted is adjusted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from aggregator.core.counting import PartitionCounter
from metering.folds.plan_progress import PlanProgress
from metering.folds.tallies import Tallies
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.records.chain import NO_OFFSET
from metering.records.service_limits import VALUE_MAX
from metering.records.tally import Tally
from tests.simulation.reporter_process import StripePort


@contextmanager
def an_adjustment_is_accepted_wherever_it_fits() -> Iterator[None]:
    """As a tally is: where the chain ends where it begins."""
    real = Tallies.accepts

    def accepts(self: Tallies, offset: int, tally: Tally) -> bool:
        if tally.adjustment is None:
            return real(self, offset, tally)
        return self.chain.head != NO_OFFSET and tally.link.start == self.chain.end

    with patch.object(Tallies, "accepts", accepts):
        yield


@contextmanager
def a_part_without_an_answer_is_written_again() -> Iterator[None]:
    """What the writer finds in the log it takes for somebody else's."""

    async def follow(self: AdjustmentWriter, found: PlanProgress) -> None:
        _, end = await self._reader.bounds(self._topic, found.plan.partition)
        async for offset, tally in self._between(found.plan.partition, found.next_offset, end):
            found.tallies.fold(offset, tally)
        found.read_to(end)

    with patch.object(AdjustmentWriter, "_follow", follow):
        yield


@contextmanager
def a_value_below_zero_is_split_as_a_remainder() -> Iterator[None]:
    """-40 becomes 999,999,999,999,959."""

    def split(quantity: int) -> Sequence[int]:
        whole, rest = divmod(quantity, VALUE_MAX)
        return [VALUE_MAX] * whole + ([rest] if rest else [])

    with patch("reporter.planning.unplanned.split", split):
        yield


@contextmanager
def what_is_pending_is_dropped_at_an_adjustment() -> Iterator[None]:
    """As at another writer's tally, and nothing is read again: the ids of its own tally, which is accepted behind it, are forgotten."""
    real = PartitionCounter.observe

    def observe(self: PartitionCounter, offset: int, tally: Tally) -> bool:
        accepted = real(self, offset, tally)
        if accepted and tally.adjustment is not None:
            self._rollback(self.tallies.chain.end)
        return accepted

    with patch.object(PartitionCounter, "observe", observe):
        yield


@contextmanager
def a_value_below_zero_goes_by_the_stream() -> Iterator[None]:
    """Which answers 200 and drops it."""
    with patch.object(StripePort, "take_back", StripePort.send):
        yield


@contextmanager
def a_tally_behind_an_adjustment_that_it_does_not_know_is_refused() -> Iterator[None]:
    """By its writer alone: every other reader goes on."""
    real = PartitionCounter.observe

    def observe(self: PartitionCounter, offset: int, tally: Tally) -> bool:
        if tally is self._cut and tally.link.previous != self.tallies.chain.head:
            self.tallies.chain.skip(offset)
            return False
        return real(self, offset, tally)

    with patch.object(PartitionCounter, "observe", observe):
        yield


PLANTED_IN_ADJUSTMENTS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        an_adjustment_is_accepted_wherever_it_fits,
        a_part_without_an_answer_is_written_again,
        a_value_below_zero_is_split_as_a_remainder,
        what_is_pending_is_dropped_at_an_adjustment,
        a_value_below_zero_goes_by_the_stream,
        a_tally_behind_an_adjustment_that_it_does_not_know_is_refused,
    )
}
