"""Customers are where Kafka's own clients put their keys."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.partitioner import partition_of


# Values of org.apache.kafka.common.utils.Utils.murmur2, as its own tests state them.
@pytest.mark.parametrize(
    ("key", "murmur2"), [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536), ("abc", 479470107)]
)
def test_the_hash_is_that_of_the_java_client(key: str, murmur2: int) -> None:
    assert partition_of(key, 1_000) == (murmur2 & 0x7FFFFFFF) % 1_000


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 200))
def test_it_agrees_with_the_python_client(customer: str, partitions: int) -> None:
    assert partition_of(customer, partitions) == DefaultPartitioner()(customer.encode(), list(range(partitions)), list(range(partitions)))
