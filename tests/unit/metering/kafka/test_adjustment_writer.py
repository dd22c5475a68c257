"""Each part of a plan is written once, whatever becomes of the appends and whoever writes beside."""

from dataclasses import replace

import pytest

from metering.folds.plan_progress import BegunPlan, NotAdjusted, PlanProgress
from metering.folds.tallies import Tallies
from metering.kafka.adjustment_writer import PART_ATTEMPTS_MAX
from metering.kafka.partition_log import LogUnavailable
from metering.records.adjustment import Adjustment, AdjustmentKind
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.tally import decode_tally, encode_tally
from tests.support.metering_memory_log import MemoryLog, finished
from tests.support.plan_writing import TALLIES, FaultyAppender, a_part, a_plan, flush, folded, no_brake, writer

PARTS = [a_part(-40), a_part(-2), a_part(7)]
PLAN = a_plan(PARTS)


def a_log(tallies: int = 3) -> MemoryLog:
    log = MemoryLog()
    for _ in range(tallies):
        flush(log)
    return log


def apply(log: MemoryLog, appender: FaultyAppender, position: int = 3) -> PlanProgress:
    return finished(writer(log, appender).apply(PLAN, position, PARTS.__getitem__, no_brake))


def parts_in(log: MemoryLog) -> list[int]:
    return [adjustment.part for adjustment in folded(log)[1]]


def test_all_parts_are_written_in_order_and_a_second_time_none() -> None:
    log = a_log()
    assert apply(log, FaultyAppender(log)).accepted == {0: 3, 1: 4, 2: 5}
    again = FaultyAppender(log)
    assert apply(log, again).accepted == {0: 3, 1: 4, 2: 5}
    assert (again.appends, parts_in(log)) == (0, [0, 1, 2])
    (first, *others) = folded(log)[1]
    assert (first.header, [part.header for part in others]) == (PLAN.header, [None, None])


@pytest.mark.parametrize("answers", [["unanswered"], ["lost"], ["lost", "unanswered", "ok", "unanswered", "lost", "lost"], ["unanswered"] * 3])
def test_an_append_that_nobody_answers_is_looked_for_in_the_log(answers: list[str]) -> None:
    log = a_log()
    apply(log, FaultyAppender(log, answers))
    assert parts_in(log) == [0, 1, 2]
    assert folded(log)[0].chain.skipped == 0


@pytest.mark.parametrize(("arrives", "skipped"), [(1, 1), (2, 2), (3, 2)])
def test_an_append_that_comes_late_counts_where_it_was_meant_for_or_nowhere(arrives: int, skipped: int) -> None:
    log = a_log()
    appender = FaultyAppender(log, ["late"], lambda number: appender.arrive() if number == arrives else None)
    apply(log, appender)
    assert (parts_in(log), folded(log)[0].chain.skipped) == ([0, 1, 2], skipped)


def test_a_race_that_is_lost_to_an_aggregator_is_run_again() -> None:
    log = a_log()
    apply(log, FaultyAppender(log, before=lambda number: flush(log) if number in {0, 1, 3} else None))
    assert (parts_in(log), folded(log)[0].chain.skipped) == ([0, 1, 2], 3)


def test_a_second_writer_that_is_ahead_is_followed() -> None:
    log = a_log()
    other = FaultyAppender(log)
    held: list[PlanProgress] = []

    async def brake(progress: PlanProgress) -> None:
        held.append(progress)
        if len(held) == 2:
            await writer(log, other).apply(PLAN, 3, PARTS.__getitem__, no_brake)

    first = FaultyAppender(log)
    finished(writer(log, first).apply(PLAN, 3, PARTS.__getitem__, brake))
    assert (parts_in(log), first.appends, other.appends, len(held)) == ([0, 1, 2], 1, 2, 2)


def test_a_brake_that_ends_it_leaves_whole_parts_and_another_apply_goes_on() -> None:
    log = a_log()

    async def brake(progress: PlanProgress) -> None:
        if len(progress.accepted) == 2:
            raise NotAdjusted("an invoice closes")

    with pytest.raises(NotAdjusted, match="an invoice closes"):
        finished(writer(log, FaultyAppender(log)).apply(PLAN, 3, PARTS.__getitem__, brake))
    assert parts_in(log) == [0, 1]
    apply(log, FaultyAppender(log))
    assert parts_in(log) == [0, 1, 2]


def test_what_comes_while_the_brake_holds_is_read_first() -> None:
    log = a_log()

    async def brake(_progress: PlanProgress) -> None:
        flush(log)

    appender = FaultyAppender(log)
    finished(writer(log, appender).apply(PLAN, 3, PARTS.__getitem__, brake))
    assert (appender.appends, folded(log)[0].chain.skipped) == (3, 0)


@pytest.mark.parametrize("position", [1, 2, 3, 5, 8])
def test_it_reads_from_the_checkpoint_before_the_plan_s_position(position: int) -> None:
    log = a_log(8)
    apply(log, FaultyAppender(log), position)
    assert parts_in(log) == [0, 1, 2]
    log.reads.clear()
    assert finished(writer(log, FaultyAppender(log)).progress(PLAN, position)).next_part is None
    assert min(start for _, start, end in log.reads if end > 8) == (position - 1) // 3 * 3 if position > 3 else True


def test_an_offset_without_a_record_at_the_end_of_the_log_is_counted_in() -> None:
    log = a_log()
    log.skip(TALLIES)
    apply(log, FaultyAppender(log))
    assert (parts_in(log), folded(log)[0].chain.skipped) == ([0, 1, 2], 0)


