"""Texts read by their shape against the long way."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.aggregator_event_texts import COMPACT, PIECES, TEXTS, experienced, facts, marks, read


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A text of one of the shapes in which pieces were replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.sampled_from(marks(text)) | st.integers(0, len(text)))
        end = draw(st.sampled_from([mark for mark in marks(text) if mark >= start][:3]))
        text = text[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=2)) + text[end:]
    return text


@given(st.lists(changed(), min_size=1, max_size=6), st.permutations(TEXTS))
@example([COMPACT + b"\n" + COMPACT, COMPACT], TEXTS[::-1])
@example([COMPACT + b"\n" + COMPACT, b""], TEXTS[::-1])
@example([COMPACT[:60], COMPACT[60:]], TEXTS[::-1])
@example([COMPACT + b"\n"], TEXTS[::-1])
def test_many_texts_are_read_as_the_long_way_reads_them_or_left_to_that(values: list[bytes], order: list[bytes]) -> None:
    for value, found in zip(values, read(experienced(order), values), strict=True):
        assert found is None or found == facts(value)


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_events_of_several_shapes_are_read_together_in_their_order(texts: list[bytes]) -> None:
    values = [text.replace(b'"q', b'"%d-q' % place) for place, text in enumerate(texts)]
    assert read(experienced(), values) == [facts(value) for value in values]


def variants(text: bytes) -> Iterator[bytes]:
    """Each value, mark and name of a text replaced by each piece, and each piece put before it."""
    places = marks(text)
    for at, start in enumerate(places):
        for end in places[at : at + 2]:
            for piece in PIECES:
                yield text[:start] + piece + text[end:]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_a_little_other_is_read_as_the_long_way_reads_it_or_left_to_that(text: bytes) -> None:
    plain = experienced([text])
    known = plain._shapes[0]
    read_by_shape = 0
    for value in variants(text):
        plain._shapes[:] = [known]
        found = read(plain, [value])[0]
        read_by_shape += found is not None and plain._shapes == [known]
        assert found is None or found == facts(value)
    assert read_by_shape > 100
