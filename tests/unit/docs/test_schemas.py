"""docs/schemas says what the code says: examples, limits, names of fields, topics."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from taximeter_emitter.wire.batch import (
    ABANDONED_RANGES_MAX,
    EMITTER_CHARS_MAX,
    LISTED_FIELDS,
    PACKED_FROM,
    PARTITION_MAX,
    SEQUENCE_MAX,
    TIME_MS_MAX,
    Batch,
    encode_batch,
)
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import DATA_FIELDS, EVENT_FIELDS, REQUIRED_FIELDS, UsageEvent, encode_event
from taximeter_emitter.wire.kept_ids import KEPT_IDS_CHARS_MAX
from taximeter_emitter.wire.limits import (
    BATCH_EVENTS_MAX,
    CUSTOMER_CHARS_MAX,
    DAY_MS,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_ID_CHARS_MAX,
    NAME_CHARS_MAX,
    QUANTITY_MAX,
    SOURCE_CHARS_MAX,
    USAGE_FIELDS_MAX,
)

from aggregator.dead_letters.redrive_plan import PLACES_PER_REDRIVE_MAX
from aggregator.reading.decoding import understood
from metering.kafka.topics import UNLIMITED, topics_named
from metering.plans.import_records import COLUMNS_MAX, decode_import, encode_import
from metering.records.dead_letter import LETTER_CUSTOMERS_MAX, DeadLetter, Origin, encode_dead_letter
from metering.records.ledger_records import (
    BY_CHARS_MAX,
    REASON_CHARS_MAX,
    REJECTION_IDENTIFIERS_MAX,
    SETTLEMENT_DETAIL_CHARS_MAX,
    CorrectionKind,
    Outcome,
    decode_entry,
    encode_entry,
)
from metering.records.notes.customer_link import STRIPE_CUSTOMER_CHARS_MAX, decode_link, encode_link
from metering.records.notes.evidence import CAUSE_CHARS_MAX, FINDINGS_MAX, TAKEN_MAX
from metering.records.notes.publication import decode_publication, encode_publication
from metering.records.notes.resolution import SUMS_READ_MAX
from metering.records.record import Record
from metering.records.redrive import EDITS_MAX, decode_redrive, encode_redrive
from metering.records.service_limits import IDENTIFIER_CHARS_MAX, VALUE_MAX
from metering.records.tally import decode_tally, encode_tally
from tests.support.batch_forms import in_columns, in_lists
from tests.support.repository import ROOT
from tests.support.schemas import NAMES, SCHEMAS, examples, faults, schema, subschemas

PAGE: Final = (SCHEMAS / "README.md").read_text()
EVERY_EXAMPLE = [pytest.param(name, document, id=file) for name in NAMES for file, document in examples(name).items()]


@pytest.mark.parametrize(("name", "document"), EVERY_EXAMPLE)
def test_an_example_is_valid(name: str, document: Any) -> None:
    assert faults(name, document) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_has_a_title_and_two_examples_and_describes_every_field(name: str) -> None:
    whole = schema(name)
    assert whole["title"]
    assert len(examples(name)) >= 2
    for where, found in subschemas(whole, conditions=False):
        for field in (*found.get("properties", {}).values(), *found.get("prefixItems", ())):
            target = whole["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert field.get("description") or target.get("description"), (where, field)


def test_every_example_belongs_to_a_schema() -> None:
    assert sorted(path.name for path in SCHEMAS.glob("*/examples/*")) == sorted(file for name in NAMES for file in examples(name))


def read(document: Any) -> Batch | UsageEvent:
    return understood(Record(0, 1_795_341_600_000, None, None), document)


def written_again(document: Any) -> bytes:
    batch = read(document)
    assert isinstance(batch, Batch)
    return encode_batch(batch)


def encoded_entry(document: Any) -> bytes:
    return encode_entry(decode_entry(orjson.dumps(document)))


def letter_again(document: dict[str, Any]) -> bytes:
    about = {name: value for name, value in document.items() if name not in {"log_time", "reason", "source", "emitter", "largest_customers"}}
    origin = Origin(document["source"], document["emitter"], document["largest_customers"])
    reason, log_time_ms = Reason(document["reason"]), document["log_time"]
    letter = DeadLetter(**about, reason=reason, log_time_ms=log_time_ms, key=None, value=None, headers=(), origin=origin)
    return encode_dead_letter(letter)[1][0][1] or b""


def redrive_again(document: Any) -> bytes:
    return encode_redrive(decode_redrive(orjson.dumps(document)))


def import_again(document: Any) -> bytes:
    return encode_import(decode_import(orjson.dumps(document)))


def publication_again(document: Any) -> bytes:
    publication = decode_publication(orjson.dumps(document))
    assert publication is not None
    return encode_publication(publication)


def link_again(document: Any) -> bytes:
    link = decode_link(orjson.dumps(document))
    assert link is not None
    return encode_link(link)


WRITTEN: Final[dict[str, Callable[[Any], bytes]]] = {
    "usage.events/batch": written_again,
    "usage.events/heartbeat": written_again,
    "usage.tallies/tally": lambda document: encode_tally(decode_tally(orjson.dumps(document))),
    **dict.fromkeys(
        (f"usage.ledger/{kind}" for kind in ("intent", "receipt", "correction", "rejection", "evidence", "resolution", "closing", "adoption")),
        encoded_entry,
    ),
    "usage.deadletters/dead-letter": letter_again,
    "usage.catalogue/publication": publication_again,
    "usage.customers/customer-link": link_again,
    **dict.fromkeys((f"usage.deadletters/{kind}" for kind in ("redrive", "redrive-end")), redrive_again),
    **dict.fromkeys((f"usage.deadletters/{kind}" for kind in ("import", "import-end")), import_again),
}
PRODUCED: Final = {"usage.events/single-event", "usage.events/cloudevent"}
"""Others write these."""


@pytest.mark.parametrize(("name", "document"), EVERY_EXAMPLE)
def test_an_example_is_read_and_what_only_the_code_writes_is_written_just_so(name: str, document: Any) -> None:
    assert WRITTEN.keys() | PRODUCED == set(NAMES)
    if name in WRITTEN:
        assert orjson.loads(WRITTEN[name](document)) == document
    else:
        event = read(document)
        assert isinstance(event, UsageEvent)
        assert read(encode_event(event)) == event._replace(stamped=False)


def test_both_forms_of_every_batch_are_valid() -> None:
    for document in examples("usage.events/batch").values():
        for value in (in_lists(orjson.dumps(document)), in_columns(orjson.dumps(document))):
            assert faults("usage.events/batch", orjson.loads(value)) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("usage.events/batch", {"surprise": 1}),
        ("usage.events/batch", {"taximeter": 3}),
        ("usage.events/batch", {"count": -1}),
        ("usage.events/batch", {"count": BATCH_EVENTS_MAX + 1}),
        ("usage.events/batch", {"usage": {}}),
        ("usage.events/batch", {"at": "3AAAA"}),
        ("usage.events/batch", {"at": "1AAA"}),
        ("usage.events/batch", {"at": [-1]}),
        ("usage.events/batch", {"emitter": "e" * (EMITTER_CHARS_MAX + 1)}),
        ("usage.events/heartbeat", {"count": 1}),
        ("usage.events/heartbeat", {"abandoned": [[1, 2, 3]]}),
        ("usage.events/heartbeat", {"final": 1}),
    ],
)
def test_a_damaged_batch_is_refused_by_its_schema_and_by_the_code(name: str, change: dict[str, Any]) -> None:
    for document in examples(name).values():
        assert faults(name, document | change)
        with pytest.raises(EventRejected):
            read(document | change)


LIMITS: Final[dict[tuple[str, str], int]] = {
    ("id", "maxLength"): EVENT_ID_CHARS_MAX,
    ("type", "maxLength"): EVENT_ID_CHARS_MAX,
    ("source", "maxLength"): SOURCE_CHARS_MAX,
    ("customer", "maxLength"): CUSTOMER_CHARS_MAX,
    ("subject", "maxLength"): CUSTOMER_CHARS_MAX,
    ("name", "maxLength"): NAME_CHARS_MAX,
    ("usage", "maxProperties"): USAGE_FIELDS_MAX,
    ("usage", "maximum"): QUANTITY_MAX,
    ("dimensions", "maxProperties"): DIMENSIONS_MAX,
    ("dimensions", "maxLength"): DIMENSION_VALUE_CHARS_MAX,
    ("time", "minLength"): 20,
    ("time", "maxLength"): 40,
    ("emitter", "maxLength"): EMITTER_CHARS_MAX,
    ("partition", "maximum"): PARTITION_MAX,
    ("first_seq", "maximum"): SEQUENCE_MAX,
    ("dropped", "maximum"): SEQUENCE_MAX,
    ("base_time", "maximum"): TIME_MS_MAX,
    ("stamped", "maximum"): 1,
    ("time", "maximum"): TIME_MS_MAX,
    ("abandoned", "maxItems"): ABANDONED_RANGES_MAX,
    ("largest_customers", "maxItems"): LETTER_CUSTOMERS_MAX,
    ("largest_customers", "maxLength"): CUSTOMER_CHARS_MAX,
    **{(name, "maximum"): BATCH_EVENTS_MAX for name in ("count", "series")},
    **{(name, "maximum"): BATCH_EVENTS_MAX - 1 for name in ("at", "series_dimensions", "set_aside", "not_counted", "indexes")},
    **{(name, "maxItems"): BATCH_EVENTS_MAX for name in ("customers", "dimensions", "at", "series_dimensions", "time", "stamped", "usage")},
    **{(name, "maxLength"): 100 for name in ("meter", "catalogue_definition")},  # Stripe's limit, which metering.records.meters checks
    **{(name, "maximum"): VALUE_MAX for name in ("meter_events", "unbillable", "carried", "value")},
    **{(name, "maxLength"): IDENTIFIER_CHARS_MAX for name in ("identifier", "target")},
    **{(name, "maxLength"): SETTLEMENT_DETAIL_CHARS_MAX for name in ("settlements", "message", "detail")},
    **{(name, "maxItems"): PLACES_PER_REDRIVE_MAX for name in ("places", "nameless", "known")},
    **{(name, "maximum"): BATCH_EVENTS_MAX - 1 for name in ("places", "nameless", "known")},
    **{(name, "maxItems"): EDITS_MAX for name in ("rename", "drop")},
    ("reason", "maxLength"): REASON_CHARS_MAX,
    ("by", "maxLength"): BY_CHARS_MAX,
    ("columns", "maxItems"): COLUMNS_MAX,
    ("kept_ids", "maxLength"): KEPT_IDS_CHARS_MAX,
    ("identifiers", "maxItems"): REJECTION_IDENTIFIERS_MAX,
    ("findings", "maxItems"): FINDINGS_MAX,
    ("cause", "maxLength"): CAUSE_CHARS_MAX,
    ("taken", "maxItems"): TAKEN_MAX,
    ("reads", "maxItems"): SUMS_READ_MAX,
    ("to_customer", "maxLength"): CUSTOMER_CHARS_MAX,
    **{(name, "maxLength"): STRIPE_CUSTOMER_CHARS_MAX for name in ("linked", "links", "stripe_customer")},
}
"""By the name of the field or definition."""
KINDS = ("maximum", "minLength", "maxLength", "maxItems", "maxProperties")
ONLY_BELOW: Final = {("rows", "maxItems"), ("acceptance", "maxLength"), ("stepped_over", "maxLength"), ("packed", "minLength")}
"""Of a tally with a decision, which has no rows and two texts; of a packed column, which has at least one integer."""


def test_every_bound_in_the_schemas_is_one_of_the_code_s() -> None:
    found = {
        (where, kind, found[kind])
        for name in NAMES
        for where, found in subschemas(schema(name))
        for kind in KINDS
        if kind in found and (kind, found[kind]) not in {("minLength", 0), ("minLength", 1)}
    }
    assert {(where, kind) for where, kind, _ in found} == LIMITS.keys() | ONLY_BELOW
    assert [bound for bound in found if bound[:2] not in ONLY_BELOW and LIMITS[bound[:2]] != bound[2]] == []
    accepted = schema("usage.tallies/tally")["properties"]["acceptance"]["prefixItems"]
    assert [text.get("maxLength") for text in accepted] == [REASON_CHARS_MAX, BY_CHARS_MAX, None]
    stepped = schema("usage.tallies/tally")["properties"]["stepped_over"]["prefixItems"]
    assert [text.get("maxLength") for text in stepped] == [REASON_CHARS_MAX, BY_CHARS_MAX, None, None]
    assert str(PACKED_FROM) in schema("usage.events/batch")["$defs"]["form2"]["description"]


def test_fields_reasons_and_outcomes_are_the_code_s() -> None:
    single, cloud = schema("usage.events/single-event"), schema("usage.events/cloudevent")
    assert tuple(single["properties"]) == EVENT_FIELDS
    assert set(single["required"]) == REQUIRED_FIELDS
    assert set(cloud["properties"]["data"]["properties"]) == DATA_FIELDS
    assert tuple(schema("usage.events/batch")["$defs"]["form1"]["required"]) == LISTED_FIELDS
    tally, letter = schema("usage.tallies/tally"), schema("usage.deadletters/dead-letter")
    assert tally["properties"]["events"]["properties"]["dead_lettered"]["propertyNames"]["enum"] == list(Reason)
    assert letter["properties"]["reason"]["enum"] == list(Reason)
    outcomes = schema("usage.ledger/receipt")["properties"]["settlements"]["items"]["prefixItems"][2]
    assert outcomes["enum"] == list(Outcome)
    kinds = schema("usage.ledger/correction")["properties"]["kind"]
    assert kinds["enum"] == list(CorrectionKind)
    assert all(f"{value}:" in described["description"] for described in (outcomes, kinds) for value in described["enum"])


def test_topics_and_retention_are_the_code_s_and_the_page_says_the_same() -> None:
    specs = {spec.name: spec for spec in topics_named("usage")}
    assert {name.partition("/")[0] for name in NAMES} == specs.keys()
    for name in NAMES:
        kafka = schema(name)["x-kafka"]
        assert kafka.keys() == {"topic", "retention", "partition", "key", "value", "headers", "written_by", "read_by"}
        spec = specs[kafka["topic"]]
        assert kafka["retention"] == ("unlimited" if spec.retention_ms == UNLIMITED else f"{spec.retention_ms // DAY_MS} days")
        assert name.partition("/")[0] == spec.name
        row = next(line for line in PAGE.splitlines() if f"]({name}.schema.json)" in line)
        assert f"`{spec.name}`" in row
        assert kafka["retention"] in row


def test_the_links_of_the_page_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (SCHEMAS / link).exists(), link


def test_the_page_s_commands_do_what_it_says(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    assert subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True, check=True).stdout == "(812, 40, 7)\n"
    (command,) = re.findall(r"^check-jsonschema .*$", PAGE, re.MULTILINE)
    (tmp_path / "event.json").write_text('{"id": "a", "customer": "cus_1", "usage": {"input_tokens": 1}}')
    arguments = shlex.split(command.replace("event.json", str(tmp_path / "event.json")))
    arguments[0] = str(Path(sys.executable).with_name(arguments[0]))
    subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
