"""Closing and adopting one partition: what is refused, and what a copy that was cut shows."""

import pytest

from metering.folds.ledger import Ledger
from metering.kafka.topics import topics_named
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, LedgerClosed
from metering.records.ledger_records import encode_intent
from metering.records.tally import encode_tally
from reporter.adopting import HandoverRequest, LedgerMove, NotAdoptable
from reporter.planning.billing_periods import BillingPeriods
from reporter.takeover import ReportingTakeover
from tests.support.manual_clock import ManualClock
from tests.support.metering_corrections import intent
from tests.support.metering_memory_log import MemoryAppender, MemoryLog, finished
from tests.support.reporter_planning import NOW_MS, tally

TOPICS = topics_named("usage")
EVENTS, TALLIES, LEDGER, *_ = (spec.name for spec in TOPICS)
REQUEST = HandoverRequest("moved", "ann")


def installation(*, events: int, tallies: int) -> MemoryLog:
    """Tallies of one event each; an intent covers the first two."""
    log = MemoryLog()
    for _ in range(events):
        log.append(EVENTS, b"{}", at_ms=1)
    for number in range(tallies):
        log.append(TALLIES, encode_tally(tally(number, number - 1 if number else NO_OFFSET, 5)), at_ms=1)
    planned = intent(Ledger(), 1)
    log.append(LEDGER, encode_intent(planned).replace(b'"events_end":20', b'"events_end":2'), at_ms=1)
    return log


def move(log: MemoryLog) -> LedgerMove:
    return LedgerMove(log, MemoryAppender(log, NOW_MS), TOPICS, ManualClock())


def test_a_state_is_what_is_counted_reported_open_and_waiting() -> None:
    state = finished(move(installation(events=4, tallies=3)).state(0))
    assert (state.head, state.reported_to, state.counted_to, state.uncounted) == (0, 2, 3, 1)
    assert (state.open_meter_events, state.waiting, state.closing, state.adopted) == (1, {"tokens": 5}, None, None)
    assert state.as_json()["waiting"] == {"tokens": 5}


def test_an_empty_partition_is_closed_and_adopted_too() -> None:
    log = MemoryLog()
    log.topics = {EVENTS: [], TALLIES: [], LEDGER: []}
    closing = finished(move(log).close(0, "new", REQUEST))
    adopted = finished(move(log).adopt(0, "old", REQUEST))
    assert (closing.chain_id, adopted.closing, adopted.copied_to) == ("", 0, 0)


def test_a_ledger_is_closed_for_one_cluster_only_and_can_be_opened_again_where_it_is() -> None:
    log = installation(events=3, tallies=3)
    finished(move(log).close(0, "new", REQUEST))
    with pytest.raises(NotAdoptable, match="closed by ann for another cluster, new"):
        finished(move(log).close(0, "newer", REQUEST))
    takeover = ReportingTakeover(log, TOPICS, instance="r", rows_max=100, periods=BillingPeriods())
    with pytest.raises(LedgerClosed, match="goes on in the cluster new"):
        finished(takeover.take_over(0))
    adopted = finished(move(log).adopt(0, "this", REQUEST))
    assert (adopted.closing, adopted.in_doubt) == (1, [])
    assert finished(takeover.take_over(0)).tally_position == 2


@pytest.mark.parametrize(
    ("events", "tallies", "said"),
    [(1, 3, "the copy lacks events"), (3, 1, "the copy lacks tallies")],
)
def test_a_copy_that_lacks_what_it_speaks_of_is_refused(events: int, tallies: int, said: str) -> None:
    with pytest.raises(ChainBroken, match=said):
        finished(move(installation(events=events, tallies=tallies)).state(0))


def test_a_copy_whose_offsets_moved_is_refused() -> None:
    log = installation(events=3, tallies=3)
    log.topics[TALLIES] = log.topics[TALLIES][1:] + log.topics[TALLIES][-1:]
    with pytest.raises(ChainBroken, match="does not keep offsets"):
        finished(move(log).state(0))
