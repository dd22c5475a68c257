"""What is emitted comes out of the emitter's buffer as it went in, and what is wrong is refused before it is in."""

from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.batching import dimension_bytes, event_bytes
from ingest.buffered import EventDecoder, EventEncoder
from ingest.homes import Homes
from metering.batch import NO_ID
from metering.errors import EventRejected, Reason
from metering.event import fingerprint, parse_dimensions
from metering.limits import QUANTITY_MAX
from metering.partitioner import partition_of

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6) | st.sampled_from(['quo"te', "back\\slash"])
events = st.lists(
    st.fixed_dictionaries(
        {
            "customer": texts,
            "usage": st.dictionaries(texts, st.integers(0, QUANTITY_MAX), min_size=1, max_size=3),
            "dimensions": st.none() | st.dictionaries(texts, texts, max_size=3),
            "event_id": st.none() | texts,
            "time_ms": st.integers(0, 2**42),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(events)
def test_events_come_out_as_they_went_in_by_partition_and_fields(found: list[dict[str, Any]]) -> None:
    encode = EventEncoder(None).encode
    decoded = EventDecoder("s").decode([encode(**event) for event in found], Homes(3))
    expected: dict[tuple[int, tuple[str, ...]], list[tuple[Any, ...]]] = {}
    for event in found:
        fields = tuple(sorted(event["usage"]))
        dimensions = parse_dimensions(event["dimensions"] or {}, "dimensions")
        identity = NO_ID if event["event_id"] is None else fingerprint("s", event["event_id"])
        row = (event["customer"], dimensions, event["time_ms"], identity, tuple(event["usage"][name] for name in fields))
        expected.setdefault((partition_of(event["customer"], 3), fields), []).append(row)
        size = event_bytes(fields=len(fields), customer_chars=len(event["customer"]), dimensions=dimension_bytes(dimensions))
        assert decoded.row_bytes >= size
    assert decoded.rows == expected


class Field(StrEnum):
    N = "n"


def test_any_mapping_will_do_and_strange_names_and_values_are_refused() -> None:
    encode = EventEncoder(None).encode
    assert encode("c", MappingProxyType({"n": 1}), MappingProxyType({"model": "a"}), None, 1) == encode("c", {"n": 1}, {"model": "a"}, None, 1)
    with pytest.raises(TypeError):
        encode("c", {Field.N: 1}, None, None, 1)
    values: list[Any] = [[], {}, 1, None, True]
    for strange in values:
        with pytest.raises(EventRejected) as caught:
            encode("c", {"n": 1}, {"model": strange}, None, 1)
        assert caught.value.field == "dimensions.model"


@pytest.mark.parametrize(
    ("usage", "reason"), [({"n": -1}, Reason.NEGATIVE), ({"n": True}, Reason.WRONG_TYPE), ({"n": QUANTITY_MAX + 1}, Reason.TOO_LARGE)]
)
def test_fields_that_are_known_do_not_vouch_for_quantities(usage: dict[str, int], reason: Reason) -> None:
    encode = EventEncoder(["n"]).encode
    encode("c", {"n": 1}, None, None, 1)
    with pytest.raises(EventRejected) as caught:
        encode("c", usage, None, None, 1)
    assert caught.value.reason == reason


def test_what_the_encoder_remembers_is_bounded() -> None:
    encoder = EventEncoder(None)
    for number in range(10_000):
        encoder.encode("c", {f"n{number}": 1}, {"model": str(number)}, None, 1)
    assert len(encoder._known_fields) <= 4_096
    assert len(encoder._known_dimensions) <= 4_096


def test_homes_are_what_the_partitioner_says_and_bounded() -> None:
    homes = Homes(12)
    for number in range(70_000):
        assert homes[f"cus_{number}"] == partition_of(f"cus_{number}", 12)
    assert len(homes) <= 65_536
    assert homes["cus_1"] == partition_of("cus_1", 12)
