"""The chain, case by case."""

import pytest

from metering.records.chain import NO_OFFSET, Chain, ChainLink
from metering.records.fail_closed import ChainBroken


def test_a_second_founder_is_skipped_even_where_the_first_range_was_empty() -> None:
    chain = Chain()
    assert chain.offer(0, ChainLink(0, 0, NO_OFFSET))
    assert not chain.offer(1, ChainLink(0, 4, NO_OFFSET))
    assert chain.offer(2, ChainLink(0, 2, 0))
    assert (chain.head, chain.end, chain.skipped) == (2, 2, 1)


def test_a_range_that_runs_backwards_is_never_accepted() -> None:
    chain = Chain(head=3, end=10, next_offset=4)
    assert not chain.offer(4, ChainLink(10, 9, 3))
    assert chain.end == 10


def test_a_record_that_is_read_twice_breaks_the_fold() -> None:
    chain = Chain()
    chain.offer(0, ChainLink(0, 1, NO_OFFSET))
    chain.pass_over(1)
    with pytest.raises(ChainBroken, match="folded already"):
        chain.offer(1, ChainLink(1, 2, 0))
    with pytest.raises(ChainBroken, match="folded already"):
        chain.pass_over(0)
