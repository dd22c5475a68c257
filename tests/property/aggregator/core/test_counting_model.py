"""The counter against a naive model: any records, cut anywhere, lost to other writers, rebuilt from the log at any moment."""

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from aggregator.core.pending_tally import Cut
from aggregator.takeover import CountingTakeover
from audit.recount.tally_recount import RecountHistory, TallyRecount
from metering.records.tally import Tally, decode_tally
from tests.support.aggregator_record_strategies import ITEMS, placed
from tests.support.aggregator_records import EVENTS, HORIZON_MS, START_MS, TALLIES, Garbage, Item, Model, Numbered, encode, rules
from tests.support.ids_in_memory import in_memory
from tests.support.metering_memory_log import MemoryLog, finished

STEPS_MS = [0, 0, 1_000, 20 * MINUTE_MS, 45 * MINUTE_MS, HOUR_MS, HORIZON_MS, HORIZON_MS + 30 * MINUTE_MS, HORIZON_MS + HOUR_MS]

KINDS_OF_STEPS = ["arrive", "arrive", "arrive", "arrive", "repeat", "again", "wait", "hole", "count", "count", "flush", "new owner"]


class Pipeline:
    """usage.events and usage.tallies in memory, and the counters."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.topics = {EVENTS: [], TALLIES: []}
        self.takeover = CountingTakeover(self.log, rules(), tallies_topic=TALLIES, found_at_log_start=False, snapshots=in_memory())
        self.items: dict[int, tuple[Item, int]] = {}
        self.now_ms = START_MS

    def arrive(self, item: Item) -> None:
        value, headers = encode(item)
        self.items[self.log.append(EVENTS, value, at_ms=self.now_ms, headers=headers).offset] = (item, self.now_ms)

    def again(self, item: Item) -> Item:
        """The same events with the same times, under other numbers where they have any: only their ids tell that."""
        return replace(item, emitter=f"again {len(self.items)}", first_seq=0) if isinstance(item, Numbered) and all_have_ids(item) else item

    def new_owner(self) -> PartitionCounter:
        return finished(self.takeover.take_over(0))

    def count(self, counter: PartitionCounter, records: int) -> None:
        for record in self.log.topics[EVENTS][counter.position : counter.position + records]:
            if record is not None:
                counter.count(record)

    def flush(self, counter: PartitionCounter) -> Cut:
        cut = counter.cut()
        offset = self.log.append(TALLIES, cut.value, at_ms=self.now_ms).offset
        if offset == counter.tallies.chain.next_offset:
            assert counter.observe(offset, cut.tally)
        else:
            finished(self.takeover.catch_up(counter, cut.tally, offset))
        return cut

    def accepted(self) -> list[Tally]:
        counter = self.new_owner()
        position = 0
        found: list[Tally] = []
        for tally in (decode_tally(record.value) for record in self.log.topics[TALLIES] if record is not None):
            if tally.link.start == position and (tally.link.previous == -1) == (not found):
                position = tally.link.end
                found.append(tally)
        assert position == counter.position
        return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_every_record_has_the_outcome_that_the_model_gives_it(data: st.DataObject) -> None:
    pipeline = Pipeline()
    owners = [pipeline.new_owner()]
    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(KINDS_OF_STEPS)):
            case "arrive":
                pipeline.arrive(placed(data.draw(ITEMS), pipeline.now_ms))
            case "repeat" if pipeline.items:
                pipeline.arrive(data.draw(st.sampled_from([item for item, _ in pipeline.items.values()])))
            case "again" if pipeline.items:
                pipeline.arrive(pipeline.again(data.draw(st.sampled_from([item for item, _ in pipeline.items.values()]))))
            case "wait":
                pipeline.now_ms += data.draw(st.sampled_from(STEPS_MS))
            case "hole":
                pipeline.log.skip(EVENTS)
            case "count":
                pipeline.count(data.draw(st.sampled_from(owners)), data.draw(st.integers(1, 6)))
            case "flush":
                pipeline.flush(data.draw(st.sampled_from(owners)))
            case "new owner":
                owners = [*owners[-1:], pipeline.new_owner()]
    for counter in owners:
        pipeline.count(counter, 100)
        pipeline.flush(counter)
    compare(pipeline)


def compare(pipeline: Pipeline) -> None:
    """Each accepted tally against the model, which counts the same ranges of the log once, and against the audit's recount of its range."""
    model, history = Model(), RecountHistory(0, rules().partition_of)
    dead_lettered: Counter[str] = Counter()
    for tally in pipeline.accepted():
        audit(tally, history, pipeline)
        dead_lettered.update(tally.events.dead_lettered)
        taken = [pipeline.items[offset] for offset in range(tally.link.start, tally.link.end) if offset in pipeline.items]
        wanted = model.count(taken)
        kinds = Counter(type(item).__name__ for item, _ in taken)
        assert (tally.records.heartbeats, tally.records.batches) == (kinds["Beat"], kinds["Numbered"])
        assert tally.records.singles == kinds["Single"] + kinds["Garbage"]
        assert tally.records.total == tally.link.end - tally.link.start
        events = tally.events
        dead = Counter(events.dead_lettered)
        assert (events.counted, events.forwarded) == (wanted.counted, wanted.forwarded)
        assert {(r.customer, r.meter, r.dimensions, r.window_start_ms): r.quantity for r in tally.rows} == wanted.rows
        # An id that is known and past the horizon: a duplicate where it is still remembered, set aside otherwise.
        extra = dead - wanted.dead
        assert not wanted.dead - dead
        assert extra.keys() <= {"past_horizon", "conflict"}
        assert events.duplicates + extra.total() == wanted.duplicates + wanted.past
        assert events.duplicates >= wanted.duplicates
        in_batches = {offset: len(indexes) for offset, indexes in tally.set_aside if indexes}
        whole = [offset for offset, indexes in tally.set_aside if not indexes]
        sizes = {offset: claimed(pipeline.items[offset][0]) for offset in whole}
        assert sum(in_batches.values()) + sum(sizes.values()) == dead.total()
    found = Counter({reason: totals.events + totals.repeated + totals.counted_since for reason, totals in history.aside.totals.items()})
    unread = found.pop("unreadable", 0)
    assert not found - Counter(dead_lettered)
    assert dead_lettered.total() == found.total() + unread


