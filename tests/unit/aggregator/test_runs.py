"""Counting records many at a time comes to what counting them one by one comes to."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from aggregator.core.counting import PartitionCounter
from aggregator.core.dead_letter_limits import DeadLetterLimits, TooManyDeadLetters
from aggregator.core.pending_tally import Cut
from aggregator.ids.fingerprints import each
from aggregator.ids.id_index import IdIndex
from metering.folds.tallies import Tallies
from metering.records.record import Record
from tests.unit.aggregator.events import START_MS, Event, Item, Single, encode, rules
from tests.unit.aggregator.test_counting_model import IDS, ITEMS, events, placed

PLAIN = st.builds(Single, events(IDS), st.just("own"))
HALVES = st.sampled_from([b'{"id":"a","source":"s"', b',"customer":"c1"}', b"", b" {} ", b"{},{}"])
FLUSH_BYTES = st.sampled_from([1, 300, 10**9])


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records, most of them single events: some repeated, some old, some with a gap before them, some that cannot be read."""
    found: list[Record] = []
    offset, now_ms = 0, START_MS
    for _ in range(draw(st.integers(1, 30))):
        kind = draw(st.sampled_from(["plain", "plain", "plain", "plain", "any", "again", "garbage", "gap"]))
        now_ms += draw(st.sampled_from([0, 0, 0, 1_000, 20 * MINUTE_MS]))
        offset += kind == "gap"
        value: bytes | None
        if kind == "again" and found:
            earlier = draw(st.sampled_from(found))
            value, headers = earlier.value, earlier.headers
        elif kind == "garbage":
            value, headers = draw(HALVES), ()
        else:
            item: Item = placed(draw(ITEMS if kind == "any" else PLAIN), now_ms)
            value, headers = encode(item)
        found.append(Record(offset, now_ms + draw(st.sampled_from([0, 0, -500])), b"key", value, headers))
        offset += 1
    return found


def counter(run_min: int, *, batches_min: int = 4, recent_max: int = 10**6, limits: DeadLetterLimits | None = None) -> PartitionCounter:
    about = rules(run_min=run_min, shape_min=run_min, batches_min=batches_min)
    made = PartitionCounter(0, about if limits is None else replace(about, dead_letter_limits=limits), Tallies())
    made.ids = IdIndex(about.deduplication_horizon_ms, recent_max=recent_max)
    made.found(0, "chain")
    return made


def cut(subject: PartitionCounter) -> Cut:
    found = subject.cut()
    assert subject.observe(subject.tallies.chain.next_offset, found.tally)
    return found


def count_many(subject: PartitionCounter, records: Sequence[Record], lengths: Sequence[int], until_bytes: int) -> None:
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
    one, many = first.tally, second.tally
    for name in ("link", "records", "events", "ranges", "finals", "abandoned", "dropped", "set_aside", "repeats", "log_time_ms"):
        assert getattr(one, name) == getattr(many, name), name
    assert sorted(map(repr, one.rows)) == sorted(map(repr, many.rows))
    assert first.dead_letters == second.dead_letters
    assert first.forwards == second.forwards


def remembered(subject: PartitionCounter) -> dict[bytes, int]:
    """The recent ids with their content numbers."""
    fingerprints, contents = subject.ids._recent.everything()
    return dict(zip(each(fingerprints), contents.tolist(), strict=True))


LENGTHS = st.lists(st.integers(1, 30), max_size=5)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(logs(), LENGTHS, FLUSH_BYTES, st.data())
def test_many_at_a_time_come_to_the_same_as_one_by_one(records: list[Record], lengths: list[int], until_bytes: int, data: st.DataObject) -> None:
    recent_max = data.draw(st.sampled_from([3, 10**6]))
    one, many = counter(1, recent_max=recent_max), counter(data.draw(st.sampled_from([1, 2, 5])), recent_max=recent_max)
    tally_at = data.draw(st.integers(0, len(records)))
    for part in (records[:tally_at], records[tally_at:]):
        for record in part:
            one.count(record)
        count_many(many, part, lengths, until_bytes)
        assert (one.position, one.pending_records, one.pending_input_bytes) == (many.position, many.pending_records, many.pending_input_bytes)
        assert remembered(one) == remembered(many)
        assert (one.ids.pending, one.ids.recent) == (many.ids.pending, many.ids.recent)
        compare(cut(one), cut(many))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(logs(), LENGTHS, st.integers(0, 3), st.integers(0, 100), st.integers(1, 12))
def test_too_many_dead_letters_are_too_many_at_the_same_record(
    records: list[Record], lengths: list[int], run_max: int, percent_max: int, sample_events: int
) -> None:
    limits = DeadLetterLimits(run_max, percent_max, sample_events)
    one, many = counter(1, limits=limits), counter(2, limits=limits)

    def one_by_one() -> None:
        for record in records:
            one.count(record)

    def many_at_a_time() -> None:
        count_many(many, records, lengths, 10**9)

    # A run is taken as a whole, and given up as a whole, because the partition stops.
    assert _refusal(one_by_one) == _refusal(many_at_a_time)
    assert many.position >= one.position


def _refusal(work: Callable[[], None]) -> str:
    try:
        work()
    except TooManyDeadLetters as error:
        return str(error)
    return ""


def test_what_is_rolled_back_leaves_nothing_of_its_runs() -> None:
    subject = counter(1)
    event = Event("a", "c1", (("input", 3),), "m1", START_MS)
    value, headers = encode(Single(event, "own"))
    other, winner = counter(1), Record(0, START_MS, None, b"{", ())
    other.count(winner)
    first = other.cut()
    assert subject.count_many([Record(0, START_MS, None, value, headers)], 10**9) == 1
    subject.cut()
    assert subject.observe(0, first.tally)
    assert subject.pending_bytes == 0
    subject.count_many([Record(1, START_MS, None, value, headers)], 10**9)
    assert [row.quantity for row in subject.cut().tally.rows] == [3]
