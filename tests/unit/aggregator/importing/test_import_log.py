"""An import is accepted where it says, once for each emitter, and no record of another topic belongs to two."""

import re
from dataclasses import replace

import pytest

from aggregator.importing.import_log import ImportBook, ImportLog, NotImported
from metering.plans.import_records import (
    IMPORT_HEADER,
    Import,
    ImportedContent,
    ImportEnd,
    decode_import,
    encode_import,
)
from metering.records.fail_closed import RecordCorrupt
from metering.records.record import Record
from tests.support.aggregator_installation import TOPICS, MemoryInstallation
from tests.support.metering_memory_log import finished


def an_import(start: int = 0, end: int = 10, offset: int = 0, digest: str = "aa", **changes: object) -> Import:
    content = ImportedContent("topic", "usage.wrong", digest * 16, 2, start, end)
    made = Import(content, (), "", offset, end - start, b"", [end - start], 5, "why", "ann", 7)
    return replace(made, **changes)  # type: ignore[arg-type]  # built from parts


def book_of(*records: Import | ImportEnd) -> ImportBook:
    book = ImportBook(0)
    for offset, record in enumerate(records):
        book.add(Record(offset, 1, None, encode_import(record), [(IMPORT_HEADER, b"")]))
    return book


def test_an_import_is_accepted_at_the_offset_that_it_names_and_once() -> None:
    first = an_import()
    assert book_of(first).imports == {first.emitter: decode_import(encode_import(first))}
    assert not book_of(an_import(offset=1)).imports
    again = book_of(first, an_import(offset=1, by="bob"))
    assert [each.by for each in again.imports.values()] == ["ann"]
    assert book_of(first, ImportEnd(first.emitter)).ended == {first.emitter}


def test_imports_of_a_topic_do_not_overlap() -> None:
    first, beside, over = an_import(0, 10), an_import(10, 20, 1, "bb"), an_import(15, 25, 2, "cc")
    book = book_of(first, beside, over)
    assert list(book.imports) == [first.emitter, beside.emitter]
    assert (book.end_of("usage.wrong", 2), book.end_of("usage.wrong", 1), book.end_of("other", 2)) == (20, 0, 0)
    elsewhere = replace(over.content, partition=1)
    assert book.overlapping(over.content) is not None
    assert book.overlapping(elsewhere) is None


def test_a_claim_that_overlaps_is_refused_and_one_that_came_second_gets_the_first() -> None:
    installation = MemoryInstallation()
    log = ImportLog(installation.log, TOPICS, 1)
    first = finished(log.claim(finished(log.read(0)), an_import(), installation.appender))
    assert finished(log.claim(finished(log.read(0)), an_import(by="bob"), installation.appender)) == first
    with pytest.raises(NotImported, match=f"records 0 to 9 are brought in already, by {first.emitter}"):
        finished(log.claim(finished(log.read(0)), an_import(5, 15, digest="bb"), installation.appender))


WHOLE = encode_import(an_import(left_out=bytes([1, 2])))
CUT_OFF = re.sub(rb'("left_out":")([^"]{8})[^"]*"', rb'\1\2"', WHOLE)


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"format": "import/9"}', WHOLE.replace(b'"left_out":"', b'"left_out":"?'), CUT_OFF])
def test_what_is_no_import_is_corrupt(value: bytes) -> None:
    with pytest.raises(RecordCorrupt):
        decode_import(value)
