"""The outbox against a list: in order, nothing lost, and nothing twice unless it was given back."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox
from taximeter_emitter.spool.spool import Spool

steps = st.lists(
    st.sampled_from(["put", "put", "take", "take", "settle first", "settle last", "give back", "forget"])
    | st.integers(0, 4).map(lambda n: ("secure", n)),
    max_size=60,
)


def run(script: list[Any], spool: Spool | None) -> None:
    outbox = Outbox(spool)
    put = 0
    in_flight: list[EncodedBatch] = []
    settled: set[int] = set()
    # What may still come, in the order in which it has to.
    waiting: list[int] = []
    for step in [*script, "give back", "drain"]:
        if step == "put":
            outbox.put(EncodedBatch(0, put, 1, b"x" * 100))
            waiting.append(put)
            put += 1
        elif step == "take":
            batch = outbox.take()
            assert (batch is None) == (not waiting)
            if batch is not None:
                assert batch.first_seq == waiting.pop(0)
                in_flight.append(batch)
        elif step in {"settle first", "settle last"} and in_flight:
            batch = in_flight.pop(0 if step == "settle first" else -1)
            assert outbox.settle(batch)
            assert not outbox.settle(batch)
            settled.add(batch.first_seq)
        elif step == "give back":
            assert outbox.give_back() == len(in_flight)
            waiting = sorted([batch.first_seq for batch in in_flight] + waiting)
            in_flight = []
        elif step == "forget":
            outbox.forget_settled()
        elif isinstance(step, tuple):
            room = step[1] * 164
            assert sum(len(batch.value) + 64 for batch in outbox.secure(room)) <= room
        elif step == "drain":
            while waiting:
                batch = outbox.take()
                assert batch is not None
                assert batch.first_seq == waiting.pop(0)
                assert outbox.settle(batch)
                settled.add(batch.first_seq)
            assert outbox.take() is None
    outbox.forget_settled()
    assert settled == set(range(put))
    assert outbox.is_empty
    assert outbox.memory_bytes == 0
    assert outbox.memory_events == 0
    assert spool is None or spool.events_held == 0


@settings(max_examples=150, deadline=None)
@given(steps)
def test_an_outbox_with_a_spool_is_a_queue(script: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool.create(Path(folder), emitter="e", topic="t")
        try:
            run(script, spool)
        finally:
            spool.close()


@given(steps)
def test_an_outbox_without_a_spool_is_a_queue(script: list[Any]) -> None:
    run(script, None)
