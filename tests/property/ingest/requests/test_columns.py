"""Events read at once against the same events read one by one."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import QUANTITY_MAX

from ingest.requests.request_columns import ColumnReader
from tests.support.ingest_columns import EVENT, FIELDS, NOW_MS, one_by_one, plain, times

strange = st.sampled_from([None, True, 0, -1, 1.5, "", "x", "a\nb", "x" * 200, QUANTITY_MAX, QUANTITY_MAX + 1, [], [1], {}, {"model": 1}, {"a": "b"}])
changes = st.one_of(
    st.tuples(st.sampled_from([*EVENT, "specversion", "price"]), strange),
    st.tuples(st.just("time"), times),
    st.tuples(st.just("usage"), st.dictionaries(st.sampled_from([*FIELDS, "other", ""]), strange | st.integers(0, QUANTITY_MAX), max_size=3)),
    st.tuples(st.just("dimensions"), st.dictionaries(st.sampled_from(["model", "", "k" * 65]), strange | st.text(max_size=3), max_size=3)),
)
without = st.sets(st.sampled_from([*EVENT]), max_size=2)


@settings(max_examples=400)
@given(without, st.lists(st.lists(changes, max_size=2), min_size=1, max_size=4))
def test_what_is_read_at_once_is_what_would_be_read_one_by_one(left_out: set[str], mutations: list[list[tuple[str, Any]]]) -> None:
    base = {name: value for name, value in EVENT.items() if name not in left_out}
    documents = orjson.loads(orjson.dumps([base | dict(mutation) | {"id": f"r-{n}"} for n, mutation in enumerate(mutations)]))
    read = ColumnReader(FIELDS).read(documents, NOW_MS)
    if read is not None:
        expected = one_by_one(documents)
        assert expected is not None, "accepted at once, refused one by one"
        assert plain([read]) == plain(expected)
        assert read.events.row_bytes >= max(part.events.row_bytes for part in expected)
