"""Whatever several writers do to each other, all readers see one unbroken chain."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from metering.records.chain import NO_OFFSET, Chain, ChainLink

WRITERS = 3


def accepted_offsets(log: list[ChainLink]) -> list[int]:
    """The rule in its plainest form: the first founder founds; then only what starts where the last one ended."""
    accepted: list[int] = []
    for offset, link in enumerate(log):
        follows = bool(accepted) and link.previous != NO_OFFSET and link.start == log[accepted[-1]].end
        if follows or (not accepted and link.previous == NO_OFFSET):
            accepted.append(offset)
    return accepted


def placed_before(offset: int, link: ChainLink) -> Chain:
    """The fold of a reader who begins at an accepted record."""
    return Chain(next_offset=offset) if link.previous == NO_OFFSET else Chain(head=link.previous, end=link.start, next_offset=offset)


@dataclass
class Writer:
    """What one process believes. `unconfirmed` is its append whose acknowledgement has not come yet, and where it landed (None: nowhere)."""

    view: Chain = field(default_factory=Chain)
    unconfirmed: tuple[ChainLink, int | None] | None = None


class ChainMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[ChainLink] = []
        self.writers = [Writer() for _ in range(WRITERS)]
        self.on_the_way: list[ChainLink] = []

    def fold(self, view: Chain, end: int) -> None:
        for offset in range(view.next_offset, end):
            view.offer(offset, self.log[offset])

    def free(self, number: int) -> Writer:
        """The writer, if it may append: an append that was not confirmed makes it start over first."""
        writer = self.writers[number]
        if writer.unconfirmed is not None:
            self.start_over(number)
        return writer

    @rule(number=st.integers(0, WRITERS - 1), length=st.integers(0, 3), landings=st.integers(0, 2), late=st.booleans())
    def append(self, number: int, length: int, landings: int, late: bool) -> None:
        writer = self.free(number)
        start = max(0, writer.view.end)
        link = ChainLink(start, start + length, writer.view.head)
        landed = None
        for _ in range(landings):
            landed = len(self.log)
            self.log.append(link)
        if late:
            self.on_the_way.append(link)
        writer.unconfirmed = (link, landed)

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def an_append_of_long_ago_lands(self, data: st.DataObject) -> None:
        self.log.append(self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1))))

    @rule(number=st.integers(0, WRITERS - 1))
    def the_acknowledgement_comes(self, number: int) -> None:
        writer = self.writers[number]
        if writer.unconfirmed is None or writer.unconfirmed[1] is None:
            return
        (link, offset), writer.unconfirmed = writer.unconfirmed, None
        assert offset is not None
        nobody_between = offset == writer.view.next_offset
        self.fold(writer.view, offset)
        accepted = writer.view.offer(offset, link)
        assert accepted or not nobody_between
        assert accepted == (offset in accepted_offsets(self.log))

    @rule(number=st.integers(0, WRITERS - 1), records=st.integers(1, 5))
    def read_on(self, number: int, records: int) -> None:
        writer = self.free(number)
        self.fold(writer.view, min(len(self.log), writer.view.next_offset + records))

    @rule(number=st.integers(0, WRITERS - 1))
    def start_over(self, number: int) -> None:
        """As a new owner does: from the record that the last one says it follows."""
        self.writers[number] = writer = Writer()
        if self.log and self.log[-1].previous != NO_OFFSET:
            begin = self.log[-1].previous
            writer.view = placed_before(begin, self.log[begin])
        self.fold(writer.view, len(self.log))
        self.agrees(writer.view)

    def agrees(self, view: Chain) -> None:
        accepted = accepted_offsets(self.log[: view.next_offset])
        assert view.head == (accepted[-1] if accepted else NO_OFFSET)
        assert view.end == (self.log[accepted[-1]].end if accepted else NO_OFFSET)

    @invariant()
    def the_chain_is_unbroken(self) -> None:
        accepted = accepted_offsets(self.log)
        position = 0
        for offset in accepted:
            assert self.log[offset].start == position
            position = self.log[offset].end
        assert all(link.previous == NO_OFFSET or link.previous in accepted for link in self.log)

    @invariant()
    def every_reader_agrees_wherever_it_began(self) -> None:
        accepted = accepted_offsets(self.log)
        for begin in accepted:
            view = placed_before(begin, self.log[begin])
            self.fold(view, len(self.log))
            self.agrees(view)
        whole = Chain()
        self.fold(whole, len(self.log))
        assert whole.skipped == len(self.log) - len(accepted)
        for writer in self.writers:
            self.agrees(writer.view)


ChainMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestChain = ChainMachine.TestCase
