"""A ledger that moves to another cluster while reporters of the old one go on: Stripe has every unit once.

The reporters, the takeover, the closing and the adoption are the real ones, on logs in memory.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.kafka.partition_log import Appended, LogUnavailable
from metering.kafka.topics import topics_named
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import LedgerClosed
from metering.records.ledger_records import Intent, Outcome, Receipt, Settlement, encode_intent, encode_receipt
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, decode_tally, encode_tally
from reporter.adopting import HandoverRequest, LedgerMove
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter, open_meter_events
from reporter.takeover import ReportingTakeover
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryAppender, MemoryLog, finished
from tests.support.reporter_planning import NOW_MS

TOPICS: Final = topics_named("usage")
EVENTS, TALLIES, LEDGER, *_ = (spec.name for spec in TOPICS)
DISTURBED_MAX: Final = 4
REQUEST: Final = HandoverRequest("moved", "ann")


class Stripe:
    """Knows identifiers. What it has was never sent with another value."""

    def __init__(self) -> None:
        self.books: dict[str, int] = {}

    def send(self, identifier: str, value: int) -> Outcome:
        if identifier in self.books:
            assert self.books[identifier] == value
            return Outcome.DUPLICATE
        self.books[identifier] = value
        return Outcome.ACCEPTED


class Cluster:
    """One partition of the topics. Its tallies count one event each, of one unit more than the one before."""

    def __init__(self) -> None:
        self.log = MemoryLog()

    def count(self) -> None:
        number = len(self.log.topics.get(TALLIES, []))
        self.log.append(EVENTS, b"{}", at_ms=1)
        row = TallyRow("cus", "tokens", (), NOW_MS - number % 3 * MINUTE_MS, number + 1, 1)
        link = ChainLink(number, number + 1, number - 1 if number else NO_OFFSET)
        counts = (RecordCounts(singles=1), EventCounts(counted=1), [row])
        self.log.append(TALLIES, encode_tally(Tally("c", 0, link, NO_OFFSET, "a", "k", NOW_MS, *counts)), at_ms=1)

    def end(self, topic: str) -> int:
        return len(self.log.topics.get(topic, []))

    def copied(self, last: int) -> "Cluster":
        """A copy of all events and tallies, and of the ledger up to its entry `last`."""
        found = Cluster()
        for topic, end in ((EVENTS, self.end(EVENTS)), (TALLIES, self.end(TALLIES)), (LEDGER, last + 1)):
            found.log.topics[topic] = list(self.log.topics.get(topic, [])[:end])
        return found


class Process:
    """A reporter that may be late in everything it does."""

    def __init__(self, name: str, cluster: Cluster, stripe: Stripe) -> None:
        self.cluster = cluster
        self.reporter: PartitionReporter | None = None
        self.unsent: list[int] = []
        self._stripe = stripe
        self._takeover = ReportingTakeover(cluster.log, TOPICS, instance=name, rows_max=1_000, periods=BillingPeriods())

    def step(self, what: str) -> None:
        try:
            if self.reporter is None:
                self.take_over()
            elif what == "plan":
                self.plan(self.reporter)
            elif what == "send":
                self.send(self.reporter)
            elif what == "follow":
                finished(self._takeover.follow(self.reporter))
            else:
                self.reporter, self.unsent = None, []
        except LedgerClosed:
            self.reporter, self.unsent = None, []

    def take_over(self) -> None:
        reporter = finished(self._takeover.take_over(0))
        if reporter.ledger.open:
            self.append(reporter, reporter.receipt([]))
        self.reporter, self.unsent = reporter, list(reporter.ledger.open)

    def plan(self, reporter: PartitionReporter) -> None:
        for record in self.cluster.log.topics.get(TALLIES, [])[reporter.tally_position :]:
            assert record is not None
            reporter.add(record.offset, decode_tally(record.value))
        intent = reporter.plan(NOW_MS, 100, 100)
        if intent is None:
            return
        offset = self.cluster.end(LEDGER)
        if self.append(reporter, intent):
            self.unsent.append(offset)
        else:
            self.reporter, self.unsent = None, []

    def send(self, reporter: PartitionReporter) -> None:
        """One intent's meter events, and what became of them."""
        if not self.unsent:
            return
        offset = self.unsent.pop(0)
        told = []
        for index, event in open_meter_events(reporter.ledger, offset):
            outcome = self._stripe.send(reporter.ledger.open[offset].entry.identifier(index), event.value)
            told.append(Settlement(offset, index, outcome, NOW_MS))
        self.append(reporter, reporter.receipt(told))

    def append(self, reporter: PartitionReporter, entry: Intent | Receipt) -> bool:
        value = encode_intent(entry) if isinstance(entry, Intent) else encode_receipt(entry)
        landed = self.cluster.log.append(LEDGER, value, at_ms=NOW_MS)
        if landed.offset == reporter.ledger.chain.next_offset:
            return reporter.observe(landed.offset, NOW_MS, entry, mine=True)
        return finished(self._takeover.catch_up(reporter, entry, landed.offset, NOW_MS))


