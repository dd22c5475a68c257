"""Taking over a partition of the ledger: from its last checkpoint, and stopping where the log cannot tell."""

from dataclasses import replace

import pytest

from metering.kafka.topics import topics_named
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordCorrupt
from metering.records.ledger_records import Outcome, Settlement, encode_intent, encode_receipt, encode_rejection
from metering.records.notes.foreign_records import PassedOver, digest_of_value, encode_decision
from metering.records.tally import encode_tally
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter
from reporter.takeover import ReportingTakeover
from tests.support.metering_ledger_entries import REJECTION
from tests.support.metering_memory_log import MemoryLog, finished
from tests.support.reporter_planning import NOW_MS, planned, tally

TOPICS = topics_named("usage")
TALLIES, LEDGER = TOPICS.tallies.name, TOPICS.ledger.name


class Partition:
    """One partition's tallies and ledger."""

    def __init__(self, tallies: int = 0) -> None:
        self.log = MemoryLog()
        self.log.topics = {TALLIES: [], LEDGER: []}
        self.tallies = [tally(number, number - 1, number + 1) for number in range(tallies)]
        for found in self.tallies:
            self.log.append(TALLIES, encode_tally(found), at_ms=NOW_MS)
        self.takeover = ReportingTakeover(self.log, TOPICS, instance="r", rows_max=100, periods=BillingPeriods())

    def owner(self) -> PartitionReporter:
        return finished(self.takeover.take_over(0))

    def report(self, subject: PartitionReporter, up_to: int) -> bool:
        for offset in range(subject.tally_position, up_to):
            subject.add(offset, self.tallies[offset])
        intent = planned(subject)
        offset = self.log.append(LEDGER, encode_intent(intent), at_ms=NOW_MS).offset
        return finished(self.takeover.catch_up(subject, intent, offset, NOW_MS))

    def settle(self, subject: PartitionReporter, intent: int, index: int = 0) -> None:
        receipt = subject.receipt([Settlement(intent, index, Outcome.ACCEPTED, NOW_MS)])
        offset = self.log.append(LEDGER, encode_receipt(receipt), at_ms=NOW_MS).offset
        finished(self.takeover.catch_up(subject, receipt, offset, NOW_MS))


def test_the_first_owner_begins_with_the_first_tally() -> None:
    assert Partition().owner().tally_position == 0


def test_a_new_owner_knows_what_is_open_and_where_the_tallies_go_on() -> None:
    partition = Partition(3)
    subject = partition.owner()
    assert partition.report(subject, 1)
    assert partition.report(subject, 2)
    partition.settle(subject, 0)
    owner = partition.owner()
    assert (owner.tally_position, list(owner.ledger.open)) == (2, [1])
    assert partition.report(owner, 3)
    assert not partition.report(subject, 3)


def test_a_new_owner_reads_no_entry_before_the_checkpoint() -> None:
    partition = Partition(20)
    subject = partition.owner()
    for number in range(20):
        partition.report(subject, number + 1)
        if number != 15:
            partition.settle(subject, subject.ledger.chain.head)
    partition.log.reads.clear()
    open_one = next(iter(partition.owner().ledger.open))
    assert min(start for topic, start, _ in partition.log.reads if topic == LEDGER) == open_one > 25


def test_a_ledger_that_retention_deleted_stops_the_owner() -> None:
    partition = Partition(2)
    subject = partition.owner()
    partition.report(subject, 1)
    partition.settle(subject, 0)
    partition.log.delete_before(LEDGER, 2)
    with pytest.raises(HistoryLost, match="the whole ledger"):
        partition.owner()


def test_open_entries_that_retention_deleted_stop_the_owner() -> None:
    partition = Partition(2)
    subject, second = partition.owner(), partition.owner()
    partition.report(subject, 1)
    partition.report(second, 1)  # lost; written by one who knew of no entry
    partition.log.delete_before(LEDGER, 1)
    with pytest.raises(HistoryLost, match="still open"):
        partition.owner()


def test_tallies_deleted_before_they_were_reported_stop_the_owner() -> None:
    partition = Partition(3)
    partition.report(partition.owner(), 1)
    partition.log.delete_before(TALLIES, 2)
    with pytest.raises(HistoryLost, match="tallies 1 to 1"):
        partition.owner()


