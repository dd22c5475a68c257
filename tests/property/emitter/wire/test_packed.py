"""Any column of integers."""

from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.packed import CHARS_MAX, pack

from metering.records.integer_columns import ARRAYS_FROM, fits, greatest, unpack, view

columns = st.sampled_from([8, 16, 32, 63]).flatmap(lambda bits: st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=2 * ARRAYS_FROM))


@given(columns)
def test_a_column_reads_back_as_it_was_packed(column: list[int]) -> None:
    found = unpack(pack(column), len(column))
    assert found.tolist() == view(found).tolist() == view(column).tolist() == column
    assert greatest(found) == greatest(column) == max(column)
    assert fits(found, max(column))
    assert max(column) == 0 or not fits(found, max(column) - 1)


@given(columns)
def test_a_column_takes_no_more_bytes_than_its_largest_integer_needs(column: list[int]) -> None:
    text = pack(column)
    width = int(text[0])
    assert len(b64decode(text[1:])) == width * len(column)
    assert width in (1, 2, 4, 8)
    assert max(column) < 256**width
    assert width == 1 or max(column) >= 256 ** (width // 2)


@given(columns)
def test_an_integer_adds_no_more_text_than_is_said(column: list[int]) -> None:
    assert len(pack(column)) <= CHARS_MAX * len(column) + 3
