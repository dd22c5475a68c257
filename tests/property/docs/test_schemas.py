"""Whatever the code writes is valid by docs/schemas, and a single event is valid by its schema if and only if the code takes it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import FORMAT_KEY, encode_batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import encode_event, parse_event
from taximeter_emitter.wire.limits import (
    CUSTOMER_CHARS_MAX,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_ID_CHARS_MAX,
    NAME_CHARS_MAX,
    QUANTITY_MAX,
    SOURCE_CHARS_MAX,
    USAGE_FIELDS_MAX,
)

from aggregator.reading.decoding import read
from metering.records.dead_letter import encode_dead_letter
from metering.records.ledger_records import encode_correction, encode_handover, encode_intent, encode_receipt, encode_rejection
from metering.records.notes.customer_link import encode_link
from metering.records.notes.publication import encode_publication
from metering.records.tally import encode_tally
from tests.simulation.simulation import Simulation
from tests.simulation.world import CATALOGUE, CUSTOMERS, DEADLETTERS, EVENTS, LEDGER, TALLIES, SimulatedRecord
from tests.support import records
from tests.support.schemas import NAMES, faults

EVERY_RECORD: Final[dict[str, st.SearchStrategy[Any]]] = {
    "usage.events/single-event": records.usage_events.map(encode_event),
    "usage.events/batch": records.batches().map(encode_batch).map(orjson.loads),
    "usage.events/heartbeat": records.heartbeats.map(encode_batch).map(orjson.loads),
    "usage.tallies/tally": (records.tallies() | records.adjustments()).map(encode_tally).map(orjson.loads),
    "usage.ledger/intent": records.intents.map(encode_intent).map(orjson.loads),
    "usage.ledger/receipt": records.receipts.map(encode_receipt).map(orjson.loads),
    "usage.ledger/correction": records.corrections.map(encode_correction).map(orjson.loads),
    "usage.ledger/rejection": records.rejections.map(encode_rejection).map(orjson.loads),
    "usage.ledger/closing": records.closings.map(encode_handover).map(orjson.loads),
    "usage.ledger/adoption": records.adoptions.map(encode_handover).map(orjson.loads),
    "usage.customers/customer-link": records.links.map(encode_link).map(orjson.loads),
    "usage.catalogue/publication": records.publications.map(encode_publication).map(orjson.loads),
    "usage.deadletters/dead-letter": records.dead_letters.map(lambda letter: orjson.loads(encode_dead_letter(letter)[1][0][1] or b"")),
}


@pytest.mark.parametrize("name", EVERY_RECORD)
@given(data=st.data())
def test_whatever_the_code_writes_is_valid(name: str, data: st.DataObject) -> None:
    assert faults(name, data.draw(EVERY_RECORD[name])) == []


OF_OPERATORS: Final = {
    *(f"usage.deadletters/{kind}" for kind in ("redrive", "redrive-end", "import", "import-end")),
    *("usage.ledger/evidence", "usage.ledger/resolution", "usage.ledger/closing", "usage.ledger/adoption"),
}
"""A command writes these, and the simulation runs none: see tests/property/aggregator/dead_letters and tests/property/metering/folds."""


def test_whatever_a_simulated_pipeline_writes_is_valid() -> None:
    """Of usage.events, what the aggregator reads: the simulation writes bad records as well."""
    seen = dict.fromkeys(NAMES, 0)
    for seed in range(120):
        simulation = Simulation(seed, tracing=False, scope=None)
        simulation.run()
        for (topic, _), log in simulation.world.logs.items():
            for record in log:
                for name, document in _documents(topic, record) if record is not None else ():
                    assert faults(name, document) == [], document
                    seen[name] += 1
    assert all(count for name, count in seen.items() if name not in OF_OPERATORS), seen


def _documents(topic: str, record: SimulatedRecord) -> Iterator[tuple[str, Any]]:
    """What a record says, with the schema that it is for."""
    if topic == DEADLETTERS:
        yield "usage.deadletters/dead-letter", orjson.loads(dict(record.headers)["taximeter-dead-letter"] or b"")
    elif topic == EVENTS:
        yield from _readable(record)
    elif topic == CUSTOMERS:
        yield "usage.customers/customer-link", orjson.loads(record.value or b"")
    elif topic == CATALOGUE:
        yield "usage.catalogue/publication", orjson.loads(record.value or b"")
    else:
        assert topic in {TALLIES, LEDGER}
        document = orjson.loads(record.value or b"")
        kind = document["format"].partition("/")[0]
        yield f"usage.{'tallies' if topic == TALLIES else 'ledger'}/{kind}", document


def _readable(record: SimulatedRecord) -> Iterator[tuple[str, Any]]:
    try:
        read(record)
    except EventRejected:
        return
    document = orjson.loads(record.value or b"")
    if record.headers:
        attributes = {name.lower()[3:]: (value or b"").decode() for name, value in record.headers if name.lower().startswith("ce_")}
        yield "usage.events/cloudevent", attributes | {"data": document}
    elif FORMAT_KEY in document:
        yield f"usage.events/{'batch' if document['count'] else 'heartbeat'}", document
    else:
        yield _schema_of(document), document


def _schema_of(document: Mapping[str, Any]) -> str:
    return "usage.events/cloudevent" if "specversion" in document else "usage.events/single-event"


def _texts(longest: int) -> list[Any]:
    return ["", "x", "x" * longest, "x" * (longest + 1), "a\tb"]


def _crowds(most: int, value: object) -> list[Any]:
    return [{f"n{number}": value for number in range(count)} for count in (most, most + 1)]


JUNK: Final[list[Any]] = [None, True, 0, -1, 2.0, 0.5, "", [], {}, ["x"], {"x": {}}]
NAMED: Final = [*_texts(NAME_CHARS_MAX), "\u2028"]
QUANTITIES: Final = [*JUNK, 1, QUANTITY_MAX, QUANTITY_MAX + 1, 2**64]
CORNERS: Final[dict[str, list[Any]]] = {
    "id": [*_texts(EVENT_ID_CHARS_MAX), *JUNK],
    "type": [*_texts(EVENT_ID_CHARS_MAX), *JUNK],
    "source": [*_texts(SOURCE_CHARS_MAX), *JUNK],
    "customer": [*_texts(CUSTOMER_CHARS_MAX), *JUNK],
    "subject": [*_texts(CUSTOMER_CHARS_MAX), *JUNK],
    "time": [
        *("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.5+01:00", "2026-11-22T10:00:00", "2026-11-22T10:00Z", "2026-02-30T10:00:00Z"),
        *("1969-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "yesterday at about noon", "2026-11-22T10:00:00." + "0" * 21 + "Z", *JUNK),
    ],
    "usage": [*({name: 1} for name in NAMED), *({"n": value} for value in QUANTITIES), *_crowds(USAGE_FIELDS_MAX, 1), *JUNK],
    "dimensions": [
        *({name: "x"} for name in NAMED),
        *({"n": value} for value in (*_texts(DIMENSION_VALUE_CHARS_MAX), *JUNK)),
        *_crowds(DIMENSIONS_MAX, "x"),
        *JUNK,
    ],
    "specversion": ["1.0", "0.3", *JUNK],
    "data": JUNK,
    "surprise": JUNK,
}
"""Values of a field at and beyond what it takes."""
WHOLE: Final[dict[str, Any]] = {"id": "r-1", "customer": "cus_1", "usage": {"tokens": 1}}
OWN: Final = ("id", "source", "time", "customer", "usage", "dimensions", "surprise")
WHOLE_DATA: Final[dict[str, Any]] = {"usage": {"tokens": 1}}
IN_DATA: Final = ("customer", "usage", "dimensions", "surprise")
WHOLE_CLOUD: Final[dict[str, Any]] = {"specversion": "1.0", "type": "t", "id": "r-1", "source": "s", "subject": "cus_1", "data": WHOLE_DATA}
ATTRIBUTES: Final = ("specversion", "type", "id", "source", "time", "subject", "data", "surprise")


def _changed(whole: Mapping[str, Any], fields: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The document as it is; without each field; with each value of each field."""
    yield dict(whole)
    for name in fields:
        yield {field: value for field, value in whole.items() if field != name}
        yield from ({**whole, name: value} for value in CORNERS[name])


