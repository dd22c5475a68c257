"""Whatever carries one of our headers is what it says, foreign, or named as corrupt: nothing else comes out of it."""

from collections.abc import Callable
from functools import partial

import orjson
import pytest
from taximeter_emitter.wire.errors import Reason

from metering.plans.import_records import IMPORT_HEADER, Import, ImportedContent, ImportEnd, encode_import, import_in
from metering.records.dead_letter import LETTER_HEADER, DeadLetter, decode_dead_letter, encode_dead_letter
from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.foreign_records import PassedBatch, PassedOver, decision_in, decode_decision, encode_decision
from metering.records.record import Record
from metering.records.redrive import NO_EDIT, REDRIVE_HEADER, Redrive, RedriveEnd, encode_redrive, redrive_in

REDRIVE = encode_redrive(Redrive("c", 0, 7, [(1, (0, 2))], [], [(3, (0,))], NO_EDIT, "why", "ann", 1))
REDRIVE_END = encode_redrive(RedriveEnd(7))
IMPORT = encode_import(Import(ImportedContent("file", "a", "00"), [("a", "id")], "", 7, 1, b"", [1], 0, "why", "ann", 1))
IMPORT_END = encode_import(ImportEnd("file-00"))
DECISION = encode_decision(PassedOver(0, 3, "ab", "why", "ann", 1))
BATCH_DECISION = encode_decision(PassedBatch(0, 3, 5, 9, "torn", "why", "ann", 1))
LETTER = DeadLetter("usage.events", 0, 3, 1, Reason.MALFORMED_JSON, "", "", (), 1, None, b"{", ())
FOREIGN = (None, b"", b"\xff garbage", b"[]", b'{"format":"tally/2"}', b'{"format": "redrive/1"}', b'{"format":7}')


def in_redrive(value: bytes | None) -> object:
    return redrive_in(Record(7, 1, None, value, [(REDRIVE_HEADER, b"")]))


def in_import(value: bytes | None) -> object:
    return import_in(Record(7, 1, None, value, [(IMPORT_HEADER, b"")]))


@pytest.mark.parametrize("read", [in_redrive, in_import])
def test_a_header_alone_makes_nothing_ours(read: Callable[[bytes | None], object]) -> None:
    assert [read(value) for value in FOREIGN] == [None] * len(FOREIGN)


def test_without_the_header_nothing_is_taken_back_or_brought_in() -> None:
    assert redrive_in(Record(7, 1, None, REDRIVE, [(LETTER_HEADER, b"")])) is None
    assert import_in(Record(7, 1, None, IMPORT, [(LETTER_HEADER, b"")])) is None


def _spoilt(value: bytes) -> list[bytes]:
    """The document with each field of another type in turn, and without it."""
    document = orjson.loads(value)
    wrongs: tuple[object, ...] = ([[]], {"a": 1}, None, -1)
    found = []
    for name in document:
        if name != "format":
            found += [orjson.dumps(document | {name: wrong}) for wrong in wrongs]
            found.append(orjson.dumps({key: kept for key, kept in document.items() if key != name}))
    return found


def _corrupt_at(read: Callable[[], object]) -> int | None:
    """The offset that is named; None if it can be read."""
    try:
        read()
    except RecordCorrupt as error:
        return error.offset
    return None


@pytest.mark.parametrize("value", [REDRIVE, REDRIVE_END])
def test_what_looks_like_a_redrive_is_whole_or_named(value: bytes) -> None:
    assert in_redrive(value) is not None
    for spoilt in [value[:-3], *_spoilt(value)]:
        if _corrupt_at(partial(in_redrive, spoilt)) != 7:
            found = in_redrive(spoilt)
            assert isinstance(found, Redrive | RedriveEnd)
            assert in_redrive(encode_redrive(found)) == found
            assert type(found.redrive if isinstance(found, RedriveEnd) else found.offset) is int


@pytest.mark.parametrize("value", [IMPORT, IMPORT_END])
def test_what_looks_like_an_import_is_whole_or_named(value: bytes) -> None:
    assert in_import(value) is not None
    for spoilt in [value[:-3], *_spoilt(value)]:
        if _corrupt_at(partial(in_import, spoilt)) != 7:
            found = in_import(spoilt)
            assert isinstance(found, Import | ImportEnd)
            assert in_import(encode_import(found)) == found
            assert type(found.emitter) is str


def test_a_decision_that_cannot_be_read_decides_nothing() -> None:
    for whole in (DECISION, BATCH_DECISION):
        assert decision_in(Record(9, 1, None, whole)) == decode_decision(whole)
        for spoilt in [whole[:-3], *_spoilt(whole)]:
            assert decision_in(Record(9, 1, None, spoilt)) is None


def test_a_decision_about_a_batch_counts_only_where_its_writer_wanted_it() -> None:
    assert decision_in(Record(10, 1, None, BATCH_DECISION)) is None


def test_a_letter_is_whole_or_named() -> None:
    value, [(name, about), *_] = encode_dead_letter(LETTER)
    assert about is not None

    def read(spoilt: bytes) -> DeadLetter:
        return decode_dead_letter(Record(9, 1, None, value, [(name, spoilt)]))

    assert (read(about).reason, read(about).events) == (LETTER.reason, 1)
    too_many = orjson.dumps(orjson.loads(about) | {"events": 10**12})
    assert _corrupt_at(partial(read, too_many)) == 9
    for spoilt in [b"", about[:-3], *_spoilt(about)]:
        if _corrupt_at(partial(read, spoilt)) != 9:
            assert encode_dead_letter(read(spoilt))[1]
