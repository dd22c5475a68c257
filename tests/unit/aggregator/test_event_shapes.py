"""What is read by its shape, undecoded, is what the long way reads; every other text is left to that."""

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import parse_event

from aggregator.ids.fingerprints import each
from aggregator.ids.id_index import content_of
from aggregator.reading import plain_events
from aggregator.reading.event_shapes import CUSTOMER, ID, SHAPE_TEXT_BYTES_MAX, SOURCE, TIME, TIME_MINUTE, TIME_SECONDS, EventShape, shape_of
from aggregator.reading.plain_events import SHAPES_MAX, PlainEvents

FOREIGN = "foreign"
LATEST_MS = 4_000_000_000_000
COMPACT = b'{"id":"q-1","source":"s","time":"2026-11-22T10:00:00.250Z","customer":"c","usage":{"input":1,"output":20},"dimensions":{"model":"m"}}'
SPACED = b'{"dimensions": {}, "usage": {"output": 0}, "time": "2026-11-22T10:00:00+01:00", "id": "q", "source": "s", "customer": "c" }'
LAST = b'{"id":"q","source":"s","time":"2026-11-22T10:00:00Z","dimensions":{"a":"b","model":"m"},"customer":"c","usage":{"input":7}}'
TEXTS = [COMPACT, SPACED, LAST]
PIECES = [
    *[b'"', b"\\", b"\n", b"\\u0022", b"\\n", b",", b":", b"{", b"}", b" ", b"\x00", b"\x7f", b"\xff", "é".encode(), b"\xed\xa0\x80", b"\t"],
    *[b"0", b"01", b"-1", b"1.0", b"1e3", b"1000000000000", b"1000000000001", b"9999999999999", b"99999999999999999999", b"true", b"null"],
    *[b'"id":"q-2",', b'"input":5,', b'"other":5,', b',"input":1', b'"customer":"foreign"', b"foreign", b'"c"', b'"d"', b"x" * 128, b"x" * 129],
    *[b"2026-11-22T10:00:00.250Z", b"2026-02-30T10:00:00.250Z", b"1969-12-31T23:59:59.999Z", b"2026-11-22T24:00:00.000Z", b"60.000Z", b"0000", b"Z"],
    *[b"", COMPACT, b"\n" + COMPACT, COMPACT + b"\n"],
]


def marks(text: bytes) -> list[int]:
    """The places before and after what JSON gives a meaning."""
    found = {0, len(text), *(place + after for place, byte in enumerate(text) if byte in b'"{},: ' for after in (0, 1))}
    return sorted(found)


def variants(text: bytes) -> Iterator[bytes]:
    """Each value, mark and name of a text replaced by each piece, and each piece put before it."""
    places = marks(text)
    for at, start in enumerate(places):
        for end in places[at : at + 2]:
            for piece in PIECES:
                yield text[:start] + piece + text[end:]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A text of one of the shapes in which pieces were replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.sampled_from(marks(text)) | st.integers(0, len(text)))
        end = draw(st.sampled_from([mark for mark in marks(text) if mark >= start][:3]))
        text = text[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=2)) + text[end:]
    return text


def experienced(texts: Sequence[bytes] = TEXTS) -> PlainEvents:
    plain = PlainEvents(frozenset({"input", "output"}), lambda customer: customer != FOREIGN, 1)
    for text in texts:
        plain._pause = 0
        plain.read([text], np.zeros(1, np.int64), np.full(1, LATEST_MS))
    return plain


def read(plain: PlainEvents, values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    """The facts of each event, or None where the long way is to be gone."""
    odd, columns = plain.read(values, np.zeros(len(values), np.int64), np.full(len(values), LATEST_MS))
    assert list(odd) == sorted(set(odd))
    chosen = [place for place in range(len(values)) if place not in odd]
    assert len(chosen) == (len(columns) if columns is not None else 0)
    found: list[tuple[object, ...] | None] = [None] * len(values)
    for at, place in enumerate(chosen):
        assert columns is not None
        usage = {name: int(column[at]) for name, column in columns.usage.items() if column[at]}
        found[place] = (each(columns.fingerprints)[at], int(columns.contents[at]), int(columns.times[at]), plain.series[columns.series[at]], usage)
    return found


def facts(value: bytes) -> tuple[object, ...]:
    """The same of an event by the long way. Raises what is wrong with it."""
    event = parse_event(orjson.loads(value), arrival_ms=-1)
    assert event.customer != FOREIGN
    usage = {name: quantity for name, quantity in event.usage if quantity}
    return event.fingerprint, content_of(event.customer, event.dimensions, event.usage), event.time_ms, (event.customer, event.dimensions), usage


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
