"""Events are found in records, whatever form they have, and what became of them is read from the tally."""

import orjson
import pytest
from taximeter_emitter.buffer.batching import Batcher, EventColumns
from taximeter_emitter.wire.batch import NO_ID, Batch, encode_batch
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.kept_ids import kept_id

from audit.tracing.event_outcomes import EventOutcome, outcome_of
from audit.tracing.event_search import EventQuery, events_in, query_for, search
from metering.records.chain import ChainLink
from metering.records.notes.looked_up_ids import looked_up_headers
from metering.records.record import Record
from metering.records.tally import EventCounts, NotCounted, RecordCounts, Tally, WhyNotCounted

TIME_MS = 1_780_000_000_000
SINGLE = Record(7, TIME_MS, None, orjson.dumps({"id": "a", "source": "s", "customer": "cus_1", "usage": {"n": 3, "m": 0}}))
BATCH = Record(
    8,
    TIME_MS,
    None,
    encode_batch(
        Batch(
            emitter="e",
            partition=0,
            first_seq=40,
            count=2,
            customers=["cus_1", "Zoë"],
            dimensions=[()],
            series_dimensions=[0, 0],
            at=[0, 1],
            base_time_ms=TIME_MS,
            time=[0, 5],
            usage={"n": [1, 2]},
            ids=fingerprint("s", "a") + fingerprint("s", "b"),
        )
    ),
)


def found(query: EventQuery) -> list[tuple[int, int]]:
    return [(event.offset, event.at) for record in (SINGLE, BATCH) for event in search(record, query)]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        (query_for("a", "s", "cus_1"), [(7, 0), (8, 0)]),
        (query_for("a", "s", None), [(7, 0), (8, 0)]),
        (query_for("b", "s", "Zoë"), [(8, 1)]),
        (query_for("a", "", "cus_1"), []),
        (query_for("a", "s", "cus_2"), []),
        (EventQuery("cus_1"), [(7, 0), (8, 0)]),
    ],
)
def test_events_are_found_by_identity_and_by_customer(query: EventQuery, places: list[tuple[int, int]]) -> None:
    assert found(query) == places


def test_a_customer_that_is_written_with_escapes_is_found() -> None:
    value = SINGLE.value or b""
    escaped = Record(7, TIME_MS, None, value.replace(b"cus_1", rb"\u0063us_1"))
    assert [event.customer for event in search(escaped, EventQuery("cus_1"))] == ["cus_1"]


def test_an_event_of_a_batch_knows_its_number() -> None:
    (event,) = search(BATCH, query_for("b", "s", None))
    assert (event.emitter, event.number, event.time_ms, event.usage) == ("e", 41, TIME_MS + 5, (("n", 2),))


@pytest.mark.parametrize("value", [None, b"", b"{}", b'{"taximeter": 1}'])
def test_in_what_cannot_be_read_nothing_is_found(value: bytes | None) -> None:
    assert list(search(Record(1, TIME_MS, None, value), EventQuery())) == []


def test_an_outcome_is_what_the_tally_names_and_else_counted() -> None:
    tally = Tally(
        chain_id="c",
        partition=0,
        link=ChainLink(10, 16, -1),
        checkpoint=-1,
        instance="i",
        catalogue="k",
        log_time_ms=TIME_MS,
        records=RecordCounts(batches=6),
        events=EventCounts(),
        rows=(),
        set_aside=[(10, ()), (11, (1,))],
        not_counted=[
            NotCounted(12, 2, 0, 0, WhyNotCounted.DUPLICATE),
            NotCounted(14, 1, 2, 3, WhyNotCounted.KNOWN_NUMBER),
            NotCounted(15, 1, 0, 1, WhyNotCounted.FORWARDED),
        ],
    )
    assert [outcome_of(tally, offset, at) for offset, at in ((10, 9), (11, 0), (11, 1), (13, 5), (14, 1), (14, 2), (14, 4), (14, 5), (15, 0))] == [
        EventOutcome.SET_ASIDE,
        EventOutcome.COUNTED,
        EventOutcome.SET_ASIDE,
        EventOutcome.DUPLICATE,
        EventOutcome.COUNTED,
        EventOutcome.KNOWN_NUMBER,
        EventOutcome.KNOWN_NUMBER,
        EventOutcome.COUNTED,
        EventOutcome.FORWARDED,
    ]


def test_an_event_has_the_id_that_its_client_gave_it_if_that_was_kept() -> None:
    batcher = Batcher("e1")
    kept = [kept_id("gpu", "req-1"), "", kept_id("gpu", "req-3")]
    marks = [fingerprint("gpu", "req-1"), NO_ID, fingerprint("gpu", "req-3")]
    batcher.add_columns(0, EventColumns(("n",), ["c"] * 3, [()] * 3, [1, 2, 3], [False] * 3, marks, [[1, 2, 3]], 100, kept))
    ((value,),) = [[batch.value for batch in batcher.take_all()]]
    assert [(event.source, event.event_id) for event in events_in(Record(7, 10, None, value))] == [("gpu", "req-1"), ("", ""), ("gpu", "req-3")]
    (found,) = search(Record(7, 10, None, value), query_for("req-3", "gpu", "c"))
    assert (found.at, found.event_id) == (2, "req-3")
    damaged = value.replace(b'"kept_ids":"', b'"kept_ids":"?')
    assert [event.event_id for event in events_in(Record(7, 10, None, damaged))] == ["", "", ""]
    single = Record(8, 10, None, b'{"id": "s1", "source": "api", "customer": "c", "usage": {"n": 1}}')
    assert [(event.source, event.event_id) for event in events_in(single)] == [("api", "s1")]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 200])
def test_an_event_is_found_in_a_batch_wherever_it_is(count: int) -> None:
    batcher = Batcher("e1")
    for number in range(count):
        batcher.add(0, customer="c", dimensions=(), time_ms=number, usage=(("n", 1),), fingerprint=fingerprint("s", f"e{number}"))
    (batch,) = batcher.take_all()
    for number in range(count):
        query = query_for(f"e{number}", "s", None)
        assert query.may_be_in(batch.value)
        assert [event.at for event in search(Record(7, 10, None, batch.value), query)] == [number]
    assert not query_for("other", "s", None).may_be_in(batch.value), "most records are passed over without being decoded"
    assert query_for("other", "s", None).may_be_in(batch.value.replace(b'"ids":"', b'"ids":"\\u0041'))


def test_an_event_that_was_brought_in_without_its_id_is_found_by_it() -> None:
    batcher = Batcher("file-1")
    for number in range(2):
        batcher.add(0, customer="c", dimensions=(), time_ms=number, usage=(("n", 1),), fingerprint=NO_ID)
    (batch,) = batcher.take_all()
    record = Record(7, 10, None, batch.value, looked_up_headers(5, NO_ID + fingerprint("s", "old")))
    assert [event.at for event in search(record, query_for("old", "s", "c"))] == [1]
    assert [event.fingerprint for event in events_in(record)] == [b"", fingerprint("s", "old")]
