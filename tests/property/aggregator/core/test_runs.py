"""Counting records many at a time comes to what counting them one by one comes to."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from aggregator.core.counting import PartitionCounter
from aggregator.ids.fingerprints import each
from aggregator.reading.readers import MakeReader
from metering.records.record import Record
from tests.support.aggregator_counters import FLUSH_BYTES, LENGTHS, READERS, compare, count_many, counter, cut
from tests.support.aggregator_record_strategies import IDS, ITEMS, events, placed
from tests.support.aggregator_records import START_MS, Item, Single, encode
from tests.support.metering_framed_records import framed

PLAIN = st.builds(Single, events(IDS), st.just("own"))
HALVES = st.sampled_from([b'{"id":"a","source":"s"', b',"customer":"c1"}', b"", b" {} ", b"{},{}"])


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


def remembered(subject: PartitionCounter) -> dict[bytes, int]:
    """The recent ids with their content numbers."""
    fingerprints, contents = subject.ids._recent.everything()
    return dict(zip(each(fingerprints), contents.tolist(), strict=True))


@pytest.mark.parametrize("make_reader", READERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(records=logs(), lengths=LENGTHS, until_bytes=FLUSH_BYTES, data=st.data())
def test_many_at_a_time_come_to_the_same_as_one_by_one(
    make_reader: MakeReader, records: list[Record], lengths: list[int], until_bytes: int, data: st.DataObject
) -> None:
    recent_max = data.draw(st.sampled_from([3, 10**6]))
    one, many = counter(recent_max=recent_max), counter(recent_max=recent_max, make_reader=make_reader)
    tally_at = data.draw(st.integers(0, len(records)))
    for part in (records[:tally_at], records[tally_at:]):
        for record in part:
            one.count(record)
        count_many(many, framed(part), lengths, until_bytes)
        assert (one.position, one.pending_records, one.pending_input_bytes) == (many.position, many.pending_records, many.pending_input_bytes)
        assert remembered(one) == remembered(many)
        assert (one.ids.pending, one.ids.recent) == (many.ids.pending, many.ids.recent)
        compare(cut(one), cut(many))