class BusyAppender(MemoryAppender):
    """Others' entries come before, and answers get lost."""

    def __init__(self, log: MemoryLog, data: st.DataObject, others: list[Process]) -> None:
        super().__init__(log, NOW_MS)
        self._data = data
        self._others = others
        self._calls = 0

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        self._calls += 1
        if self._calls > DISTURBED_MAX:
            return await super().append(topic, partition, value, key=key, headers=headers)
        for process in self._others:
            if self._data.draw(st.booleans()):
                process.step(self._data.draw(STEPS))
        if self._data.draw(st.integers(0, 4)) == 0:
            raise LogUnavailable("it did not arrive")
        landed = await super().append(topic, partition, value, key=key, headers=headers)
        if self._data.draw(st.integers(0, 4)) == 0:
            raise LogUnavailable("it arrived, and the answer did not")
        return landed


STEPS: Final = st.sampled_from(("plan", "plan", "send", "send", "follow", "die"))


class QuickClock(ManualClock):
    async def sleep(self, seconds: float) -> None:
        """It has passed."""
        self.advance(seconds)


def moved(cluster: Cluster, data: st.DataObject, others: list[Process]) -> LedgerMove:
    return LedgerMove(cluster.log, BusyAppender(cluster.log, data, others), TOPICS, QuickClock())


@given(st.data())
def test_every_unit_is_told_once_whatever_the_reporters_of_the_old_cluster_do(data: st.DataObject) -> None:
    stripe, old = Stripe(), Cluster()
    before = [Process(name, old, stripe) for name in ("a", "b")]
    for _ in range(data.draw(st.integers(0, 8))):
        old.count()
        data.draw(st.sampled_from(before)).step(data.draw(STEPS))
    closing = finished(moved(old, data, before).close(0, "new", REQUEST))
    again = finished(moved(old, data, before).close(0, "new", REQUEST))
    assert again == closing
    new = old.copied(closing.place.offset)
    adopted = finished(moved(new, data, []).adopt(0, "old", REQUEST))
    assert finished(moved(new, data, []).adopt(0, "old", REQUEST)) == adopted
    assert (adopted.closing, adopted.in_doubt, adopted.uncounted) == (closing.place.offset, [], 0)

    after = [Process(name, new, stripe) for name in ("c", "d")]
    for _ in range(data.draw(st.integers(0, 15))):
        data.draw(st.sampled_from((old.count, new.count)))()
        data.draw(st.sampled_from((*before, *after))).step(data.draw(STEPS))
    last = Process("e", new, stripe)
    for step in ("take over", "plan", *["send"] * 40):
        last.step(step)
    assert sum(stripe.books.values()) == sum(range(1, new.end(TALLIES) + 1))


@given(st.data())
def test_without_a_closing_what_is_told_twice_is_at_most_what_is_in_doubt(data: st.DataObject) -> None:
    stripe, old = Stripe(), Cluster()
    before = [Process(name, old, stripe) for name in ("a", "b")]
    for _ in range(data.draw(st.integers(1, 8))):
        old.count()
        data.draw(st.sampled_from(before)).step(data.draw(STEPS))
    new = old.copied(data.draw(st.integers(-1, old.end(LEDGER) - 1)))
    adopted = finished(moved(new, data, []).adopt(0, "", REQUEST))
    assert not adopted.is_closed
    last = Process("e", new, stripe)
    counted = sum(range(1, new.end(TALLIES) + 1))
    with suppress(AssertionError):  # an identifier that both used with other units: Stripe refuses it, and neither is told twice
        for step in ("take over", "plan", *["send"] * 40):
            last.step(step)
    assert sum(stripe.books.values()) <= counted + sum(units for _, units in adopted.in_doubt)
