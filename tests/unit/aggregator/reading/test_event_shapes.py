"""What is read by its shape, undecoded, is what the long way reads; every other text is left to that."""

import orjson
import pytest

from aggregator.reading import plain_events
from aggregator.reading.event_shapes import CUSTOMER, ID, SHAPE_TEXT_BYTES_MAX, SOURCE, TIME, TIME_MINUTE, TIME_SECONDS, EventShape, shape_of
from aggregator.reading.plain_events import SHAPES_MAX
from tests.support.aggregator_event_texts import COMPACT, SPACED, experienced, facts, read


def shape(text: bytes) -> EventShape | None:
    return shape_of(text, orjson.loads(text))


def test_a_shape_names_its_values_in_the_order_of_the_text() -> None:
    found = shape(COMPACT)
    assert found is not None
    assert found.paths == (ID, SOURCE, TIME_MINUTE, TIME_SECONDS, CUSTOMER, ("usage", "input"), ("usage", "output"), ("dimensions", "model"))
    assert found.values_of(COMPACT) == (b"q-1", b"s", b"2026-11-22T10:00:", b"00.250", b"c", b"1", b"20", b"m")
    spaced = shape(SPACED)
    assert spaced is not None
    assert spaced.paths == (("usage", "output"), TIME, ID, SOURCE, CUSTOMER)


def test_a_text_with_a_name_twice_or_an_escape_has_no_shape() -> None:
    for old, new in [
        (b'"input":1', b'"input":1,"input":1'),
        (b'"id":"q-1"', b'"id":"q-1","id":"q-1"'),
        (b"q-1", b"q\\u002d1"),
        (b"q-1", "é".encode()),
    ]:
        assert shape(COMPACT.replace(old, new)) is None


def test_a_very_long_text_has_no_shape() -> None:
    assert shape(COMPACT.replace(b"{", b"{" + b" " * SHAPE_TEXT_BYTES_MAX, 1)) is None


def test_the_shapes_that_were_of_use_last_are_kept() -> None:
    texts = [COMPACT.replace(b'{"id"', b"{" + b" " * number + b'"id"') for number in range(SHAPES_MAX + 2)]
    plain = experienced(texts)
    assert [known.shape.values_of(text) is not None for known, text in zip(plain._shapes, reversed(texts), strict=False)] == [True] * SHAPES_MAX
    plain._pause = 0
    read(plain, [texts[-1], texts[5], texts[-1]])
    assert plain._shapes[0].shape.values_of(texts[5]) is not None


def test_what_was_seen_by_its_shape_is_forgotten_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_events, "KNOWN_MAX", 1)
    plain = experienced([COMPACT])
    other = COMPACT.replace(b'"c"', b'"d"')
    full = read(plain, [COMPACT, other])
    plain.forget()
    assert (full, read(plain, [other, COMPACT])) == ([facts(COMPACT), None], [facts(other), None])
