"""Batches that an emitter sends to be passed on: what is taken goes on byte for byte, and nothing of others can be reached with it."""

from collections.abc import Callable

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.emitter_names import emitter_name, is_secret, proven_names
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.core.counting import PartitionCounter
from ingest.refusals import RequestRefused
from ingest.requests.batch_bodies import BATCHES_PER_REQUEST, BatchReader, ReadBatches
from metering.folds.tallies import Tallies
from metering.records.record import Record
from tests.support.aggregator_records import START_MS, rules

SECRET, OTHER_SECRET = "5" * 32, "a" * 32
PARTITIONS = 4
CUSTOMER = "cus_1"
HOME = partition_of(CUSTOMER, PARTITIONS)


def batch(*, secret: str = SECRET, first_seq: int = 0, customer: str = CUSTOMER, partition: int = HOME, suffix: str = "", count: int = 2) -> bytes:
    columns = ([customer], [()], [0], [0] * count, START_MS, [0] * count, {"input": [1] * count})
    return encode_batch(Batch(emitter_name(secret) + suffix, partition, first_seq, count, *columns))


def read(*lines: bytes, customers: frozenset[str] | None = None) -> ReadBatches:
    return BatchReader(PARTITIONS).read(b"\n".join(lines), secret=SECRET, customers=customers)


def test_batches_and_heartbeats_are_passed_on_byte_for_byte() -> None:
    last_word = encode_batch(Batch(emitter_name(SECRET), HOME, 70, 0, final=True))
    lines = [batch(), batch(first_seq=2, count=68), batch(suffix="-unplaced"), last_word]
    found = read(*lines, b"", customers=frozenset({CUSTOMER, "cus_2"}))
    assert [passed.value for passed in found.accepted.values()] == lines
    assert [(passed.partition, passed.count) for passed in found.accepted.values()] == [(HOME, 2), (HOME, 68), (HOME, 2), (HOME, 0)]
    assert (found.refused, found.events) == ([], 72)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (b"{", "malformed_json", ""),
        (b"[]", "not_an_object", ""),
        (b"{}", "bad_batch", "taximeter"),
        (batch()[:-1] + b',"x":1}', "bad_batch", "x"),
        (b"[" * 100_000, "too_many_events", ""),
        (batch(secret=OTHER_SECRET), "foreign_emitter", "emitter"),
        (batch(suffix="-other"), "foreign_emitter", "emitter"),
        (batch(customer="cus_5"), "customer_not_allowed", "customers"),
        (batch(customer="cus_2", partition=(partition_of("cus_2", PARTITIONS) + 1) % PARTITIONS), "wrong_partition", "customers"),
        (batch(partition=PARTITIONS), "wrong_partition", "partition"),
        (encode_batch(Batch(emitter_name(SECRET), PARTITIONS, 7, 0)), "wrong_partition", "partition"),
        (b" " * 1_000_001, "too_large", ""),
    ],
)
def test_a_batch_that_cannot_be_passed_on_is_refused_alone_and_by_name(line: bytes, reason: str, field: str) -> None:
    found = read(batch(), line, batch(first_seq=2), customers=frozenset({CUSTOMER, "cus_2"}))
    assert list(found.accepted) == [0, 2]
    assert [(refused.index, refused.reason, refused.field) for refused in found.refused] == [(1, reason, field)]


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"emitter":', b'"emitter": '),
        lambda line: line.replace(b"cus_1", b"\\u0063us_1"),
        # A reader that takes the first of two sees another emitter, or another customer.
        lambda line: line.replace(b'"emitter":', b'"emitter":"victim","emitter":'),
        lambda line: line.replace(b'"customers":', b'"customers":["victim"],"customers":'),
        lambda line: line.replace(b'"input":', b'"input":[900,900],"input":'),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(batch())
    assert changed != batch()
    (refused,) = read(changed).refused
    assert (refused.reason, refused.detail[:20]) == ("bad_batch", "is not compact JSON:")


@pytest.mark.parametrize(("body", "reason"), [(b"", "no_events"), (b"\n\n", "no_events"), (b"{}\n" * (BATCHES_PER_REQUEST + 1), "too_many_events")])
def test_a_body_without_batches_or_with_too_many_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        BatchReader(PARTITIONS).read(body, secret=SECRET, customers=None)
    assert refused.value.refusal.reason == reason


def counted(*values: bytes) -> int:
    """How many events an aggregator counts of these records."""
    counter = PartitionCounter(0, rules(), Tallies())
    counter.found(0, "chain")
    counter.count_many([Record(place, START_MS, b"home", value) for place, value in enumerate(values)], 10**9)
    return counter.cut().tally.events.counted


def refused_for(reader: BatchReader, line: bytes) -> str:
    """The reason, of a sender that shows another secret."""
    (refused,) = reader.read(line, secret=SECRET, customers=None).refused
    return refused.reason


def test_a_key_cannot_use_up_the_numbers_of_an_emitter_whose_name_it_read() -> None:
    columns = ([()], [0], [0, 0], START_MS, [0, 0], {"input": [1, 1]})
    name = emitter_name(OTHER_SECRET)
    honest = encode_batch(Batch(name, 0, 0, 2, ["home"], *columns))
    burning = encode_batch(Batch(name, 0, 0, 2, ["home of the attacker"], *columns))
    last_word = encode_batch(Batch(name, 0, 0, 0, final=True))
    # Who may write to Kafka can do it: the second batch of two with the same numbers counts nothing.
    assert counted(honest) == 2
    assert counted(burning, honest) == 2
    reader = BatchReader(1)
    # A secret is shown with the batches, and the name that belongs to it is another one.
    assert [refused_for(reader, attempt) for attempt in (burning, last_word)] == ["foreign_emitter"] * 2
    # Both names at once, for readers that differ in which of them they take.
    own = batch(customer="home of the attacker", partition=0)
    assert refused_for(reader, own.replace(b'"emitter":', f'"emitter":"{name}","emitter":'.encode())) == "bad_batch"
    assert list(reader.read(honest, secret=OTHER_SECRET, customers=None).accepted) == [0]


def test_a_secret_is_32_hexadecimal_digits_and_its_names_tell_nothing_of_it() -> None:
    assert is_secret(SECRET)
    assert not any(map(is_secret, ("", "5" * 31, "5" * 33, "5" * 31 + "G", "5" * 32 + "\n", "\uff16" * 32)))
    assert proven_names(SECRET) == (emitter_name(SECRET), f"{emitter_name(SECRET)}-unplaced")
    assert is_secret(emitter_name(SECRET))
    assert emitter_name(emitter_name(SECRET)) != emitter_name(SECRET)
    assert orjson.loads(batch())["emitter"] == emitter_name(SECRET)
