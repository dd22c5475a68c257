"""Batches that brokers take and clients do not write, and damaged ones."""

from hypothesis import strategies as st

from tests.support.wire_records import WireBatch, WireRecord

NAMES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b"", b"\xff", b"ce_\xff", b"ce_id", b"ce_specversion", b"ce_source", b"ce_type", b"CONTENT-TYPE", b"content-type"]),
    st.sampled_from([b"content-encoding", b"taximeter-x", b"traceparent", b"\xed\xa0\x80", b"a\0b", "größe".encode()]),
)
FIELDS = st.one_of(st.none(), st.binary(max_size=8), st.sampled_from([b"", b"\xff\xfe", b"\0" * 40, b"null", b"1.0", b"application/json"]))
TIMES = st.sampled_from([0, -1, 1, 2**31, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63), 1_780_000_000_000])


def records(values: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[WireRecord]:
    """Records with these values and anything around them."""
    return st.builds(
        WireRecord,
        key=FIELDS,
        value=values,
        headers=st.lists(st.tuples(NAMES, FIELDS), max_size=4).map(tuple),
        attributes=st.sampled_from([0, 0, 0, 1, 0x7F, 0x80, 0xFF]),
        timestamp_delta=st.sampled_from([0, 0, 1, -1, 2**40, -(2**40)]),
        padding=st.integers(0, 4),
    )


def batches(values: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[WireBatch]:
    """Batches of such records, with every attribute that a producer may set."""
    return st.builds(
        WireBatch,
        records=st.lists(records(values), min_size=1, max_size=5).map(tuple),
        attributes=st.sampled_from([0, 0, 1, 0x40, 0x80, 0x4000 | 1]),
        first_timestamp=TIMES,
        max_timestamp=TIMES,
        leader_epoch=st.sampled_from([0, -1, 2**31 - 1]),
        base_offset=st.sampled_from([0, 5]),
    )
