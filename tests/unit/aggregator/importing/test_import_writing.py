"""The number of an event is its place among the events of its partition, however the entries are handed in."""

from collections.abc import Sequence

import orjson
import pytest
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.importing.import_survey import IMPORT_MARGIN_MS
from aggregator.importing.import_writing import ImportBatch, NumberedEntries
from aggregator.importing.source_entries import SourceEntry, SourceEvent
from metering.plans.import_records import EntryBits, Import, ImportedContent
from metering.records.batch_decoding import decode_batch
from metering.records.notes.looked_up_ids import looked_up_in
from metering.records.record import Record

PARTITIONS = 3
OLD_MS, YOUNG_MS = 1_000, 9_000
AT_MS = 10 * IMPORT_MARGIN_MS
ENTRIES = [
    SourceEntry(f"line {number}", EventRejected(Reason.NEGATIVE, "usage.n", "is negative"))
    if number % 7 == 3
    else SourceEntry(
        f"line {number}",
        SourceEvent(
            f"cus_{number % 5}", (), OLD_MS if number % 2 else YOUNG_MS, (("n", number),), NO_ID if number % 3 else fingerprint("", str(number))
        ),
    )
    for number in range(1, 1_400)
]
LEFT_OUT = [4, 5, 6, 900]


def an_import(entries: Sequence[int] = LEFT_OUT) -> Import:
    known = EntryBits()
    known.add(*entries)
    content = ImportedContent("file", "a.ndjson", "00" * 16)
    return Import(content, (), "", 0, len(ENTRIES), bytes(known), [], 5_000, "why", "ann", AT_MS)


def written(at_once: int) -> tuple[list[ImportBatch], NumberedEntries]:
    numbered, found = NumberedEntries(an_import(), PARTITIONS), list[ImportBatch]()
    for start in range(0, len(ENTRIES), at_once):
        found += numbered.add(ENTRIES[start : start + at_once])
    return found + list(numbered.rest()), numbered


@pytest.mark.parametrize("at_once", [1, 13, 5_000])
def test_numbers_are_places_and_do_not_depend_on_how_entries_come(at_once: int) -> None:
    batches, numbered = written(at_once)
    expected: dict[int, list[int]] = {}
    for position, entry in enumerate(ENTRIES):
        if isinstance(entry.content, SourceEvent) and position not in LEFT_OUT:
            expected.setdefault(partition_of(entry.content.customer, PARTITIONS), []).append(entry.content.usage[0][1])
    found: dict[int, dict[int, int]] = {}
    for batch in batches:
        decoded = decode_batch(orjson.loads(batch.value))
        assert (decoded.emitter, decoded.partition, batch.following) == ("file-" + "00" * 16, batch.partition, decoded.first_seq + decoded.count)
        found.setdefault(batch.partition, {}).update(enumerate(decoded.usage["n"], start=decoded.first_seq))
    assert {partition: list(numbers.values()) for partition, numbers in found.items()} == expected
    assert all(list(numbers) == list(range(len(numbers))) for numbers in found.values())
    assert numbered.numbers() == [len(expected.get(partition, ())) for partition in range(PARTITIONS)]
    assert numbered.entries == len(ENTRIES)
    finals = {partition: decode_batch(orjson.loads(value)) for partition, value in numbered.closings()}
    assert {partition: (beat.first_seq, beat.final) for partition, beat in finals.items()} == {
        partition: (len(numbers), True) for partition, numbers in expected.items()
    }


def test_old_events_are_written_without_their_ids_which_are_in_a_header() -> None:
    batches, _ = written(100)
    for batch in batches:
        decoded = decode_batch(orjson.loads(batch.value))
        looked_up = looked_up_in(Record(0, 0, None, batch.value, batch.headers), decoded.count)
        assert looked_up is not None
        assert looked_up.searched_ms == AT_MS - IMPORT_MARGIN_MS
        for index, number in enumerate(decoded.usage["n"]):
            own = decoded.ids[16 * index : 16 * index + 16] or NO_ID
            beside = looked_up.fingerprints[16 * index : 16 * index + 16] or NO_ID
            mark = NO_ID if number % 3 else fingerprint("", str(number))
            assert (own, beside) == ((NO_ID, mark) if number % 2 else (mark, NO_ID))


def test_entry_bits_are_a_set() -> None:
    bits = EntryBits()
    bits.add(0, 9, 9, 1_000_000)
    assert [entry in EntryBits(bytes(bits)) for entry in (0, 1, 9, 1_000_000, 10**9)] == [True, False, True, True, False]
    assert len(bits) == 3
