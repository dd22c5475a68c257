"""Batches against a naive model: nothing lost, nothing renumbered, nothing too large."""

import orjson
import pytest
from taximeter_emitter.buffer.batching import BATCH_BYTES_MAX, Batcher
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, EVENT_RECORD_BYTES_MAX, QUANTITY_MAX

from metering.records.batch_decoding import decode_batch


def test_the_largest_events_fill_a_batch_that_still_fits_a_record() -> None:
    batcher = Batcher("e", events_max=BATCH_EVENTS_MAX, bytes_max=BATCH_BYTES_MAX)
    wide = "\U0001f600"
    number = 0
    while not (full := batcher.take_full()):
        batcher.add(
            0,
            customer=f"{number:06d}{wide * 122}",
            dimensions=tuple((f"{key:02d}{wide * 62}", f"{number:06d}{wide * 122}") for key in range(16)),
            time_ms=number * 10**9,
            usage=tuple((f"{key:02d}{wide * 62}", QUANTITY_MAX) for key in range(16)),
            fingerprint=bytes([1]) * 16,
        )
        number += 1
    (batch,) = full
    assert BATCH_BYTES_MAX // 2 < len(batch.value) <= EVENT_RECORD_BYTES_MAX
    assert decode_batch(orjson.loads(batch.value)).count == number


def test_a_column_that_comes_late_is_filled_with_zeros() -> None:
    batcher = Batcher("e")
    for usage in ((("a", 1),), (("b", 2),), (("a", 3),)):
        batcher.add(0, customer="c", dimensions=(), time_ms=5, usage=usage, fingerprint=NO_ID)
    (batch,) = batcher.take_all()
    decoded = decode_batch(orjson.loads(batch.value))
    assert {name: list(column) for name, column in decoded.usage.items()} == {"a": [1, 0, 3], "b": [0, 2, 0]}
    assert decoded.ids == b""


def test_heartbeats_tell_the_next_number() -> None:
    batcher = Batcher("e")
    batcher.add(4, customer="c", dimensions=(), time_ms=5, usage=(("a", 1),), fingerprint=NO_ID)
    batcher.take_all()
    beat = decode_batch(orjson.loads(batcher.heartbeat(4, final=True, abandoned=((0, 0),), dropped=3)))
    assert (beat.first_seq, beat.count, beat.final, beat.abandoned, beat.dropped) == (1, 0, True, ((0, 0),), 3)
    assert decode_batch(orjson.loads(batcher.heartbeat(5))).first_seq == 0


@pytest.mark.parametrize("bounds", [{"events_max": 0}, {"events_max": BATCH_EVENTS_MAX + 1}, {"bytes_max": 0}, {"bytes_max": BATCH_BYTES_MAX + 1}])
def test_bounds_that_a_record_could_not_hold_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a batch has"):
        Batcher("e", **bounds)
