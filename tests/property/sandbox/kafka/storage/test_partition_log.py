"""Reading from any offset of any log."""

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.kafka_partition_log import append, opened
from tests.support.kafka_stored_batches import stored_batches

_sizes = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3_000)), min_size=1, max_size=30)


@given(sizes=_sizes, bytes_max=st.integers(1, 20_000), data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_gives_whole_batches_from_the_one_that_holds_the_offset(
    tmp_path: Path, sizes: list[tuple[int, int]], bytes_max: int, data: st.DataObject
) -> None:
    path = tmp_path / f"{os.urandom(8).hex()}.log"
    ends = []
    with opened(path) as log:
        for count, size in sizes:
            append(log, [b"x" * size] * count)
            ends.append(log.end_offset)
    offset = data.draw(st.integers(0, ends[-1] - 1))
    with opened(path) as log:  # what is read from memory and what is rebuilt from the file must agree
        assert log.end_offset == ends[-1]
        read = log.read(offset, bytes_max, at_least_one_batch=True)
        batches = stored_batches(read)
        assert batches[0].base_offset <= offset < batches[0].next_offset
        assert [batch.base_offset for batch in batches[1:]] == [batch.next_offset for batch in batches[:-1]]
        assert len(read) <= bytes_max or len(batches) == 1
        strict = log.read(offset, bytes_max, at_least_one_batch=False)
        assert strict == (read if len(read) <= bytes_max else b"")
