"""A usage field that no meter sums: free if it is unmetered or zero, in whatever way the event came in."""

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch

from aggregator.core.counting import PartitionCounter
from metering.folds.tallies import Tallies
from metering.records.meters import Catalogue
from metering.records.record import Record
from tests.support.aggregator_records import METERS, START_MS, rules

FIELD = METERS[0].fields[0]
CATALOGUE = Catalogue(METERS, unmetered=["free"])


def single(number: int, usage: dict[str, int]) -> bytes:
    return orjson.dumps({"id": f"e{number}", "customer": "home", "usage": usage})


def batch(first: int, count: int, usage: dict[str, int]) -> bytes:
    columns = {name: [quantity] * count for name, quantity in usage.items()}
    return encode_batch(Batch("emitter", 0, first, count, ["home"], [()], [0], [0] * count, START_MS, [0] * count, columns))


def many_singles(usage: dict[str, int]) -> list[bytes]:
    return [single(number, usage) for number in range(60)]


def one_single(usage: dict[str, int]) -> list[bytes]:
    return [single(0, usage)] * 1


def small_batches(usage: dict[str, int]) -> list[bytes]:
    return [batch(5 * number, 5, usage) for number in range(12)]


def large_batch(usage: dict[str, int]) -> list[bytes]:
    return [batch(0, 200, usage)]


WAYS = pytest.mark.parametrize("values", [one_single, many_singles, small_batches, large_batch])


def counted(values: list[bytes]) -> tuple[int, dict[str, int], int]:
    """Events counted, events set aside by reason, and units of the field."""
    counter = PartitionCounter(0, rules(catalogue=CATALOGUE), Tallies())
    counter.found(0, "c")
    counter.count_many([Record(offset, START_MS, None, value) for offset, value in enumerate(values)], 10**9)
    tally = counter.cut().tally
    return tally.events.counted, dict(tally.events.dead_lettered), sum(row.quantity for row in tally.rows)


@WAYS
def test_an_unmetered_field_and_a_zero_cost_nothing_and_spoil_nothing(values: object) -> None:
    assert callable(values)
    expected = counted(values({FIELD: 7}))
    assert expected[0] > 0
    assert expected[1] == {}
    assert counted(values({FIELD: 7, "free": 3})) == expected
    assert counted(values({FIELD: 7, "unheard_of": 0})) == expected


@WAYS
def test_an_unknown_field_is_set_aside(values: object) -> None:
    assert callable(values)
    found = counted(values({FIELD: 7, "unheard_of": 1}))
    assert found[0] == 0
    assert list(found[1]) == ["unknown_usage_field"]
