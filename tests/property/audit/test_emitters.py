"""Missing and received numbers against a set."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.audit_emitter_book import book_of, tally


@given(st.sets(st.integers(0, 60)), st.randoms(use_true_random=False))
def test_missing_and_received_agree_with_a_set(numbers: set[int], random: st.DataObject) -> None:
    order = sorted(numbers)
    random.shuffle(order)  # type: ignore[attr-defined]  # a random.Random, which the strategy's type does not say
    [line], problems = book_of(tally(*((number, number) for number in order), final=61))

    assert (line.received, line.missing) == (len(numbers), 61 - len(numbers))
    assert bool(problems) == (len(numbers) < 61)
