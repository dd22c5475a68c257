"""The outbox against a list for each partition: in order, nothing lost, nothing twice unless given back, and no partition waits for another."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox
from taximeter_emitter.spool.spool import Spool

PARTITIONS = 3
partitions = st.integers(0, PARTITIONS - 1)
steps = st.lists(
    partitions.map(lambda p: ("put", p))
    | st.sampled_from(["take", "take", "settle first", "settle last", "give back", "forget"])
    | partitions.map(lambda p: ("block", p))
    | partitions.map(lambda p: ("free", p))
    | st.tuples(st.just("secure"), st.integers(0, 4), st.none() | st.sets(partitions)),
    max_size=60,
)


class Model:
    """What may still come of each partition, in the order in which it has to."""

    def __init__(self, spool: Spool | None) -> None:
        self.outbox = Outbox(spool)
        self.put = [0] * PARTITIONS
        self.waiting: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self.in_flight: list[EncodedBatch] = []
        self.settled: set[tuple[int, int]] = set()
        self.blocked: set[int] = set()

    def run(self, step: Any) -> None:
        if isinstance(step, str):
            {"take": self.take, "give back": self.give_back, "forget": self.outbox.forget_settled}.get(step, lambda: self.settle(step))()
            return
        name, *arguments = step
        if name == "put":
            (partition,) = arguments
            self.outbox.put(EncodedBatch(partition, self.put[partition], 1, b"x" * 100))
            self.waiting[partition].append(self.put[partition])
            self.put[partition] += 1
        elif name == "secure":
            room, chosen = arguments
            written = list(self.outbox.secure(room * 164, chosen))
            assert sum(len(batch.value) + 64 for batch in written) <= room * 164
            assert chosen is None or {batch.partition for batch in written} <= chosen
        else:
            {"block": self.blocked.add, "free": self.blocked.discard}[name](arguments[0])

    def take(self) -> bool:
        batch = self.outbox.take(lambda partition, _: partition not in self.blocked)
        assert (batch is None) == all(not waiting or partition in self.blocked for partition, waiting in enumerate(self.waiting))
        if batch is not None:
            assert batch.partition not in self.blocked
            assert batch.first_seq == self.waiting[batch.partition].pop(0)
            self.in_flight.append(batch)
        return batch is not None

    def settle(self, which: str) -> None:
        if self.in_flight:
            batch = self.in_flight.pop(0 if which == "settle first" else -1)
            assert self.outbox.settle(batch)
            assert not self.outbox.settle(batch)
            self.settled.add((batch.partition, batch.first_seq))

    def give_back(self) -> None:
        assert self.outbox.give_back() == len(self.in_flight)
        for batch in self.in_flight:
            self.waiting[batch.partition].append(batch.first_seq)
        for waiting in self.waiting:
            waiting.sort()
        self.in_flight = []

    def end(self, spool: Spool | None) -> None:
        self.give_back()
        self.blocked = set()
        while self.take():
            self.settle("settle first")
        self.outbox.forget_settled()
        assert self.settled == {(partition, number) for partition, put in enumerate(self.put) for number in range(put)}
        assert self.outbox.is_empty
        assert self.outbox.memory_bytes == 0
        assert self.outbox.memory_events == 0
        assert spool is None or spool.events_held == 0


def run(script: list[Any], spool: Spool | None) -> None:
    model = Model(spool)
    for step in script:
        model.run(step)
    model.end(spool)


@settings(max_examples=200, deadline=None)
@given(steps, st.integers(1, 64))
def test_an_outbox_with_a_spool_is_a_queue_for_each_partition(script: list[Any], held_max: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("taximeter_emitter.spool.outbox._HELD_BATCHES_MAX", held_max)
        patch.setattr("taximeter_emitter.spool.outbox._READ_AHEAD_BATCHES", 1 + held_max % 16)
        spool = Spool.create(Path(folder), emitter="e", topic="t")
        try:
            run(script, spool)
        finally:
            spool.close()


@given(steps)
def test_an_outbox_without_a_spool_is_a_queue_for_each_partition(script: list[Any]) -> None:
    run(script, None)
