"""Where a batch ends is known without reading it."""

from metering.kafka.batches.plain_batches import HEADER_BYTES, first_batch_end
from tests.support.wire_records import WireBatch, WireRecord

DAMAGED = WireBatch([WireRecord()] * 3, base_offset=4).around(b"\xff" * 9)


def test_a_batch_ends_where_the_next_begins_or_else_where_it_says() -> None:
    following = WireBatch([WireRecord()], base_offset=9).encoded()
    assert first_batch_end(DAMAGED + following) == 9
    assert first_batch_end(DAMAGED + following[:20]) == 9
    assert first_batch_end(DAMAGED + following[:8]) == 7
    assert first_batch_end(DAMAGED) == 7
    assert first_batch_end(DAMAGED[: HEADER_BYTES - 1]) == 0
