"""Meters with filters, subtraction and counts: what is counted, set aside and named is what a naive look at each event says, and the audit agrees."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import Batcher
from taximeter_emitter.wire.batch import NO_ID

from aggregator.core.counting import PartitionCounter
from aggregator.sums import series_meters
from aggregator.sums.series_meters import SeriesMeters
from audit.recount.tally_recount import RecountHistory
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.formulas.meter_formulas import Aggregate
from metering.records import meters as meters_module
from metering.records.meters import Catalogue, catalogue_from, catalogue_of
from metering.records.record import Record
from tests.support.aggregator_counters import cut
from tests.support.aggregator_records import START_MS, rules
from tests.support.audit_recount import audited

FIELDS = ("input", "cached", "output")
MODELS = ("a", "a-1", "b", "")
CONDITIONS: Sequence[Any] = ("a", "a*", ["b", "a-1"], ["a-*"], {"present": True}, {"present": False})

conditions = st.dictionaries(st.sampled_from(["model", "region"]), st.sampled_from(CONDITIONS), max_size=2)
some_fields = st.lists(st.sampled_from(FIELDS), unique=True, min_size=1, max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"dimensions": draw(st.lists(st.sampled_from(["model", "region"]), unique=True))}
    if draw(st.booleans()):
        found["aggregate"] = "count"
        if draw(st.booleans()):
            found["sum"] = draw(some_fields)
    else:
        found["sum"] = draw(some_fields)
        less = [name for name in draw(some_fields) if name not in found["sum"]]
        if less:
            found["less"] = less
    where = draw(conditions)
    if where and "sum" in found and not found["dimensions"] and draw(st.booleans()):
        found["aggregate"] = "last"
    return found | ({"where": where} if where else {})


catalogues = st.builds(
    lambda found, unmetered: catalogue_of(
        {
            "meters": [{"event_name": f"m{number}", **entry} for number, entry in enumerate(found)],
            "usage": {"unmetered": sorted(unmetered - {name for entry in found for key in ("sum", "less") for name in entry.get(key, ())})},
        }
    ),
    st.lists(entries(), min_size=1, max_size=5),
    st.frozensets(st.sampled_from(FIELDS), max_size=1),
)
usages = st.dictionaries(st.sampled_from([*FIELDS, "mystery"]), st.integers(0, 3), min_size=1)
dimensions = st.fixed_dictionaries({}, optional={"model": st.sampled_from(MODELS), "region": st.sampled_from(["a", "b"])})


class Given(NamedTuple):
    """One event."""

    customer: str
    dimensions: Mapping[str, str]
    usage: Mapping[str, int]
    time_ms: int = START_MS


events = st.builds(
    Given, st.sampled_from(["c", "d"]), dimensions, usages, st.sampled_from([START_MS - after for after in (0, 1, 999, 1_000, 60_000)])
)


def taken(wanted: Any, value: str | None) -> bool:
    """Whether a condition of the settings file holds."""
    if isinstance(wanted, dict):
        return bool(wanted["present"] == (value is not None))
    values = wanted if isinstance(wanted, list) else [wanted]
    return value is not None and any(value == each or (each[-1] == "*" and value[: len(each) - 1] == each[:-1]) for each in values)


class Naive:
    """Looks at each event by itself, and at each meter's definition as it is written down."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.definition: Any = orjson.loads(orjson.dumps(catalogue.definition))
        self.rows: Counter[tuple[Any, ...]] = Counter()
        self.events: Counter[tuple[Any, ...]] = Counter()
        self.latest: dict[tuple[str, str, int], tuple[int, int, int]] = {}
        self.aside: list[str] = []
        self.unknown: dict[str, list[int]] = {}

    def add(self, event: Given) -> None:  # noqa: PLR0912  # it looks at everything in one place
        known, made, whatever = set[str](), {}, False
        read: dict[str, int] = {}
        for entry in self.definition:
            if not entry[0]:
                known |= set(entry[1])
        for entry in self.definition:
            if not entry[0]:
                continue
            name, fields, billed, _, _, *parts = entry
            more = parts[0] if parts else {}
            if not all(self._holds(wanted, event.dimensions.get(dimension)) for dimension, wanted in more.get("where", ())):
                continue
            less = more.get("less", ())
            known |= set(fields) | set(less)
            if more.get("aggregate") == "count":
                whatever = whatever or not fields
                units = int(not fields or any(event.usage.get(field, 0) for field in fields))
            else:
                units = sum(event.usage.get(field, 0) for field in fields) - sum(event.usage.get(field, 0) for field in less)
            if more.get("aggregate") == "last":
                read[name] = units
                continue
            made[event.customer, name, tuple(sorted((key, value) for key, value in event.dimensions.items() if key in billed))] = units
        used = {name: quantity for name, quantity in event.usage.items() if quantity}
        if used and not whatever and known.isdisjoint(used):
            self.aside.append("unknown_usage_field")
        elif any(units < 0 for units in (*made.values(), *read.values())):
            self.aside.append("below_zero")
        else:
            self.rows.update(made)
            self._read(event, read)
            self.events.update(dict.fromkeys((key for key, units in made.items() if units), 1))
            for name, quantity in used.items():
                if name not in known:
                    total = self.unknown.setdefault(name, [0, 0])
                    total[0] += 1
                    total[1] += quantity

    def _read(self, event: Given, read: Mapping[str, int]) -> None:
        for name, value in read.items():
            key = event.customer, name, event.time_ms // 1000
            time_ms, latest, number = self.latest.get(key, (0, 0, 0))
            self.latest[key] = (event.time_ms, value, number + 1) if event.time_ms >= time_ms else (time_ms, latest, number + 1)

    @staticmethod
    def _holds(wanted: Any, value: str | None) -> bool:
        return taken({"present": wanted} if isinstance(wanted, bool) else wanted, value)


