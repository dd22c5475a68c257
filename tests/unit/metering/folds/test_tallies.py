"""The fold of usage.tallies knows where the chain goes on, wherever it began."""

from dataclasses import replace

import pytest

from metering.folds.tallies import Tallies, tallies_after, tallies_from
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.tally import Acceptance, EmitterState, EventCounts, Losses, RecordCounts, Tally


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