def _clouds() -> Iterator[dict[str, Any]]:
    yield from _changed(WHOLE_CLOUD, ATTRIBUTES)
    yield from ({**WHOLE_CLOUD, "data": data} for data in _changed(WHOLE_DATA, IN_DATA))


def test_an_event_at_the_edge_is_valid_if_and_only_if_the_code_takes_it() -> None:
    seen = Counter(map(_agreed, (*_changed(WHOLE, OWN), *_clouds())))
    assert min(seen["taken"], seen["refused by both"], seen["refused by the code alone"]) >= 20, seen


@st.composite
def spoiled(draw: st.DrawFn, whole: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The document with two of its fields gone, or set to something that may be wrong."""
    document = dict(whole)
    for name in draw(st.lists(st.sampled_from(fields), min_size=2, max_size=2)):
        document[name] = draw(st.sampled_from(CORNERS[name]) | (spoiled(WHOLE_DATA, IN_DATA) if name == "data" else st.text(max_size=3)))
        if draw(st.integers(0, 5)) == 0:
            del document[name]
    return document


@given(spoiled(WHOLE, OWN) | spoiled(WHOLE_CLOUD, ATTRIBUTES))
def test_an_event_spoiled_in_two_fields_is_valid_if_and_only_if_the_code_takes_it(document: dict[str, Any]) -> None:
    assert _agreed(document)


def _agreed(document: dict[str, Any]) -> str:
    """What became of an event; they must agree about it."""
    found, rejected = faults(_schema_of(document), document), _rejected(document)
    if rejected is None:
        assert not found, document
        return "taken"
    if found:
        return "refused by both"
    assert _no_schema_says(document, rejected), (document, rejected)
    return "refused by the code alone"


def _rejected(document: Any) -> EventRejected | None:
    try:
        parse_event(document, arrival_ms=0)
    except EventRejected as rejected:
        return rejected
    return None


def _no_schema_says(document: Any, rejected: EventRejected) -> bool:
    """The three things that the code refuses and JSON Schema cannot: see docs/schemas/README.md."""
    match rejected.reason:
        case Reason.WRONG_TYPE:
            return not all(map(str.isprintable, _strings(document)))
        case Reason.NOT_AN_INTEGER:
            return 2.0 in document.get("data", document)["usage"].values()
        case reason:
            return reason is Reason.BAD_TIME


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)


@given(st.integers(86_400, 253_402_214_400), st.text("0123456789", max_size=12), st.just("Z") | st.integers(-1439, 1439))
def test_a_time_of_rfc_3339_is_taken(local_s: int, fraction: str, zone: str | int) -> None:
    """But for two that the schema names: a small z, and the sixtieth second of a minute."""
    minutes = zone if isinstance(zone, int) else 0
    offset = zone if isinstance(zone, str) else f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02}:{abs(zone) % 60:02}"
    second = datetime.fromtimestamp(local_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    document = WHOLE | {"time": second + (f".{fraction}" if fraction else "") + offset}
    assert faults("usage.events/single-event", document) == []
    wanted_ms = (local_s - 60 * minutes) * 1000 + int(fraction.ljust(3, "0")[:3])
    assert parse_event(document, arrival_ms=0).time_ms == wanted_ms
