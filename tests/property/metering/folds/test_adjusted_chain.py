"""Owners flush, and two writers apply one plan, with appends that are lost, late, doubled or not acknowledged: each part counts at most once."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from metering.folds.plan_progress import NotAdjusted, PlanProgress
from metering.folds.tallies import Tallies, tallies_from
from metering.records.adjustment import AdjustmentKind
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.tally import RecordCounts, Tally, TallyRow
from tests.support.metering_tallies import a_tally
from tests.support.plan_writing import a_part, a_plan

OWNERS = APPLIERS = 2
PARTS = [a_part(-quantity) for quantity in (1, 10, 100)]
PLAN = a_plan(PARTS)


@dataclass
class Writing:
    """One process that writes: its fold, and whether an append of its own has no acknowledgement yet."""

    fold: Tallies | None = None
    progress: PlanProgress | None = None


class AdjustedChain(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[Tally] = []
        self.owners = [Writing() for _ in range(OWNERS)]
        self.appliers = [Writing() for _ in range(APPLIERS)]
        self.late: list[Tally] = []
        self.append(a_tally(link=ChainLink(0, 1, NO_OFFSET), emitter_states=[]), 1, late=False)

    # What each believes

    def fold_from(self, begin: int, end: int) -> Tallies:
        fold = Tallies() if begin == 0 else tallies_from(begin, self.log[begin])
        for offset in range(begin, end):
            fold.fold(offset, self.log[offset])
        return fold

    def accepted(self) -> list[int]:
        fold = Tallies()
        return [offset for offset, tally in enumerate(self.log) if fold.fold(offset, tally)]

    def owner(self, number: int) -> Tallies:
        """From the checkpoint that the last record names, as a new owner does."""
        found = self.owners[number]
        if found.fold is None:
            found.fold = self.fold_from(max(0, self.log[-1].checkpoint), len(self.log))
        return found.fold

    def applier(self, number: int) -> PlanProgress:
        found = self.appliers[number]
        if found.progress is None:
            found.progress = PlanProgress(PLAN, Tallies())
        return found.progress

    def append(self, tally: Tally, landings: int, *, late: bool) -> int | None:
        """Where it landed first."""
        landed = len(self.log) if landings else None
        self.log += [tally] * landings
        self.late += [tally] * late
        return landed

    # What they do

    @rule(number=st.integers(0, OWNERS - 1), whole=st.booleans(), landings=st.integers(0, 2), late=st.booleans(), answered=st.booleans())
    def an_owner_flushes(self, number: int, *, whole: bool, landings: int, late: bool, answered: bool) -> None:
        fold = self.owner(number)
        start = fold.chain.end
        tally = a_tally(
            link=ChainLink(start, start + 1, fold.chain.head),
            records=RecordCounts(singles=1),
            rows=[TallyRow("cus_1", "tokens", (), 0, 1000, 1)],
            checkpoint=fold.checkpoint,
            emitter_states=[] if whole else None,
        )
        landed = self.append(tally, landings, late=late)
        if landed is None or not answered:
            self.owners[number] = Writing()  # it starts over
            return
        for offset in range(fold.chain.next_offset, landed + 1):
            fold.fold(offset, self.log[offset])

    @rule(number=st.integers(0, APPLIERS - 1), records=st.integers(0, 9))
    def an_applier_reads(self, number: int, records: int) -> None:
        progress = self.applier(number)
        for offset in range(progress.next_offset, min(len(self.log), progress.next_offset + records)):
            progress.fold(offset, self.log[offset])

    @rule(number=st.integers(0, APPLIERS - 1), landings=st.integers(0, 2), late=st.booleans(), answered=st.booleans())
    def an_applier_writes(self, number: int, landings: int, *, late: bool, answered: bool) -> None:
        """It has read only up to where its fold stands; an append without an answer is looked for by reading on."""
        progress = self.applier(number)
        part = progress.next_part
        if part is None or progress.tallies.chain_id is None:
            return
        try:
            tally = progress.adjusting(PARTS[part], at_ms=1, instance="i")
        except NotAdjusted:
            assert progress.abandoned is not None
            return
        landed = self.append(tally, landings, late=late)
        if landed is not None and answered and landed == progress.next_offset:
            assert progress.fold(landed, tally), "nobody came between"

    @rule(number=st.integers(0, APPLIERS - 1))
    def an_applier_is_killed(self, number: int) -> None:
        self.appliers[number] = Writing()

    @rule(number=st.integers(0, APPLIERS - 1), answered=st.booleans())
    def an_applier_gives_up(self, number: int, *, answered: bool) -> None:
        progress = self.applier(number)
        if progress.accepted and progress.next_part is not None and progress.abandoned is None:
            self.append(progress.abandoning(at_ms=1, instance="i"), 1, late=not answered)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def an_append_of_long_ago_lands(self, data: st.DataObject) -> None:
        self.log.append(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    # What must be true

    @invariant()
    def each_part_counts_at_most_once_in_order_and_none_behind_the_end(self) -> None:
        found = [self.log[offset].adjustment for offset in self.accepted()]
        parts = [(each.kind, each.part) for each in found if each is not None]
        written = [part for kind, part in parts if kind is not AdjustmentKind.ABANDON]
        assert written == list(range(len(written)))
        ends = [place for place, (kind, _) in enumerate(parts) if kind is AdjustmentKind.ABANDON]
        assert ends in ([], [len(parts) - 1]), "a plan ends once, and nothing comes behind that"

    @invariant()
    def the_chain_is_unbroken(self) -> None:
        end = 0
        for offset in self.accepted():
            assert self.log[offset].link.start == end
            end = self.log[offset].link.end

    @invariant()
    def every_reader_agrees_wherever_it_begins(self) -> None:
        accepted, whole = self.accepted(), self.fold_from(0, len(self.log))
        for begin in accepted:
            fold = self.fold_from(begin, len(self.log))
            assert (fold.chain.head, fold.chain.end, fold.chain_id) == (whole.chain.head, whole.chain.end, whole.chain_id)

    @invariant()
    def what_a_record_names_is_accepted(self) -> None:
        accepted = {NO_OFFSET, *self.accepted()}
        assert all({tally.link.previous, tally.checkpoint} <= accepted for tally in self.log)

    def teardown(self) -> None:
        """In the end somebody applies what is left, with every append answered."""
        progress = PlanProgress(PLAN, self.fold_from(0, 0))
        for offset, tally in enumerate(self.log):
            progress.fold(offset, tally)
        while progress.next_part is not None and progress.abandoned is None:
            tally = progress.adjusting(PARTS[progress.next_part], at_ms=1, instance="i")
            assert progress.fold(progress.next_offset, tally)
            self.log.append(tally)
        taken = sum(row.quantity for offset in self.accepted() for row in self.log[offset].rows if row.quantity < 0)
        assert taken == (-111 if progress.abandoned is None else -sum(10**part for part in progress.accepted))


AdjustedChain.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAdjustedChain = AdjustedChain.TestCase