def alone(number: int, event: Given) -> bytes:
    """Its record."""
    time = datetime.fromtimestamp(event.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    said = {"customer": event.customer, "dimensions": event.dimensions, "usage": event.usage}
    return orjson.dumps({"id": f"i{number}", "source": "s", "time": time, **said})


def in_a_batch(events: Sequence[Given]) -> bytes:
    """The record of all of them."""
    batcher = Batcher("e" * 16)
    for each in events:
        about = tuple(sorted(each.dimensions.items()))
        batcher.add(0, customer=each.customer, dimensions=about, time_ms=each.time_ms, usage=tuple(each.usage.items()), fingerprint=NO_ID)
    (batch,) = batcher.take_all()
    return batch.value


@given(catalogues, st.lists(events, min_size=1, max_size=15), st.booleans(), st.integers(1, 4))
def test_formulas_come_to_what_a_look_at_each_event_says(catalogue: Catalogue, given_events: list[Given], batched: bool, piece: int) -> None:
    subject = PartitionCounter(0, rules(timeline=always(catalogue)), Tallies())
    subject.found(0, "chain")
    values = [in_a_batch(given_events)] if batched else [alone(number, each) for number, each in enumerate(given_events)]
    records = [Record(offset, START_MS, None, value) for offset, value in enumerate(values)]
    for start in range(0, len(records), piece):
        subject.count_many(records[start : start + piece], 10**9)
    tally = cut(subject).tally
    naive = Naive(catalogue)
    for each in given_events:
        naive.add(each)
    rows: Counter[tuple[Any, ...]] = Counter()
    numbers: Counter[tuple[Any, ...]] = Counter()
    for row in tally.rows:
        rows[row.customer, row.meter, row.dimensions] += row.quantity
        numbers[row.customer, row.meter, row.dimensions] += row.events
    assert {(each.customer, each.meter, each.time_ms // 1000): (each.time_ms, each.value, each.events) for each in tally.latest} == naive.latest
    assert {key: (units, numbers[key]) for key, units in rows.items()} == {
        key: (units, naive.events[key]) for key, units in naive.rows.items() if units
    }
    assert sum(tally.events.dead_lettered.values()) == len(naive.aside)
    assert dict(tally.events.dead_lettered) == Counter(naive.aside)
    assert [tuple(each) for each in tally.unknown_usage] == [(name, *found) for name, found in sorted(naive.unknown.items())]
    assert audited(records, [tally], RecountHistory(0, rules().partition_of)) == []
    assert catalogue_from(orjson.loads(orjson.dumps(catalogue.definition))).version == catalogue.version


def _where_is_ignored() -> AbstractContextManager[object]:
    return patch.object(meters_module, "where_takes", lambda _where, _dimensions: True)


def _less_is_forgotten() -> AbstractContextManager[object]:
    real = series_meters._quantities
    return patch.object(series_meters, "_quantities", lambda formula, events: real(formula._replace(less=frozenset()), events))


def _a_count_is_of_quantities() -> AbstractContextManager[object]:
    real = series_meters._quantities
    return patch.object(series_meters, "_quantities", lambda formula, events: real(formula._replace(aggregate=Aggregate.SUM), events))


def _what_no_meter_takes_is_free() -> AbstractContextManager[object]:
    return patch.object(SeriesMeters, "_strays", lambda *_: np.zeros(0, np.int64))


@pytest.mark.parametrize("bug", [_where_is_ignored, _less_is_forgotten, _a_count_is_of_quantities, _what_no_meter_takes_is_free])
def test_planted_bugs_are_seen(bug: Callable[[], AbstractContextManager[object]]) -> None:
    meters = [
        {"event_name": "input", "sum": ["input"], "less": ["cached"], "where": {"model": "a*"}},
        {"event_name": "calls", "aggregate": "count", "sum": ["output"], "where": {"model": {"present": True}}},
    ]
    whole, other, bare = {"input": 3, "cached": 1, "output": 2}, {"input": 2}, {"output": 2}
    events = [Given("c", {"model": "a-1"}, whole), Given("c", {"model": "b"}, other), Given("d", {}, bare)]
    look = test_formulas_come_to_what_a_look_at_each_event_says.hypothesis.inner_test  # type: ignore[attr-defined]  # Hypothesis put it there
    look(catalogue_of({"meters": meters}), events, True, 1)
    with bug(), pytest.raises(AssertionError):
        look(catalogue_of({"meters": meters}), events, True, 1)
