"""The forms in which the benchmarks write events: whatever the form, the aggregator counts the same usage."""

import time
import tomllib

import pytest
from taximeter_emitter.wire.limits import DAY_MS

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from benchmarks.forms import FORMS, PLAIN, Form, records_of
from benchmarks.usage_load import METERS_FILE, Shape
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.records.meters import catalogue_of
from metering.records.record import Record
from metering.records.tally import Tally

SHAPE = Shape(events=400, repeated=0.1)


def counted(form: Form) -> Tally:
    """What one partition makes of all of it."""
    rules = CountingRules("usage.events", always(catalogue_of(tomllib.loads(METERS_FILE))), lambda _: 0, "test", DAY_MS)
    counter = PartitionCounter(0, rules, Tallies())
    counter.found(0, "chain")
    now_ms = time.time_ns() // 1_000_000
    records = [Record(offset, now_ms, load.key, load.value, load.headers) for offset, load in enumerate(records_of(form, SHAPE, 1))]
    counter.count_many(records, 10**9)
    return counter.cut().tally


@pytest.mark.parametrize("name", FORMS)
def test_every_event_of_a_form_counts_or_is_known(name: str) -> None:
    tally, plain = counted(FORMS[name]), counted(FORMS[PLAIN])
    assert tally.events.counted + tally.events.duplicates == SHAPE.events
    assert not tally.events.dead_lettered
    assert sum(row.quantity for row in tally.rows) >= sum(row.quantity for row in plain.rows) > 0
