"""Evidence keeps what was read, to the unit, and says when a difference is more than lag."""

from dataclasses import replace

from metering.records.ledger_records import decode_entry, encode_entry
from metering.records.notes.evidence import CAUSE_CHARS_MAX, CellVerdict, Evidence, Finding

READ = Finding("cus_1", "tokens", 0, 3_600_000, CellVerdict.MISSING, 10**19, 7, 7 - 10**19, 1_000, 1_000, cause="lost")


def test_what_is_written_is_read_again_beyond_64_bits() -> None:
    unread = replace(READ, verdict=CellVerdict.UNREADABLE, stripe=None, taken=(5, -7))
    evidence = Evidence(3, "reporter-1", 2_000, [READ, unread])
    assert decode_entry(encode_entry(evidence)) == evidence


def test_a_long_cause_is_cut() -> None:
    found = decode_entry(encode_entry(Evidence(3, "reporter-1", 2_000, [replace(READ, cause="x" * 1_000)])))
    assert isinstance(found, Evidence)
    assert len(found.findings[0].cause) == CAUSE_CHARS_MAX


def test_what_stripes_sum_does_not_hold_of_what_is_in_doubt_is_absent() -> None:
    assert (READ.absent, replace(READ, doubts=3, taken=(5,)).absent, replace(READ, doubts=3).absent) == (0, 2, 0)
