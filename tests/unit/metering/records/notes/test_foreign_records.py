"""What Taximeter writes to its own topics is known by its beginning, and nothing else is."""

from dataclasses import replace

import orjson
import pytest

from metering.folds.ledger import Ledger
from metering.records.fail_closed import RecordCorrupt
from metering.records.ledger_records import Entry, encode_entry
from metering.records.notes.foreign_records import PassedOver, decode_decision, encode_decision, is_decision, is_foreign
from metering.records.tally import encode_tally
from tests.support.metering_corrections import adoption, closing
from tests.support.metering_ledger_entries import REJECTION
from tests.support.reporter_planning import tally

ENTRIES: tuple[Entry, ...] = (REJECTION, closing(Ledger()), replace(adoption(Ledger()), in_doubt=[("tokens", 1)]))
DECISION = PassedOver(3, 17, "digest", "why", "ann", 1_000)


def test_what_we_write_is_ours() -> None:
    for value in (encode_tally(tally(0, -1, 1)), *map(encode_entry, ENTRIES), encode_decision(DECISION)):
        assert not is_foreign(value)
        assert not is_foreign(value.replace(b"/1", b"/29", 1)), "a later version of it is, too"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"\x00\x00\x00\x00\x01avro",
        orjson.dumps({"format": "tally/2"}),
        orjson.dumps({"format": "tally/2", "partition": "0"}),
        orjson.dumps({"format": "Tally", "partition": 0}),
        orjson.dumps({"partition": 0, "format": "tally/2"}),
        orjson.dumps({"format": "tally/2", "rows": [], "partition": 0}),
        orjson.dumps({"id": "e", "customer": "cus_1", "usage": {"n": 1}}),
        b'{"format":"tally/2","filler":"' + b"x" * 300 + b'","partition":0}',
    ],
)
def test_everything_else_is_foreign(value: bytes | None) -> None:
    assert is_foreign(value)


def test_a_decision_comes_back() -> None:
    assert is_decision(encode_decision(DECISION))
    assert decode_decision(encode_decision(DECISION)) == DECISION
    assert not is_decision(None)
    for value in (b"{", b"[]", b"{}"):
        with pytest.raises(RecordCorrupt):
            decode_decision(value)