def test_tallies_that_were_cut_or_made_anew_stop_the_owner() -> None:
    partition = Partition(3)
    partition.report(partition.owner(), 3)
    partition.log.topics[TALLIES].pop()
    with pytest.raises(ChainBroken, match="created again"):
        partition.owner()


def test_an_entry_that_cannot_be_read_stops_the_owner_until_a_person_passes_over_it() -> None:
    partition = Partition()
    value = partition.log.append(LEDGER, b'{"format":"intent/1","chain":"c","partition":0}', at_ms=NOW_MS).value
    with pytest.raises(RecordCorrupt, match=r"offset 0 of usage.ledger/0: not a ledger entry"):
        partition.owner()
    seen = finished(partition.takeover.ends(0))
    assert finished(partition.takeover.mended(0, seen)) == (False, seen)
    partition.log.append(LEDGER, encode_decision(PassedOver(0, 0, digest_of_value(value), "why", "ann", NOW_MS)), at_ms=NOW_MS)
    assert finished(partition.takeover.mended(0, seen))[0]
    assert partition.owner().ledger.chain.next_offset == 2


def test_foreign_entries_are_passed_over_and_told_of_once() -> None:
    partition = Partition(2)
    told: list[int] = []
    takeover = partition.takeover = ReportingTakeover(
        partition.log, TOPICS, instance="r", rows_max=100, periods=BillingPeriods(), on_foreign=told.append
    )
    subject = partition.owner()
    for value in (None, b"{", b'{"format":"intent/7"}'):
        partition.log.append(LEDGER, value, at_ms=NOW_MS)
    assert partition.report(subject, 1)
    assert told == [0, 0, 0]
    partition.log.append(LEDGER, b"\xff", at_ms=NOW_MS)
    for _ in range(2):
        finished(takeover.follow(subject))
    assert told == [0, 0, 0, 0]
    assert partition.owner().ledger.chain == subject.ledger.chain


def test_a_checkpoint_that_is_no_intent_stops_the_owner() -> None:
    partition = Partition(1)
    subject = partition.owner()
    partition.report(subject, 1)
    partition.settle(subject, 0)
    partition.log.append(LEDGER, encode_receipt(replace(subject.receipt([]), checkpoint=1)), at_ms=NOW_MS)
    with pytest.raises(RecordCorrupt, match="is no intent"):
        partition.owner()


def test_its_own_receipt_after_the_takeover_is_not_believed_when_it_says_refused() -> None:
    partition = Partition(1)
    before = partition.owner()
    partition.report(before, 1)
    late = encode_receipt(before.receipt([Settlement(0, 0, Outcome.REJECTED, NOW_MS)]))
    after = partition.owner()
    claim = after.receipt([])
    finished(partition.takeover.catch_up(after, claim, partition.log.append(LEDGER, encode_receipt(claim), at_ms=NOW_MS).offset, NOW_MS))
    partition.log.append(LEDGER, late, at_ms=NOW_MS)
    owner = finished(partition.takeover.take_over(0))
    assert owner.ledger.settled == {Outcome.PARKED: 1}


def test_a_new_owner_finds_its_checkpoint_behind_any_number_of_rejections() -> None:
    partition = Partition(2)
    subject = partition.owner()
    partition.report(subject, 1)
    partition.report(subject, 2)
    partition.settle(subject, 0)
    for _ in range(70):
        partition.log.append(LEDGER, encode_rejection(REJECTION), at_ms=NOW_MS)
    partition.log.reads.clear()
    owner = partition.owner()
    assert (owner.tally_position, list(owner.ledger.open), owner.ledger.chain.next_offset) == (2, [1], 73)
    assert not owner.ledger.open[1].contested


def test_a_ledger_of_nothing_but_rejections_says_nothing_of_what_is_reported() -> None:
    partition = Partition(1)
    partition.log.append(LEDGER, encode_rejection(REJECTION), at_ms=NOW_MS)
    owner = partition.owner()
    assert owner.tally_position == 0
    assert partition.report(owner, 1)
    assert list(partition.owner().ledger.open) == [1]
    partition.log.topics[LEDGER].pop()
    partition.log.append(LEDGER, encode_rejection(REJECTION), at_ms=NOW_MS)
    partition.log.delete_before(LEDGER, 1)
    with pytest.raises(HistoryLost, match="the whole ledger"):
        partition.owner()
