"""Whatever a broker takes as a record is an event or a dead letter, and its neighbours count."""

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import FORMAT_KEY

from aggregator.core.counting import PartitionCounter
from metering.folds.tallies import Tallies
from metering.kafka.batches.plain_batches import PlainRecord, batches, header_of, records_of
from metering.records.record import LogRecord
from metering.records.tally import decode_tally
from tests.support import wire_strategies
from tests.support.aggregator_records import START_MS, rules
from tests.support.wire_records import WireBatch

ODD: list[Any] = [None, True, 0, -1, 1, 2**63, -(2**63), 1e400, "", "home", "away", "\ud800", "a\0b", "x" * 200, [], {}, [None], [[]], [1, 2]]
ODD_VALUES = st.sampled_from(ODD)
FIELDS = st.sampled_from(
    [
        *("id", "source", "time", "customer", "usage", "dimensions", "data", "specversion", "type", "subject"),
        *(FORMAT_KEY, "emitter", "partition", "first_seq", "count", "customers", "series_dimensions", "at", "base_time", "ids"),
        *("final", "abandoned", "dropped", "unheard_of"),
    ]
)


def text(document: Any) -> bytes:
    """JSON, as far as it is."""
    try:
        return orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):
        return repr(document).encode("utf-8", "surrogatepass")


GOOD = {"id": "e", "source": "s", "customer": "home", "usage": {"input": 1}}
BEAT = {FORMAT_KEY: 1, "emitter": "e", "partition": 0, "first_seq": 0, "count": 0}
BATCH = {
    **BEAT,
    "count": 1,
    "customers": ["home"],
    "series_dimensions": [0],
    "at": [0],
    "time": [0],
    "usage": {"input": [1]},
    "dimensions": [{}],
    "base_time": START_MS,
}
DOCUMENTS = st.builds(lambda base, odd: base | odd, st.sampled_from([GOOD, BATCH, BEAT, {}]), st.dictionaries(FIELDS, ODD_VALUES, max_size=2))
VALUES = st.one_of(wire_strategies.FIELDS, DOCUMENTS.map(text), ODD_VALUES.map(text))


def through_the_wire(written: list[WireBatch], log_times: list[int]) -> list[LogRecord]:
    """The records as they are read, with offsets and times that the broker gives."""
    found: list[PlainRecord] = []
    for batch, log_time_ms in zip(written, log_times, strict=True):
        for data in batches(batch.encoded()):
            for record in records_of(data, header_of(data)):
                found.append(replace(record, offset=len(found), timestamp=log_time_ms))
    return list(found)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(wire_strategies.batches(VALUES), min_size=1, max_size=4), st.data())
def test_a_record_is_an_event_or_a_dead_letter_and_its_neighbours_count(written: list[WireBatch], data: st.DataObject) -> None:
    times = st.sampled_from([START_MS, START_MS + 1]) | wire_strategies.TIMES
    odd = through_the_wire(written, [data.draw(times) for _ in written])
    number = len(odd)
    before = PlainRecord(0, START_MS, b"home2", text(GOOD | {"id": "before", "customer": "home2"}), ())
    records = [before, *(replace(record, offset=record.offset + 1) for record in odd if isinstance(record, PlainRecord))]
    records.append(PlainRecord(number + 1, START_MS, b"home2", text(GOOD | {"id": "after", "customer": "home2"}), ()))
    counter = PartitionCounter(0, rules(), Tallies())
    counter.found(0, "chain")
    taken = 0
    while taken < len(records):
        taken += counter.count_many(records[taken:], 10**9)
    cut = counter.cut()
    tally = decode_tally(cut.value)
    assert tally.records.total == len(records)
    counted = {(row.customer, row.events) for row in tally.rows}
    assert ("home2", 2) in counted or [customer for customer, _ in counted].count("home2") == 2
    for letter in cut.dead_letters:
        assert letter.value == records[letter.offset].value
    assert counter.observe(0, cut.tally)
    again = PartitionCounter(0, rules(), Tallies())
    assert again.observe(0, tally)
    again.remember([record for record in records if record.timestamp <= tally.log_time_ms])
    again.remembered()
