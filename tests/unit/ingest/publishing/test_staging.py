"""Events of many requests spread together: each comes out once, in its order, and each request knows which batch has which of its events."""

from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.buffer.partition_cache import PartitionCache

from ingest.publishing.staging import Staging

PARTITIONS = 3


def test_nothing_staged_spreads_to_nothing() -> None:
    batcher = Batcher("e")
    assert not Staging().spread(batcher, PartitionCache(PARTITIONS))
    assert batcher.is_empty
