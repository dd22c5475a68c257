"""Counters that take records one by one or many at a time, and the comparison of what they cut."""

from collections.abc import Sequence

from hypothesis import strategies as st

from aggregator.core.counting import PartitionCounter
from aggregator.core.pending_tally import Cut
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_index import IdIndex, span_ms
from aggregator.ids.id_table import MemoryStorage
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.readers import MakeReader, quickest_reader
from metering.folds.tallies import Tallies
from metering.records.record import LogRecord
from tests.support.aggregator_records import rules

READERS = [PlainReader, *([quickest_reader().make] if quickest_reader().name == "native" else [])]
"""What reads records here: the plain reader, and the native one where it is installed."""
LENGTHS = st.lists(st.integers(1, 30), max_size=5)
FLUSH_BYTES = st.sampled_from([1, 300, 10**9])


def counter(*, recent_max: int = 10**6, make_reader: MakeReader = PlainReader) -> PartitionCounter:
    """A counter at the start of a chain."""
    about = rules(make_reader=make_reader)
    archive = IdArchive(MemoryStorage, span_ms=span_ms(about.deduplication_horizon_ms), key=b"of all counters, so that their ids compare")
    made = PartitionCounter(0, about, Tallies(), archive)
    made.ids = IdIndex(about.deduplication_horizon_ms, archive, recent_max=recent_max)
    made.found(0, "chain")
    return made


def cut(subject: PartitionCounter) -> Cut:
    """The next tally, accepted at once."""
    found = subject.cut()
    assert subject.observe(subject.tallies.chain.next_offset, found.tally)
    return found


def count_many(subject: PartitionCounter, records: Sequence[LogRecord], lengths: Sequence[int], until_bytes: int) -> None:
    """All of them, handed over in pieces of these lengths."""
    start = 0
    for length in [*lengths, len(records)]:
        piece = records[start : start + length]
        start += length
        while piece:
            taken = subject.count_many(piece, until_bytes)
            assert taken == len(piece) or subject.pending_bytes >= until_bytes
            piece = piece[taken:]


def compare(first: Cut, second: Cut) -> None:
    """Asserts that both tallies say the same."""
    one, many = first.tally, second.tally
    for name in ("link", "records", "events", "ranges", "finals", "abandoned", "dropped", "set_aside", "not_counted", "log_time_ms"):
        assert getattr(one, name) == getattr(many, name), name
    assert sorted(map(repr, one.rows)) == sorted(map(repr, many.rows))
    assert first.dead_letters == second.dead_letters
    assert first.forwards == second.forwards
    assert first.ahead == second.ahead
