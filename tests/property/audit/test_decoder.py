"""The audit's decoder and the aggregator's reader, written apart, agree on every record: the same events, or none."""

from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch, encode_batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent, encode_event
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.reading.decoding import read
from aggregator.reading.origins import claimed
from audit.decoder.home_partition import home_of
from audit.decoder.record_contents import BatchContents, HeartbeatContents, HeldEvents, RecordContents, UnreadableContents
from audit.decoder.record_reading import contents_of
from metering.records.record import Record
from tests.support.aggregator_records import ODD_NUMBERS
from tests.support.batch_forms import in_columns
from tests.support.records import batches, heartbeats, usage_events

LOG_TIME_MS = 1_780_000_000_000
NO_SERIES = (
    b'{"taximeter":2,"emitter":"e","partition":0,"first_seq":0,"count":1,"customers":["c"],"series":0,"series_customers":"1",'
    b'"series_dimensions":"1","at":"1AA==","time":"1AA==","usage":{"a":"1AA=="},"dimensions":[{}],"base_time":0}'
)

texts = st.text(max_size=5) | st.sampled_from(["\u00a0", "\u200d", "\n", "x" * 64, "x" * 65, "x" * 128, "x" * 129, ""])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts | st.sampled_from(ODD_NUMBERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
digits = st.integers(0, 99).map(lambda number: f"{number:02}")
times = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["1969", "1970", "2024", "2026", "0000", "9999", "226"]),
    st.sampled_from(["01", "02", "06", "12", "13"]),
    st.sampled_from(["01", "28", "29", "30", "31", "00"]),
    st.sampled_from(["T", "t", " ", "_", ""]),
    st.sampled_from(["00", "10", "23", "24"]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["00", "59", "60", "61"]),
    st.sampled_from(["", ".5", ".9999999", ".000000001", ",5", "."]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-23:59", "+24:00", "+0530", "", "+01:60"]),
)
cloudevents = st.builds(
    lambda event, extra: (
        {
            "specversion": "1.0",
            "type": "usage",
            "source": "s",
            "id": event.event_id,
            "data": {"customer": event.customer, "usage": dict(event.usage), "dimensions": dict(event.dimensions)},
        }
        | extra
    ),
    usage_events,
    st.dictionaries(st.sampled_from(["time", "subject", "data_base64", "ext", "type", "specversion"]), json_values | times, max_size=2),
)
good = st.one_of(
    usage_events.map(encode_event),
    cloudevents,
    batches().map(encode_batch).map(orjson.loads),
    batches().map(encode_batch).map(in_columns).map(orjson.loads),
    heartbeats.map(encode_batch).map(orjson.loads),
)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A document in which one value, somewhere, is another, or gone, or in which there is one more."""
    document = draw(good)
    place, key = document, draw(st.sampled_from(sorted(document)))
    while isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
        place = place[key]
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    match draw(st.sampled_from(["change", "change", "drop", "add"])):
        case "change":
            place[key] = draw(json_values | times | st.integers(-1, 3))
        case "drop":
            del place[key]
        case _ if isinstance(place, dict):
            place[draw(texts | st.sampled_from(["time", "stamped", "ids", "series", "taximeter", "specversion", "dropped", "final"]))] = draw(
                json_values
            )
        case _:
            place.append(draw(json_values))
    return document


def dumped(document: Any) -> bytes | None:
    try:
        return orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        return repr(document).replace("'", '"').encode("utf-8", "replace")


attribute_headers = st.sampled_from(
    [
        *("ce_specversion", "ce-specversion", "CE_ID", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_", "content-type"),
        *("Content-Type", "content-encoding", "taximeter-x", "traceparent", ""),
    ]
)
header_values = st.none() | st.sampled_from([b"1.0", b"a", b"application/json; x", b"text/json", b"text/plain", b"\xff", b""]) | st.binary(max_size=4)
binary_mode = st.builds(
    lambda headers, more: [*headers.items(), *more],
    st.just({"ce_specversion": b"1.0", "ce_id": b"i", "ce_source": b"s", "ce_type": b"t"}),
    st.lists(st.tuples(attribute_headers, header_values), max_size=2),
)
headers: st.SearchStrategy[list[tuple[str, bytes | None]]] = (
    st.just([]) | binary_mode | st.lists(st.tuples(attribute_headers, header_values), max_size=3)
)
values = (good | spoilt() | json_values).map(dumped) | st.none() | st.binary(max_size=20)


def events_of(columns: HeldEvents) -> list[Any]:
    return [
        (*columns.series[series], moment, {field: column[index] for field, column in columns.usage.items()}, columns.identities[index])
        for index, (series, moment) in enumerate(zip(columns.at, columns.times, strict=True))
    ]


def audited(contents: RecordContents) -> object:
    match contents:
        case UnreadableContents(_, claimed):
            return claimed
        case HeartbeatContents(emitter, partition, final, abandoned, dropped):
            return emitter, partition, final, list(abandoned), dropped
        case BatchContents(emitter, partition, first, events):
            return emitter, partition, first, events_of(events)
    return events_of(contents.events)


def aggregated(record: Record) -> object:
    try:
        content = read(record)
    except EventRejected:
        return claimed(record).events
    if isinstance(content, UsageEvent):
        return [(content.customer, content.dimensions, content.time_ms, dict(content.usage), content.fingerprint)]
    if not content.count:
        final = content.first_seq if content.final else None
        return content.emitter, content.partition, final, list(content.abandoned), content.dropped
    return content.emitter, content.partition, content.first_seq, [_event(content, index, record.timestamp) for index in range(content.count)]


def _event(batch: Batch, index: int, log_time_ms: int) -> object:
    series, fingerprint = batch.at[index], batch.ids[FINGERPRINT_BYTES * index : FINGERPRINT_BYTES * (index + 1)]
    usage = {field: column[index] for field, column in batch.usage.items()}
    dimensions = batch.dimensions[batch.series_dimensions[series]]
    time_ms = batch.base_time_ms + batch.time[index]
    stamped = batch.stamped is True or (batch.stamped is not False and batch.stamped[index])
    if stamped and 0 < time_ms - log_time_ms <= CLOCK_AHEAD_MAX_MS:
        time_ms = log_time_ms
    return batch.customers[series], dimensions, time_ms, usage, b"" if fingerprint == NO_ID else fingerprint


@settings(max_examples=400, deadline=None)
@given(values, headers)
@example(NO_SERIES, [])
def test_both_read_the_same_of_every_record(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    record = Record(0, LOG_TIME_MS, b"key", value, headers)

    assert audited(contents_of(record)) == aggregated(record)


@settings(max_examples=100, deadline=None)
@given(good.map(dumped))
def test_good_records_are_read(value: bytes) -> None:
    record = Record(0, LOG_TIME_MS, None, value)

    assert audited(contents_of(record)) == aggregated(record)


@settings(max_examples=300, deadline=None)
@given(times)
def test_times_are_read_alike(time: str) -> None:
    record = Record(0, LOG_TIME_MS, None, orjson.dumps({"id": "i", "customer": "c", "usage": {"a": 1}, "time": time}))

    assert audited(contents_of(record)) == aggregated(record)


@given(st.text(max_size=12), st.integers(1, 100))
def test_a_customer_has_one_home(customer: str, partitions: int) -> None:
    customer = customer.encode("utf-8", "ignore").decode()

    assert home_of(customer, partitions) == partition_of(customer, partitions)
