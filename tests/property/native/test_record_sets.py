"""Whatever a broker sends: the native reader and the plain way find the same records and the same events."""

import gzip
from collections.abc import Sequence
from random import Random
from struct import unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.kafka.batches.plain_batches import HEADER_BYTES, header_of, uncompressed
from tests.native.comparison import Comparison
from tests.native.record_sets import RawBatch, RawRecord, varint, with_checksums
from tests.native.samples import BASE, batch, own, record_set

GZIP = 1
RANDOMS = st.integers(0, 2**64 - 1).map(Random)


@given(RANDOMS)
@settings(max_examples=1_000)
def test_both_ways_find_the_same(comparison: Comparison, chance: Random) -> None:
    comparison.compare(*record_set(chance))


@given(st.binary(max_size=400), st.integers(-(2**63), 2**63 - 1))
def test_any_bytes_are_no_more_than_damaged(comparison: Comparison, data: bytes, from_offset: int) -> None:
    comparison.compare(data, from_offset)


@given(RANDOMS, st.lists(st.tuples(st.integers(0, 10**9), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
@settings(max_examples=500)
def test_damage_anywhere_in_a_batch(comparison: Comparison, chance: Random, changes: Sequence[tuple[int, bytes]]) -> None:
    data = bytearray(RawBatch(BASE, [RawRecord(own(chance), b"k", [(b"a", b"b"), (b"c", None)]), RawRecord(batch(chance, 3))]).encoded() * 2)
    for place, piece in changes:
        at = place % len(data)
        data[at : at + len(piece)] = piece
    comparison.compare(with_checksums(bytes(data)), BASE)


@pytest.mark.parametrize("count", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("last_delta", [-1, 0, 5, 2**31 - 1])
@pytest.mark.parametrize("length_added", [-200, -9, 0, 1, 2**31 - 300])
def test_a_head_that_says_what_cannot_be(comparison: Comparison, count: int, last_delta: int, length_added: int) -> None:
    data = RawBatch(BASE, [RawRecord(b"x" * 100)], count=count, last_delta=last_delta, length_added=length_added).encoded()
    comparison.compare(data, BASE)
    comparison.compare(with_checksums(data) * 2, BASE)


@pytest.mark.parametrize("cut", [0, 5, 16, 17, 60, 61, 100, -1])
def test_a_batch_that_is_cut_off_is_left(comparison: Comparison, cut: int) -> None:
    whole = RawBatch(BASE, [RawRecord(own(Random(1)))]).encoded()
    offsets, _, _, next_at, next_offset, status = comparison.native.frame(whole + whole[:cut], 0, 0)
    assert (offsets.tolist(), next_at, next_offset, status) == ([BASE], len(whole), BASE + 1, None)
    assert comparison.native.frame(whole[:cut], 0, BASE)[3:] == (0, BASE, None)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (RawBatch(BASE, attributes=1), "compressed"),
        (RawBatch(BASE, attributes=0x20), "control"),
        (RawBatch(BASE, attributes=0x10), "transactional"),
        (RawBatch(BASE, checksum_added=1), "checksum"),
        (RawBatch(BASE, magic=1), "form"),
        (RawBatch(BASE, tail=b"\0"), "damaged"),
        (RawBatch(BASE, count=250_001), "too-many"),
    ],
)
def test_framing_stops_in_front_of_what_is_not_ordinary(comparison: Comparison, found: RawBatch, reason: str) -> None:
    before = RawBatch(BASE - 1, [RawRecord(b"x")]).encoded()
    data = before + found.encoded() + before
    comparison.compare(data, 0)
    offsets, *_, next_at, next_offset, status = comparison.native.frame(data, 0, 0)
    assert (offsets.tolist(), next_at, next_offset, status) == ([BASE - 1], len(before), BASE, reason)


def test_a_large_batch_with_too_many_headers(comparison: Comparison) -> None:
    headers = [(b"", None)] * 10_001
    comparison.compare(RawBatch(BASE, [RawRecord(b"x", headers=headers)]).encoded(), 0)
    large = RawBatch(BASE, [RawRecord(b"x" * 3_999_999), RawRecord(b"x" * 200_000, headers=headers)]).encoded()
    comparison.compare(large, 0)
    assert comparison.native.frame(large, 0, 0)[5] == "too-many"


@given(RANDOMS, st.integers(BASE - 1, BASE + 9))
def test_a_batch_that_was_inflated_is_framed_as_if_it_had_come_so(comparison: Comparison, chance: Random, from_offset: int) -> None:
    records = [RawRecord(own(chance), headers=[(b"h", b"v")]) for _ in range(chance.randint(0, 5))]
    clear = RawBatch(BASE, records, attributes=8 * chance.randrange(2)).encoded()
    packed = gzip.compress(clear[HEADER_BYTES:])
    attributes = (unpack_from(">h", clear, 21)[0] | GZIP).to_bytes(2, "big")
    sent = with_checksums(clear[:8] + (HEADER_BYTES + len(packed) - 12).to_bytes(4, "big") + clear[12:21] + attributes + clear[23:61] + packed)
    view = memoryview(sent)
    inflated, _ = uncompressed(view, header_of(view))
    *_, next_at, next_offset, status = got = comparison.native.frame_batch(bytes(inflated), from_offset)
    expected = comparison.native.frame(clear, 0, from_offset)
    assert [column.tolist() for column in got[:3]] == [column.tolist() for column in expected[:3]]
    assert (next_at, next_offset, status) == (len(inflated), expected[4], None)


def test_an_inflated_batch_may_be_damaged_too(comparison: Comparison) -> None:
    assert comparison.native.frame_batch(RawBatch(BASE, [RawRecord(b"x")], tail=b"\0").encoded(), 3)[3:] == (0, 3, "damaged")
    assert comparison.native.frame_batch(b"", 3)[3:] == (0, 3, "damaged")
    assert comparison.native.frame_batch(RawBatch(BASE, count=250_001).encoded(), 3)[3:] == (0, 3, "too-many")


@pytest.mark.parametrize("delta", [2**31, -(2**33), 2**34 - 1, -1])
def test_offsets_that_do_not_follow_each_other(comparison: Comparison, delta: int) -> None:
    comparison.compare(RawBatch(BASE, [RawRecord(b"x"), RawRecord(b"y", offset_delta=delta), RawRecord(b"z")]).encoded() * 2, 0)


def test_names_of_headers_that_are_not_utf_8(comparison: Comparison) -> None:
    headers = [(b"\xff\xfea", b"\xff"), ("é".encode(), None), (b"", b"")]
    data = RawBatch(BASE, [RawRecord(b"x", headers=headers)]).encoded()
    place = comparison.native.frame(data, 0, 0)[2][0].tolist()
    assert comparison.native.headers(data, place[4], place[5]) == (("\\xff\\xfea", b"\xff"), ("é", None), ("", b""))
    with pytest.raises(ValueError, match="no such headers"):
        comparison.native.headers(data, place[4], place[5] + 1)


def test_an_integer_of_too_many_bytes(comparison: Comparison) -> None:
    record = bytes([0]) + varint(2**62) + b"\x80\x80\x80\x80\x80\x00" + varint(-1) * 2 + varint(0)
    for attributes in (0, 8):
        comparison.compare(RawBatch(BASE, tail=varint(len(record)) + record, count=1, attributes=attributes).encoded(), 0)
        far = bytes([0]) + b"\xff" * 9 + b"\x7f" + varint(0) + varint(-1) * 2 + varint(0)
        comparison.compare(RawBatch(BASE, tail=varint(len(far)) + far, count=1, attributes=attributes).encoded(), 0)
