"""What a `[[mappings]]` table may have, and what each rule does."""

from typing import Any

import pytest
from taximeter_emitter.wire.errors import EventRejected, Reason

from ingest.mappings.compiled_mapping import CompiledMapping
from ingest.mappings.field_paths import read_path
from ingest.mappings.foreign_paths import mapping_problems
from ingest.mappings.mapping_table import TableReader

GOOD: dict[str, Any] = {"name": "m", "path": "/v1/from/m", "id": "id", "source": "m", "customer": "who", "usage": {"n": "n"}}


def compiled(**more: Any) -> CompiledMapping:
    reader = TableReader(GOOD | more, "mappings[1]")
    table = reader.read()
    assert table is not None, reader.problems
    return CompiledMapping(table)


def refused(mapping: CompiledMapping, record: Any) -> tuple[str, str]:
    with pytest.raises(EventRejected) as caught:
        mapping.event(record)
    return caught.value.reason.value, caught.value.field


RECORD: dict[str, Any] = {"id": "r-1", "who": "cus_1", "n": 5}


def test_the_smallest_mapping() -> None:
    assert compiled().event(RECORD) == {"id": "r-1", "source": "m", "customer": "cus_1", "usage": {"n": 5}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": ""}, "mappings[1].name: must be a text of 1 to 64 characters, is ''"),
        ({"path": "v1"}, "mappings[1].path: must be the path that the sender posts to"),
        ({"path": "/v1/events"}, "/v1/events takes Taximeter's own form"),
        ({"id": "a..b"}, "mappings[1].id: must be a path such as data.tokens"),
        ({"id": []}, "mappings[1].id:"),
        ({"source": 5}, "mappings[1].source:"),
        ({"customer": {"path": "a", "text": "b"}}, "mappings[1].customer"),
        ({"time": {"path": "t", "unit": "h"}}, "mappings[1].time.unit: must be one of rfc3339, s, ms, us, ns, rfc3339_or_s, is 'h'"),
        ({"usage": {}}, "mappings[1].usage: must name a usage field at least"),
        ({"usage": {"n": -1}}, "mappings[1].usage.n: must be from 0"),
        ({"usage": {"n": {"path": "a", "less": ["a"]}}}, "mappings[1].usage.n.less: a less itself comes to nothing"),
        ({"usage": {"n": {"path": "a", "scale": 0.5}}}, "mappings[1].usage.n.scale: must be an integer from 1"),
        ({"usage": {"n": {"path": "a", "plus": "b"}}}, "mappings[1].usage.n: unknown key 'plus'; known are less, optional, path, scale"),
        ({"dimensions": {"model": {"path": "a", "values": {"x": 1}}}}, "mappings[1].dimensions.model.values"),
        ({"split": ["cached"]}, "mappings[1].split: there is no 'cached'; known are none"),
        ({"leave_out": [{}]}, "mappings[1].leave_out[1]: must be a table"),
        ({"only": {"a": "b"}}, "mappings[1].only.a: must be a list"),
        ({"refused": "dropped"}, "mappings[1].refused: must be one of set_aside, answer, is 'dropped'"),
        ({"types": ["t"]}, "mappings[1].types: only CloudEvents have types"),
        ({"answer": "otlp"}, "mappings[1].answer"),
        ({"members": {"ignore": []}}, "mappings[1].members"),
        ({"presets": "litellm"}, "mappings[1]: unknown key 'presets'"),
        ({"preset": "litelm"}, "mappings[1].preset: there is no preset 'litelm'; known are litellm"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], problem: str) -> None:
    found = mapping_problems({"mappings": [GOOD | change]})
    assert any(problem in each for each in found), found


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    found = mapping_problems({"mappings": [GOOD | {"id": 1, "usage": {}}, GOOD | {"source": ""}, {"preset": "nobody"}]})
    assert [each.partition(":")[0] for each in found] == ["mappings[1].id", "mappings[1].usage", "mappings[2].source", "mappings[3].preset"]


def test_two_mappings_cannot_take_the_same_records() -> None:
    [twice] = mapping_problems({"mappings": [GOOD, GOOD | {"name": "other"}]})
    assert "another mapping takes what has no mapping of its own at /v1/from/m" in twice
    [form] = mapping_problems({"mappings": [GOOD, GOOD | {"name": "other", "form": "cloudevents", "types": ["t"]}]})
    assert "/v1/from/m has one form, and m says 'records'" in form


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b-c.d_1", ("a", "b-c", "d_1")),
        ('a."gen_ai.x".b', ("a", "gen_ai.x", "b")),
        ("a..b", None),
        ("", None),
        ("a.", None),
        ('"a', None),
    ],
)
def test_paths(text: str, steps: tuple[str, ...] | None) -> None:
    assert read_path(text) == steps


def test_a_part_is_taken_out_of_its_whole() -> None:
    mapping = compiled(usage={"input": {"path": "in", "less": ["cached"]}, "cached": {"path": "cached", "optional": True}})
    assert mapping.event(RECORD | {"in": 10, "cached": 4})["usage"] == {"input": 6, "cached": 4}  # type: ignore[index]
    assert mapping.event(RECORD | {"in": 10, "cached": None})["usage"] == {"input": 10}  # type: ignore[index]
    assert refused(mapping, RECORD | {"in": 3, "cached": 4}) == ("below_zero", "usage.input")