def audit(tally: Tally, history: RecountHistory, pipeline: Pipeline) -> None:
    """The audit, which shares no code with the counter, agrees with each tally."""
    recount = TallyRecount(tally, history)
    for record in pipeline.log.topics[EVENTS][tally.link.start : tally.link.end]:
        if record is not None:
            recount.take(record)
    assert recount.is_derived
    assert recount.phrases() == []


def all_have_ids(batch: Numbered) -> bool:
    return all(event.event_id is not None for event in batch.events)


def claimed(item: Item) -> int:
    """How many events a record stands for."""
    match item:
        case Numbered():
            return len(item.events)
        case Garbage():
            return item.events
        case _:
            return 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_a_counter_rebuilt_from_the_log_decides_like_the_one_that_never_stopped(data: st.DataObject) -> None:
    pipeline = Pipeline()
    steady = pipeline.new_owner()
    for _ in range(data.draw(st.integers(1, 4))):
        arrivals(pipeline, data)
        pipeline.count(steady, 100)
        pipeline.flush(steady)
    rebuilt = pipeline.new_owner()
    arrivals(pipeline, data)
    for counter in (steady, rebuilt):
        pipeline.count(counter, 100)
    first, second = steady.cut(), rebuilt.cut()
    for name in ("link", "records", "ranges", "finals", "set_aside", "not_counted", "events", "chain_id", "log_time_ms"):
        assert getattr(first.tally, name) == getattr(second.tally, name), name
    # Rows come in the order in which a counter first saw their series, which is longer ago for the one that never stopped.
    assert sorted(map(repr, first.tally.rows)) == sorted(map(repr, second.tally.rows))
    assert first.dead_letters == second.dead_letters
    assert first.forwards == second.forwards


def arrivals(pipeline: Pipeline, data: st.DataObject) -> None:
    """Records within a time in which every id that was counted is remembered by everybody."""
    for _ in range(data.draw(st.integers(0, 8))):
        pipeline.now_ms += data.draw(st.sampled_from([0, 1_000, 5 * MINUTE_MS]))
        repeat: bool = data.draw(st.booleans())
        if repeat and pipeline.items:
            pipeline.arrive(data.draw(st.sampled_from([item for item, _ in pipeline.items.values()])))
        else:
            pipeline.arrive(placed(data.draw(ITEMS), pipeline.now_ms))
