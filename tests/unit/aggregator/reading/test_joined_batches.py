"""Which small batches are joined, and what is left to the long way."""

from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from aggregator.reading.joined_batches import JOINED_BATCHES_MAX, SMALL_BATCH_BYTES_MAX, first_batches, join
from metering.records.batch_decoding import KnownTexts
from metering.records.record import Record
from tests.support.aggregator_records import ODD_NUMBERS, START_MS, Event, small_batch

FIELDS = frozenset({"input", "output", "calls"})


def usual(numbers: Sequence[int]) -> list[Record]:
    """Batches of two events each, in order."""
    event = Event(None, "c1", (("input", 1), ("output", 2)), "m1", 0)
    return [Record(number, START_MS, None, small_batch("e1", 2 * number, [event, event], START_MS)) for number in numbers]


def test_what_emitters_write_is_joined() -> None:
    records = usual(range(JOINED_BATCHES_MAX))
    assert first_batches(records, 0) == records
    found = join(
        [orjson.loads(record.value or b"") for record in records],
        [START_MS] * JOINED_BATCHES_MAX,
        partition=0,
        fields=FIELDS,
        known=KnownTexts(),
        partition_of=lambda _: 0,
    )
    assert found is not None
    assert found.events.count == 2 * JOINED_BATCHES_MAX == len(found.events.at)
    assert sum(found.events.usage["output"]) == 4 * JOINED_BATCHES_MAX


@pytest.mark.parametrize("value", ODD_NUMBERS[4:])
@pytest.mark.parametrize("field", ["taximeter", "partition", "first_seq", "count", "base_time"])
def test_a_number_that_is_none_is_left_to_the_long_way(field: str, value: object) -> None:
    first, second = usual(range(2))
    document = orjson.loads(second.value or b"") | {field: value}
    assert (
        join([orjson.loads(first.value or b""), document], [START_MS] * 2, partition=0, fields=FIELDS, known=KnownTexts(), partition_of=lambda _: 0)
        is None
    )


def test_a_run_ends_before_a_gap_and_before_what_is_no_small_batch() -> None:
    records = usual([0, 1, 2, 4, 5])
    assert first_batches(records, 0) == records[:3]
    assert first_batches(records, 3) == records[3:]
    large = replace(records[2], value=(records[2].value or b"") + b" " * SMALL_BATCH_BYTES_MAX)
    assert first_batches([*records[:2], large], 0) == records[:2]
    assert first_batches([large, *records], 0) == ()
    assert first_batches([*records[:2], replace(records[2], value=None)], 0) == records[:2]
    assert first_batches([*records[:2], replace(records[2], headers=(("a", b""),))], 0) == records[:2]
