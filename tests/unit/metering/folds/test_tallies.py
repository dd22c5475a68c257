"""The fold of usage.tallies knows where the chain goes on, wherever it began."""

from dataclasses import replace

import pytest

from metering.folds.tallies import Tallies, tallies_after, tallies_from
from metering.records.chain import NO_OFFSET, Chain, ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.tally import Acceptance, EmitterState, EventCounts, Losses, RecordCounts, Tally, TallyRow
from tests.support.metering_tallies import an_adjustment


def tally(start: int, end: int, previous: int, *, chain_id: str = "c", checkpoint: int = NO_OFFSET, whole: bool = False) -> Tally:
    return Tally(
        chain_id=chain_id,
        partition=0,
        link=ChainLink(start, end, previous),
        checkpoint=checkpoint,
        instance="i",
        catalogue="k",
        log_time_ms=end,
        records=RecordCounts(singles=end - start),
        events=EventCounts(counted=end - start),
        rows=[],
        emitter_states=[EmitterState("e", ((0, 3),), 5)] if whole else None,
    )


LOG = [
    tally(0, 3, NO_OFFSET, whole=True),
    tally(0, 2, NO_OFFSET, chain_id="a second founder's"),
    tally(3, 5, 0, checkpoint=0),
    tally(3, 4, 0, checkpoint=0, whole=True),  # lost the race: its states do not count
    tally(5, 5, 2, checkpoint=0, whole=True),
    tally(5, 9, 2, checkpoint=0),
]


def folded(tallies: Tallies, end: int = len(LOG)) -> Tallies:
    for offset in range(tallies.chain.next_offset, end):
        tallies.fold(offset, LOG[offset])
    return tallies


def test_the_fold_follows_the_accepted_tallies_only() -> None:
    tallies = folded(Tallies())
    assert (tallies.chain.head, tallies.chain.end, tallies.chain.skipped) == (5, 9, 2)
    assert (tallies.chain_id, tallies.checkpoint, tallies.log_time_ms) == ("c", 4, 9)


@pytest.mark.parametrize("offset", [0, 2, 4, 5])
def test_a_fold_that_begins_at_any_accepted_tally_ends_like_one_from_the_start(offset: int) -> None:
    whole, partly = folded(Tallies()), folded(tallies_from(offset, LOG[offset]))
    assert (partly.chain.head, partly.chain.end, partly.chain_id, partly.log_time_ms) == (
        whole.chain.head,
        whole.chain.end,
        whole.chain_id,
        whole.log_time_ms,
    )
    assert partly.checkpoint == (4 if offset < 5 else 0)  # an accepted one in any case: the one known, or the one that the tally names


def test_a_fold_that_knows_the_last_accepted_tally_goes_on_from_there() -> None:
    tallies = folded(tallies_after(head=2, end=5, next_offset=3, chain_id="c"))
    assert (tallies.chain.head, tallies.chain.end) == (5, 9)


def test_a_tally_of_another_chain_that_would_continue_this_one_stops_the_reader() -> None:
    tallies = folded(Tallies())
    with pytest.raises(ChainBroken, match="is of chain other"):
        tallies.fold(6, tally(9, 10, 5, chain_id="other"))


def test_a_writer_that_was_frozen_does_not_undo_an_acceptance_that_it_does_not_know() -> None:
    tallies = folded(Tallies(), 3)
    who = Acceptance(by="ada", reason="retention", at_ms=7)
    accepted = replace(tally(5, 5, 2), losses=Losses(ids_from_ms=4_000), acceptance=who)
    assert tallies.fold(3, accepted)
    assert tallies.fold(4, tally(5, 9, 2))
    assert (tallies.losses.ids_from_ms, tallies.losses.last) == (4_000, 3)


LESS = TallyRow("cus_1", "tokens", (), 0, -40, -2)


def adjustment(offset: int, end: int = 9, *, previous: int = 5, chain_id: str = "c") -> Tally:
    return an_adjustment([LESS], offset=offset, end=end, chain_id=chain_id, link=ChainLink(end, end, previous), log_time_ms=9, checkpoint=4)


def test_an_adjustment_is_accepted_where_it_names_and_nowhere_else() -> None:
    tallies = folded(Tallies())
    assert not tallies.fold(6, adjustment(7))
    assert tallies.fold(7, adjustment(7))
    assert not tallies.fold(8, adjustment(7)), "the copy of an append whose acknowledgement was lost"
    assert (tallies.chain.head, tallies.chain.end, tallies.chain.skipped, tallies.checkpoint) == (7, 9, 4, 4)


@pytest.mark.parametrize("forged", [adjustment(6, 8), adjustment(6, 10), adjustment(6, chain_id="other")])
def test_an_adjustment_of_another_end_or_chain_is_passed_over(forged: Tally) -> None:
    tallies = folded(Tallies())
    assert not tallies.fold(6, forged)
    assert (tallies.chain.head, tallies.chain.next_offset) == (5, 7)


def test_an_adjustment_founds_no_chain() -> None:
    tallies = Tallies(chain=Chain(next_offset=3))
    assert not tallies.fold(3, adjustment(3, 0, previous=2))
    assert tallies.chain.head == NO_OFFSET


def test_the_tally_that_was_cut_before_an_adjustment_is_accepted_behind_it() -> None:
    tallies = folded(Tallies())
    assert tallies.fold(6, adjustment(6))
    assert tallies.fold(7, tally(9, 12, 5, checkpoint=4))
    assert (tallies.chain.head, tallies.chain.end) == (7, 12)


@pytest.mark.parametrize("begin", [4, 5, 6])
def test_a_reader_that_begins_behind_a_lost_copy_or_at_the_adjustment_itself_decides_alike(begin: int) -> None:
    log = [*LOG, adjustment(6), adjustment(6), tally(9, 12, 5, checkpoint=4), adjustment(9, 12, previous=8)]
    partly = tallies_from(begin, log[begin])
    assert [offset for offset in range(begin, len(log)) if partly.fold(offset, log[offset])] == [each for each in (4, 5, 6, 8, 9) if each >= begin]
