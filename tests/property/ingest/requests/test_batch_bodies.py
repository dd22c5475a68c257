"""Whatever an emitter sends to be passed on: it is refused by name, or every reader takes it as it is, and it is nobody else's."""

import orjson
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.emitter_names import emitter_name
from taximeter_emitter.wire.partitioner import partition_of

from audit.decoder.batch_documents import batch_in
from ingest.requests.batch_bodies import BatchReader
from metering.records.batch_decoding import decode_batch
from tests.support.records import batches

SECRET = "5" * 32
NAME = emitter_name(SECRET)
PARTITIONS = 3
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = ["taximeter", "emitter", "partition", "first_seq", "count", "customers", "at", "usage", "time", "ids", "stamped", "final", "other"]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A batch, as it should be or with something changed."""
    batch: Batch = draw(batches())
    if draw(st.booleans()):
        batch = batch._replace(emitter=NAME)
    if draw(st.booleans()):
        batch = batch._replace(partition=partition_of(batch.customers[0], PARTITIONS) if batch.customers else 0)
    value = encode_batch(batch)
    change = draw(st.sampled_from(["none", "none", "field", "bytes", "anything"]))
    if change == "field":
        return orjson.dumps(orjson.loads(value) | {draw(st.sampled_from(FIELDS)): draw(JSON)})
    if change == "bytes":
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(st.binary(max_size=6)).replace(b"\n", b"") + value[at + draw(st.integers(0, 3)) :]
    return orjson.dumps(draw(JSON)) if change == "anything" else value


@given(st.lists(lines(), min_size=1, max_size=4), st.one_of(st.none(), st.frozensets(st.sampled_from(["a", "b", "cus_1"]))))
def test_it_is_refused_by_name_or_all_readers_take_it(given_lines: list[bytes], customers: frozenset[str] | None) -> None:
    read = BatchReader(PARTITIONS).read(b"\n".join(given_lines), secret=SECRET, customers=customers)
    assert sorted([*read.accepted, *(refused.index for refused in read.refused)]) == list(range(len(given_lines)))
    for index, passed in read.accepted.items():
        assert passed.value == given_lines[index]
        batch = decode_batch(orjson.loads(passed.value))
        batch_in(orjson.loads(passed.value), 0)  # the audit's own reader takes it, too
        assert batch.emitter in {NAME, f"{NAME}-unplaced"}
        assert (batch.partition, batch.count) == (passed.partition, passed.count)
        assert {partition_of(customer, PARTITIONS) for customer in batch.customers} <= {passed.partition}
        assert customers is None or set(batch.customers) <= customers
    assert all(refused.reason for refused in read.refused)
