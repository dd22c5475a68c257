"""Where records that were counted are gone or damaged, their tally has no proof, and all others have."""

import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.repair import AcceptingLoss
from audit.recount.published_versions import PublishedVersions
from audit.recount.written_links import WrittenLinks
from audit.verification.emitters import EmitterBook
from audit.verification.partition import PartitionVerification, Readers, VerificationScope
from audit.verification.report import Report
from audit.verification.span import EVERYTHING
from metering.kafka.topics import topics_named
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, HORIZON_MS
from tests.support.metering_memory_log import MemoryAppender, finished

TOPICS = topics_named("usage")


def verified(partition: Partition) -> Report:
    log, report = partition.log, Report()
    readers = Readers(log, log, log)
    verification = PartitionVerification(
        0,
        readers=readers,
        scope=VerificationScope(TOPICS, 1, EVERYTHING, PublishedVersions(), WrittenLinks()),
        bounds=finished(readers.bounds(TOPICS, 0)),
        emitters=EmitterBook(),
        report=report,
        on_records=lambda _count: None,
    )
    finished(verification.run())
    return report


def counted(*waits_ms: int) -> Partition:
    partition = Partition()
    counter = partition.owner()
    for number, wait_ms in enumerate(waits_ms):
        partition.emit(f"e{number}", wait_ms=wait_ms)
        partition.flush(counter)
    return partition


def test_nothing_is_wrong_where_nothing_is_gone() -> None:
    report = verified(counted(1, 1, HOUR_MS))
    assert (report.problems.shown, report.underived.tallies, report.tallies) == ([], 0, 3)


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_records_that_are_gone_cost_their_tally_its_proof_and_no_other(how: str) -> None:
    partition = counted(1, 1, HOUR_MS)
    if how == "lost":
        partition.log.lose(EVENTS, 1)
    else:
        partition.log.damaged[EVENTS] = range(1, 2)
    report = verified(partition)
    (problem,) = report.problems.shown
    assert problem.startswith("tally 1 of partition 0 (records 1 to 1) cannot be counted again: offset 1 of usage.events")
    assert (report.underived.tallies, report.underived.units["tokens"], report.tallies) == (1, 1, 3)
    assert report.meters["tokens"].counted == 3


def test_records_that_are_gone_are_no_discrepancy_once_a_person_accepted_that_their_ids_are_not_known() -> None:
    partition = counted(1, 1, HOUR_MS)
    partition.log.lose(EVENTS, 1)
    accepting = AcceptingLoss(partition.log, TOPICS, 0, horizon_ms=HORIZON_MS, clock=SystemClock())
    finished(accepting.accept(finished(accepting.find()), MemoryAppender(partition.log, partition.now_ms), reason="compacted", by="ann"))
    report = verified(partition)
    assert (report.problems.shown, report.underived.tallies, len(report.losses)) == ([], 1, 1)
