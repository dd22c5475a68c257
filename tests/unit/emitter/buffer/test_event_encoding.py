"""What is emitted comes out of the emitter's buffer as it went in, and what is wrong is refused before it is in."""

import sys
from enum import StrEnum
from itertools import count
from types import FrameType, MappingProxyType
from typing import Any

import pytest
from taximeter_emitter.buffer.event_encoding import EventEncoder
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import QUANTITY_MAX
from taximeter_emitter.wire.partitioner import partition_of

from tests.support.emitter_events_read_back import read


@pytest.mark.parametrize("line", range(20))
def test_quantities_stay_with_their_names_when_one_is_added_at_any_line(line: int) -> None:
    encode = EventEncoder(None).encode
    encode("c", {"a": 1, "b": 2, "c": 3}, None, None, 1)
    usage, lines = {"a": 1, "b": 2}, count()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        """Another thread could do this between any two lines."""
        if event == "line" and next(lines) == line:
            usage["c"] = 3
        return trace if frame.f_code is EventEncoder.encode.__code__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        encoded = encode("c", usage, None, None, 1)
    finally:
        sys.settrace(before)
    (((_, fields), ((*_, quantities),)),) = read([encoded], 1).items()
    assert dict(zip(fields, quantities, strict=True)) in ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3})


class Field(StrEnum):
    N = "n"


def test_any_mapping_will_do_and_strange_values_are_refused() -> None:
    encode = EventEncoder(None).encode
    encoded = encode("c", MappingProxyType({"n": 1}), MappingProxyType({"model": "a"}), None, 1)
    assert read([encoded], 1) == read([encode("c", {"n": 1}, {"model": "a"}, None, 1)], 1)
    values: list[Any] = [[], {}, 1, None, True]
    for strange in values:
        with pytest.raises(EventRejected) as caught:
            encode("c", {"n": 1}, {"model": strange}, None, 1)
        assert caught.value.field == "dimensions.model"


def test_names_that_are_strings_and_more_are_taken_as_strings() -> None:
    for known in (False, True):
        encode = EventEncoder(None).encode
        if known:
            encode("c", {"n": 1}, None, None, 1)
        ((_, fields),) = read([encode("c", {Field.N: 1}, None, None, 1)], 1)
        assert [type(name) for name in fields] == [str]


def test_names_of_one_event_are_not_taken_for_dimensions_of_another() -> None:
    encode = EventEncoder(None).encode
    encode("c", {"n": 1}, {"model": "a"}, None, 1)
    strange: Any = {"n": 1, ("model", "a"): 2}
    with pytest.raises((EventRejected, AttributeError)):
        encode("c", strange, None, None, 1)


def test_the_first_event_of_a_form_is_charged_for_its_names() -> None:
    encode = EventEncoder(None).encode
    first, second = (encode("c", {"n": 1}, {"model": "a" * 100}, None, 1) for _ in range(2))
    assert first[-1] >= second[-1] + 100
    assert read([first, second], 1).popitem()[1] == read([second, first], 1).popitem()[1]


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
    assert len(encoder._forms) <= 4_096
    assert len(encoder._layouts) <= 4_096


def test_partitions_are_what_the_partitioner_says_and_bounded() -> None:
    partition_cache = PartitionCache(12)
    for number in range(70_000):
        assert partition_cache.of(f"cus_{number}") == partition_of(f"cus_{number}", 12)
    assert len(partition_cache) <= 65_536
    assert partition_cache.of("cus_1") == partition_of("cus_1", 12)