@pytest.mark.parametrize(("value", "quantity"), [(5, 5), ("5", 5), (5.0, 5), ("5.0", 5), (0, 0)])
def test_integers_are_taken_as_others_write_them(value: Any, quantity: int) -> None:
    assert compiled().event(RECORD | {"n": value})["usage"] == {"n": quantity}  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5.5, "not_an_integer"),
        (True, "wrong_type"),
        ("five", "wrong_type"),
        ("5.5", "not_an_integer"),
        ({}, "wrong_type"),
        (None, "missing_field"),
        (1e300, "not_an_integer"),
    ],
)
def test_what_is_no_quantity_is_refused_by_name(value: Any, reason: str) -> None:
    assert refused(compiled(), RECORD | {"n": value})[0] == reason


def test_seconds_are_counted_in_milliseconds() -> None:
    assert compiled(usage={"ms": {"path": "s", "scale": 1000}}).event(RECORD | {"s": 2.3456})["usage"] == {"ms": 2346}  # type: ignore[index]


@pytest.mark.parametrize(
    ("unit", "value"),
    [("s", 1795819790.705), ("ms", 1795819790705), ("us", "1795819790705000"), ("ns", "1795819790705000123"), ("s", "1795819790.705")],
)
def test_times(unit: str, value: Any) -> None:
    found = compiled(time={"path": "t", "unit": unit}).event(RECORD | {"t": value})
    assert found is not None
    assert found["time"] == "2026-11-27T22:49:50.705Z"


@pytest.mark.parametrize("value", [-1, 1e18, "x", {}, True])
def test_what_is_no_time_is_refused(value: Any) -> None:
    assert refused(compiled(time={"path": "t", "unit": "s"}), RECORD | {"t": value}) == ("bad_time", "time")


def test_records_are_left_out_by_conditions() -> None:
    mapping = compiled(only={"kind": ["call"]}, leave_out=[{"status": [500], "n": [0]}, {"n": []}])
    assert mapping.event(RECORD | {"kind": "other"}) is None
    assert mapping.event(RECORD | {"kind": "call", "status": 500, "n": 0}) is None
    assert mapping.event(RECORD | {"kind": "call", "n": None}) is None
    assert mapping.event(RECORD | {"kind": "call", "status": 500, "n": 1}) is not None
    assert refused(mapping, RECORD | {"kind": "call", "status": 500, "n": False}) == ("wrong_type", "n")


def test_dimensions_are_renamed() -> None:
    mapping = compiled(dimensions={"outcome": {"path": "code", "values": {"499": "aborted"}, "default": "ok"}, "region": {"text": "eu"}, "m": "m"})
    assert mapping.event(RECORD | {"code": 499, "m": True})["dimensions"] == {"outcome": "aborted", "region": "eu", "m": "true"}  # type: ignore[index]
    assert mapping.event(RECORD | {"code": ""})["dimensions"] == {"outcome": "ok", "region": "eu"}  # type: ignore[index]


def test_ids_are_made_of_all_their_parts() -> None:
    mapping = compiled(id=["id", "end"])
    ids = {mapping.event(RECORD | {"id": first, "end": second})["id"] for first, second in [("a", "bc"), ("ab", "c"), ("a", 1), ("a", 1.5)]}  # type: ignore[index]
    assert len(ids) == 4
    assert mapping.event(RECORD | {"id": "r-1", "end": 1.5})["id"] == "r-1:1.5:3.3"  # type: ignore[index]
    assert refused(mapping, RECORD) == ("missing_field", "id")
    assert len(mapping.event(RECORD | {"id": "x" * 5000, "end": "y"})["id"]) <= 128  # type: ignore[index]


def test_members_have_their_own_names() -> None:
    mapping = compiled(usage={}, members={"of": "data", "ignore": ["cost"]})
    found = mapping.event(RECORD | {"data": {"tokens": "12", "calls": 1.0, "model": "m", "cost": 0.5, "none": None}})
    assert found is not None
    assert (found["usage"], found["dimensions"]) == ({"tokens": 12, "calls": 1}, {"model": "m"})
    assert refused(mapping, RECORD | {"data": {"list": []}}) == ("wrong_type", "data.list")
    assert refused(mapping, RECORD) == ("not_an_object", "data")


def test_what_remains_can_be_mended() -> None:
    """A letter names what was wrong as the aggregator will, and keeps the numbers."""
    mapping = compiled(usage={"n": "n", "m": "m"})
    assert mapping.remains({"id": "r-1", "n": 5, "m": 6}) == {"id": "r-1", "source": "m", "usage": {"n": 5, "m": 6}}
    assert mapping.remains({"id": "r-1", "who": "cus_1", "n": 5, "m": 6.5})["usage"] == {"n": 5, "m": 6.5}
    assert mapping.remains({"id": "r-1", "who": "cus_1", "n": 5})["usage"] == {"n": 5, "m": None}
    assert mapping.remains(7) == 7
    assert Reason.MISSING_FIELD.value == "missing_field"
