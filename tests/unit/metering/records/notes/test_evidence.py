"""Evidence keeps what was read, to the unit, and says when a difference is more than lag."""

from dataclasses import replace

import pytest

from metering.records.ledger_records import decode_entry, encode_entry
from metering.records.notes.evidence import CAUSE_CHARS_MAX, CONFIRM_MS, CellVerdict, Evidence, Finding

READ = Finding("cus_1", "tokens", 0, 3_600_000, CellVerdict.MISSING, 10**19, 7, 7 - 10**19, 1_000, 1_000, cause="lost")


def test_what_is_written_is_read_again_beyond_64_bits() -> None:
    unread = replace(READ, verdict=CellVerdict.UNREADABLE, stripe=None, taken=(5, -7))
    evidence = Evidence(3, "reporter-1", 2_000, [READ, unread])
    assert decode_entry(encode_entry(evidence)) == evidence


def test_a_long_cause_is_cut() -> None:
    found = decode_entry(encode_entry(Evidence(3, "reporter-1", 2_000, [replace(READ, cause="x" * 1_000)])))
    assert isinstance(found, Evidence)
    assert len(found.findings[0].cause) == CAUSE_CHARS_MAX


@pytest.mark.parametrize(
    ("verdict", "reads", "apart_ms", "confirmed"),
    [
        (CellVerdict.MISSING, 2, CONFIRM_MS, True),
        (CellVerdict.EXTRA, 2, CONFIRM_MS, True),
        (CellVerdict.MISSING, 1, CONFIRM_MS, False),
        (CellVerdict.MISSING, 3, CONFIRM_MS - 1, False),
        (CellVerdict.ARRIVING, 3, CONFIRM_MS, False),
        (CellVerdict.SETTLED, 3, CONFIRM_MS, False),
    ],
)
def test_a_difference_is_confirmed_by_two_reads_far_enough_apart(verdict: CellVerdict, reads: int, apart_ms: int, *, confirmed: bool) -> None:
    assert replace(READ, verdict=verdict, reads=reads, read_at_ms=1_000 + apart_ms).is_confirmed() is confirmed
