"""A usage field that no meter sums: free if it is unmetered or zero, in whatever way the event came in."""

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch

from aggregator.core.counting import PartitionCounter
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.records.meters import Catalogue
from metering.records.record import Record
from metering.records.tally import Tally, encode_tally
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
    tally = tallied(values)
    return tally.events.counted, dict(tally.events.dead_lettered), sum(row.quantity for row in tally.rows)


def tallied(values: list[bytes]) -> Tally:
    counter = PartitionCounter(0, rules(timeline=always(CATALOGUE)), Tallies())
    counter.found(0, "c")
    counter.count_many([Record(offset, START_MS, None, value) for offset, value in enumerate(values)], 10**9)
    return counter.cut().tally


@WAYS
def test_an_unmetered_field_and_a_zero_cost_nothing_and_spoil_nothing(values: object) -> None:
    assert callable(values)
    expected = counted(values({FIELD: 7}))
    assert expected[0] > 0
    assert expected[1] == {}
    assert counted(values({FIELD: 7, "free": 3})) == expected
    assert counted(values({FIELD: 7, "unheard_of": 0})) == expected


@WAYS
def test_an_unknown_field_costs_its_quantity_and_not_the_event(values: object) -> None:
    assert callable(values)
    expected = counted(values({FIELD: 7}))
    given = values({FIELD: 7, "unheard_of": 2, "odd": 3})
    assert counted(given) == expected
    assert tallied(given).unknown_usage == [("odd", expected[0], 3 * expected[0]), ("unheard_of", expected[0], 2 * expected[0])]
    assert counted(values({"free": 1, "unheard_of": 2}))[:2] == expected[:2]


@WAYS
def test_an_event_of_nothing_but_unknown_fields_is_set_aside(values: object) -> None:
    assert callable(values)
    for usage in ({"unheard_of": 1}, {FIELD: 0, "free": 0, "unheard_of": 1}):
        tally = tallied(values(usage))
        assert tally.events.counted == 0
        assert list(tally.events.dead_lettered) == ["unknown_usage_field"]
        assert not tally.unknown_usage


def test_what_does_not_count_is_not_named_again() -> None:
    """A duplicate, and an event that was set aside, have no unknown quantities: those of the event that counted are named once."""
    usage = {FIELD: 1, "unheard_of": 5}
    assert tallied([single(0, usage), single(0, usage), single(0, usage | {FIELD: 2})]).unknown_usage == [("unheard_of", 1, 5)]
    some = batch(0, 3, usage)
    assert tallied([some, some, batch(2, 3, usage)]).unknown_usage == [("unheard_of", 5, 25)]


def test_names_of_unknown_fields_make_a_tally_full() -> None:
    counter = PartitionCounter(0, rules(timeline=always(CATALOGUE)), Tallies())
    counter.found(0, "c")
    names = [f"{number:064}" for number in range(100)]
    counter.count_many([Record(offset, START_MS, None, single(offset, {FIELD: 1, name: 1})) for offset, name in enumerate(names)], 10**9)
    before, after = counter.pending_bytes, len(encode_tally(counter.cut().tally))
    assert before > 6_400
    assert before > after - 2_000  # the frame of a tally
