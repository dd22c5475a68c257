"""However many events of one client are set aside in a row, the next client's event counts."""

from collections.abc import Callable

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from metering.folds.tallies import Tallies
from metering.records.record import Record
from tests.support.aggregator_records import START_MS, rules

FLOOD = 12_000
GOOD = orjson.dumps({"id": "good", "customer": "home2", "usage": {"input": 3}})


def offline_over_the_weekend(number: int) -> bytes:
    return _batch(number, {"input": [1]}, age_ms=2 * DAY_MS)


def clock_ahead(number: int) -> bytes:
    return orjson.dumps({"id": f"e{number}", "customer": "home", "usage": {"input": 1}, "time": (START_MS + 6 * MINUTE_MS) / 1000})


def one_id_for_everything(number: int) -> bytes:
    return orjson.dumps({"id": "same", "customer": "home", "usage": {"input": 1 + number}})


def extra_field(number: int) -> bytes:
    return _batch(number, {"mystery": [3]})


def garbage(number: int) -> bytes:
    return b"\0\0\0\0\7%d" % number


def newer_format(number: int) -> bytes:
    return b'{"taximeter":99,"emitter":"e%d","count":5000}' % number


def _batch(number: int, usage: dict[str, list[int]], age_ms: int = 0) -> bytes:
    ids = number.to_bytes(16, "big", signed=False) if age_ms else b""
    return encode_batch(Batch("e", 0, number, 1, ["home"], [()], [0], [0], START_MS - age_ms, [0], usage, ids))


@pytest.mark.parametrize("bad", [offline_over_the_weekend, clock_ahead, one_id_for_everything, extra_field, garbage, newer_format])
def test_a_flood_that_is_set_aside_stops_nobody(bad: Callable[[int], bytes]) -> None:
    counter = PartitionCounter(0, rules(), Tallies())
    counter.found(0, "chain")
    values = [*(bad(number) for number in range(1, FLOOD)), GOOD]
    counter.count_many([Record(offset, START_MS, b"home", value) for offset, value in enumerate(values)], 10**9)
    tally = counter.cut().tally
    assert sum(tally.events.dead_lettered.values()) >= FLOOD - 2
    assert any(row.customer == "home2" for row in tally.rows)
