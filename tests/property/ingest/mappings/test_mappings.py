"""Whatever a record holds: it becomes an event, is left out, or is refused by name; and what is refused cannot count."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_event

from ingest.mappings.compiled_mapping import CompiledMapping
from ingest.mappings.mapping_table import TableReader
from ingest.requests.bodies import Unmapped
from tests.support.foreign_bodies import mapped, paths_of

TABLE: dict[str, Any] = {
    "name": "m",
    "path": "/v1/from/m",
    "id": ["id", "end"],
    "source": "m",
    "customer": ["who", "team"],
    "time": {"path": "end", "unit": "s"},
    "leave_out": [{"status": ["failure"]}],
    "usage": {"input": {"path": "in", "less": ["cached"]}, "cached": {"path": "cached", "optional": True}, "output": "out"},
    "dimensions": {"model": "model"},
}
VALUES = st.none() | st.booleans() | st.integers(-10, 10**13) | st.floats() | st.text(max_size=140) | st.sampled_from(["5", "5.0", [], {}])
RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "end", "who", "team", "in", "cached", "out", "model", "status"), VALUES))


def mapping() -> CompiledMapping:
    table = TableReader(TABLE, "mappings[1]").read()
    assert table is not None
    return CompiledMapping(table)


@given(RECORDS)
def test_what_is_refused_cannot_count(record: dict[str, Any]) -> None:
    try:
        mapping().event(record)
    except EventRejected:
        letter = orjson.loads(orjson.dumps(mapping().remains(record), default=str, option=orjson.OPT_NON_STR_KEYS))
        try:
            parse_event(letter, arrival_ms=0)
        except EventRejected:
            return
        raise AssertionError(letter) from None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_split_keeps_the_sum(whole: int, cached: int, output: int) -> None:
    record = {"id": "r", "end": 1, "who": "cus_1", "in": whole, "cached": cached, "out": output}
    try:
        found = mapping().event(record)
    except EventRejected:
        assert cached > whole
        return
    assert found is not None
    assert sum(found["usage"].values()) == whole + output


@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8))
def test_any_json_is_mapped_or_refused_by_name(value: Any) -> None:
    for entry in ({"preset": "litellm"}, {"preset": "openmeter"}):
        for path in paths_of(entry).values():
            found = mapped(path, [value])
            assert len(found.documents) + found.left_out == 1
            for document in found.documents:
                assert isinstance(document, (dict, Unmapped)) or path.form == "cloudevents"