def test_appends_that_never_arrive_end_after_some_attempts() -> None:
    log = a_log()
    appender = FaultyAppender(log, ["lost"] * 99)
    with pytest.raises(LogUnavailable, match="apply the plan again"):
        apply(log, appender)
    assert (appender.appends, parts_in(log)) == (PART_ATTEMPTS_MAX, [])


def test_a_topic_that_was_cut_a_lost_one_and_an_empty_one_are_not_adjusted() -> None:
    with pytest.raises(ChainBroken, match="cut or created again"):
        apply(a_log(2), FaultyAppender(a_log()))
    with pytest.raises(NotAdjusted, match="nothing was counted"):
        apply(MemoryLog(), FaultyAppender(MemoryLog()), 0)
    log = a_log()
    log.delete_before(TALLIES, 1)
    with pytest.raises(HistoryLost):
        apply(log, FaultyAppender(log), 1)


def test_a_plan_whose_file_was_changed_is_not_written() -> None:
    with pytest.raises(NotAdjusted, match="plan again"):
        replace(PLAN, digests=PLAN.digests[:2])
    with pytest.raises(NotAdjusted, match="not written by this program"):
        replace(PLAN, header="{}")
    log = a_log()
    with pytest.raises(NotAdjusted, match="damaged"):
        finished(writer(log, FaultyAppender(log)).apply(PLAN, 3, [PARTS[0], a_part(-3), PARTS[2]].__getitem__, no_brake))
    assert parts_in(log) == [0]


def test_a_part_in_the_log_that_is_not_this_plan_s_stops_it() -> None:
    log = a_log()
    apply(log, FaultyAppender(log))
    record = log.topics[TALLIES][4]
    assert record is not None
    tally = decode_tally(record.value)
    assert isinstance(tally.adjustment, Adjustment)
    forged = replace(tally, adjustment=replace(tally.adjustment, digest="0" * 32))
    log.topics[TALLIES][4] = replace(record, value=encode_tally(forged))
    with pytest.raises(NotAdjusted, match="is not the part of this plan"):
        apply(log, FaultyAppender(log))


def test_an_abandoned_plan_gets_no_more_parts() -> None:
    log = a_log()
    stopping = FaultyAppender(log, ["ok", *["lost"] * 99])
    with pytest.raises(LogUnavailable):
        apply(log, stopping)
    for _ in range(2):
        found = finished(writer(log, FaultyAppender(log, ["unanswered"])).abandon(PLAN, 3))
        assert found.abandoned is not None
    assert [(each.kind, each.part, each.parts) for each in folded(log)[1]] == [(AdjustmentKind.TAKE_OUT, 0, 3), (AdjustmentKind.ABANDON, 1, 1)]
    with pytest.raises(NotAdjusted, match="was abandoned by ann"):
        apply(log, FaultyAppender(log))


def test_a_plan_that_is_done_cannot_be_abandoned() -> None:
    log = a_log()
    apply(log, FaultyAppender(log))
    appender = FaultyAppender(log)
    assert finished(writer(log, appender).abandon(PLAN, 3)).abandoned is None
    assert appender.appends == 0


def test_a_plan_that_began_elsewhere_is_abandoned_here_too() -> None:
    log = a_log()
    begun = BegunPlan(PLAN.partition, PLAN.header, PLAN.kind, (), "not needed", "ben")
    assert finished(writer(log, FaultyAppender(log)).abandon(begun, 3)).abandoned is not None
    assert [(each.kind, each.part, each.parts) for each in folded(log)[1]] == [(AdjustmentKind.ABANDON, 0, 0)]
    with pytest.raises(NotAdjusted, match="was abandoned by ben"):
        apply(log, FaultyAppender(log))


def test_a_plan_whose_rows_are_not_at_hand_can_only_be_abandoned() -> None:
    log = a_log()
    begun = BegunPlan(PLAN.partition, PLAN.header, PLAN.kind, PLAN.digests[:1], "not needed", "ben")
    with pytest.raises(NotAdjusted, match="part 1 of plan"):
        finished(writer(log, FaultyAppender(log)).apply(begun, 3, PARTS.__getitem__, no_brake))
    assert finished(writer(log, FaultyAppender(log)).abandon(begun, 3)).abandoned is not None
    assert [each.part for each in folded(log)[1]] == [0, 1]


@pytest.mark.parametrize("number", [0, 1])
def test_another_plan_that_comes_between_is_told_before_the_next_part_is_written(number: int) -> None:
    log = a_log()
    rival = a_plan([a_part(-7)])

    def interfere(append: int) -> None:
        if append == number:
            finished(writer(log, FaultyAppender(log)).apply(rival, 3, lambda _: a_part(-7), no_brake))

    def refuse(_offset: int, adjustment: Adjustment) -> None:
        raise NotAdjusted(f"{adjustment.name} is about the same")

    with pytest.raises(NotAdjusted, match="about the same"):
        finished(writer(log, FaultyAppender(log, before=interfere)).apply(PLAN, 3, PARTS.__getitem__, no_brake, refuse))
    assert [each.plan for each in folded(log)[1]] == [PLAN.plan] * number + [rival.plan]


def test_a_fold_from_a_checkpoint_knows_what_the_next_record_must_say() -> None:
    log = a_log(5)
    found = finished(writer(log, FaultyAppender(log)).progress(PLAN, 5))
    whole = folded(log)[0]
    tally = found.adjusting(PARTS[0], at_ms=1, instance="i")
    assert (tally.chain_id, tally.catalogue, tally.log_time_ms) == (whole.chain_id, whole.catalogue, whole.log_time_ms)
    assert tally.link.previous == whole.chain.head
    assert Tallies().chain_id is None
