"""What plans make of random logs: what is taken out is what was counted, nothing twice, and a new meter over history is that meter from the start."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_index import IdIndex, span_ms
from aggregator.ids.id_table import MemoryStorage
from audit.recount.meter_definitions import KnownCatalogues
from audit.tracing.event_outcomes import EventOutcome, outcome_of
from audit.tracing.event_plans import EventPlans
from audit.tracing.event_search import events_in
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.plans.current_period import IntoCurrent
from metering.plans.plan_header import PlannedRange
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import Adjustment, AdjustmentKind
from metering.records.meters import Catalogue, Meter
from metering.records.record import Record
from metering.records.tally import Tally
from tests.support.aggregator_counters import cut
from tests.support.aggregator_record_strategies import ITEMS, placed
from tests.support.aggregator_records import METERS, START_MS, Item, encode, rules
from tests.support.audit_plans import a_plan, derived, opposite, parts_of, rows_in, sums_of, units_of

COUNT, MOVE, TAKE_OUT = AdjustmentKind.COUNT, AdjustmentKind.MOVE, AdjustmentKind.TAKE_OUT
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
NEW = Meter("calls", ("calls", "input"), ("model",))
OLD_CALLS = st.sampled_from([(), (Meter("calls", ("calls",)),), (Meter("calls", ("calls", "output"), ("model",)),)])


@dataclass
class Log:
    """The same records, counted by two catalogues: what was in force then, and what should have been."""

    records: list[Record] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    should_be: list[Tally] = field(default_factory=list)


def counter_by(catalogue: Catalogue) -> PartitionCounter:
    about = rules(timeline=always(catalogue))
    archive = IdArchive(MemoryStorage, span_ms=span_ms(about.deduplication_horizon_ms), key=b"both alike")
    made = PartitionCounter(0, about, Tallies(), archive)
    made.ids = IdIndex(about.deduplication_horizon_ms, archive, recent_max=10**6)
    made.found(0, "chain")
    return made


@st.composite
def logs(draw: st.DrawFn) -> Log:
    then = Catalogue([METERS[0], *draw(OLD_CALLS)], ["calls"] if draw(st.booleans()) else [])
    should = Catalogue([METERS[0], NEW], then.unmetered - {"calls"})
    if then.known_fields != should.known_fields:  # events that nobody knew were set aside: a plan does not bring them back
        then = Catalogue(then.meters, should.known_fields - then.usage_fields)
    found, subject, other = Log(), counter_by(then), counter_by(should)
    now_ms = START_MS
    for _ in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.integers(1, 8))):
            now_ms += draw(st.sampled_from([0, 1_000, MINUTE_MS, HOUR_MS]))
            item: Item = placed(draw(ITEMS), now_ms)
            record = Record(len(found.records), now_ms, None, *encode(item))
            found.records.append(record)
            subject.count(record)
            other.count(record)
        found.tallies.append(cut(subject).tally)
        found.should_be.append(cut(other).tally)
    return found


SELECTORS = st.builds(
    lambda customers, sources, times, log_times, offsets, meters: UsageSelector(
        customers=frozenset(customers),
        sources=frozenset(sources),
        meters=frozenset(meters),
        offsets=offsets,
        event_from_ms=START_MS + times[0],
        event_to_ms=START_MS + times[1] if times[1] else None,
        from_ms=START_MS + log_times[0],
        to_ms=START_MS + log_times[1] if log_times[1] else None,
    ),
    st.lists(st.sampled_from(["c1", "c2"]), max_size=1),
    st.lists(st.sampled_from(["s", "e1", "e2"]), max_size=2),
    st.sampled_from([(-(10**12), 0), (-HOUR_MS, HOUR_MS), (0, 0)]),
    st.sampled_from([(0, 0), (MINUTE_MS, 3 * HOUR_MS)]),
    st.sampled_from([(), ((0, 4),), ((2, 2), (5, 9))]),
    st.lists(st.sampled_from(["tokens", "calls"]), max_size=1),
)


def rows_of(tallies: list[Tally]) -> Counter[tuple[object, ...]]:
    return sums_of(*(tally.rows for tally in tallies))


@SETTINGS
@given(logs())
def test_taking_everything_out_leaves_nothing(log: Log) -> None:
    parts = parts_of(a_plan(TAKE_OUT), log.records, log.tallies)
    assert sums_of(rows_in(parts)) == opposite(rows_of(log.tallies))


@SETTINGS
@given(logs(), SELECTORS)
def test_what_one_plan_takes_out_the_next_does_not(log: Log, selector: UsageSelector) -> None:
    first = a_plan(TAKE_OUT, selector)
    some = rows_in(parts_of(first, log.records, log.tallies))
    again = parts_of(first, log.records, log.tallies, [first])
    rest = rows_in(parts_of(a_plan(TAKE_OUT), log.records, log.tallies, [first]))
    assert rows_in(again) == []
    assert sums_of(some, rest) == opposite(rows_of(log.tallies))
    assert all(selector.takes_customer(row[0]) and selector.takes_meter(row[1]) for row in some)


@SETTINGS
@given(logs(), SELECTORS)
def test_a_meter_over_history_is_that_meter_from_the_start(log: Log, selector: UsageSelector) -> None:
    by_catalogue: dict[str, Any] = {"meter": "calls", "definition": Catalogue([NEW, METERS[0]]).definition}
    everything = a_plan(COUNT, **by_catalogue)
    rows = rows_in(parts_of(everything, log.records, log.tallies))
    assert units_of(rows, *(tally.rows for tally in log.tallies)) == units_of(*(tally.rows for tally in log.should_be))
    # In two steps it comes to the same, and a third step finds nothing.
    part = a_plan(COUNT, UsageSelector(customers=selector.customers, sources=selector.sources, from_ms=selector.from_ms), **by_catalogue)
    first = rows_in(parts_of(part, log.records, log.tallies))
    second = rows_in(parts_of(everything, log.records, log.tallies, [part]))
    assert units_of(first, second) == units_of(rows)
    assert rows_in(parts_of(everything, log.records, log.tallies, [everything])) == []
    # What is then taken out is all of it, also what the plan counted; and what was taken out before is not counted.
    out = rows_in(parts_of(a_plan(TAKE_OUT), log.records, log.tallies, [part]))
    assert units_of(first, out, *(tally.rows for tally in log.tallies)) == Counter()
    assert rows_in(parts_of(everything, log.records, log.tallies, [a_plan(TAKE_OUT)])) == []


@SETTINGS
@given(logs(), SELECTORS)
def test_what_is_moved_is_taken_from_one_and_given_to_another(log: Log, selector: UsageSelector) -> None:
    parts = parts_of(a_plan(MOVE, selector, to_customer="c2"), log.records, log.tallies)
    taken, given_ = ([row for part in parts if part.moved is moved for row in part.rows] for moved in (False, True))
    assert sums_of(taken) == sums_of([row for row in rows_in(parts_of(a_plan(TAKE_OUT, selector), log.records, log.tallies)) if row[0] != "c2"])
    assert {row[0] for row in given_} <= {"c2"}
    assert sums_of([("c2", *row[1:]) for row in taken]) == opposite(sums_of(given_))


@SETTINGS
@given(logs(), st.integers(0, 4), SELECTORS)
def test_tallies_can_be_planned_apart(log: Log, tallies: int, selector: UsageSelector) -> None:
    middle = log.tallies[tallies].link.start if tallies < len(log.tallies) else log.tallies[-1].link.end
    halves = [PlannedRange(0, middle, 0, "chain"), PlannedRange(middle, 10**9, 0, "chain")]
    apart = [rows_in(parts_of(a_plan(TAKE_OUT, selector, half), log.records, log.tallies)) for half in halves]
    assert sums_of(*apart) == sums_of(rows_in(parts_of(a_plan(TAKE_OUT, selector), log.records, log.tallies)))


@SETTINGS
@given(logs(), st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), st.lists(st.integers(-90, 90), min_size=2, max_size=4)))
def test_what_is_brought_forward_is_the_same_usage_in_another_minute(log: Log, minutes: dict[str, list[int]]) -> None:
    minute_ms = START_MS // MINUTE_MS * MINUTE_MS + HOUR_MS * 100
    ended = {customer: tuple((START_MS + a * MINUTE_MS, START_MS + b * MINUTE_MS) for a, b in pairwise(found)) for customer, found in minutes.items()}
    into = IntoCurrent(minute_ms, ended)
    kinds: list[tuple[AdjustmentKind, dict[str, Any]]] = [(TAKE_OUT, {}), (MOVE, {"to_customer": "c2"})]
    kinds.append((COUNT, {"meter": "calls", "definition": Catalogue([NEW, METERS[0]]).definition}))
    for kind, rule in kinds:
        rows = rows_in(parts_of(a_plan(kind, **rule), log.records, log.tallies))
        parts, derivation = derived(a_plan(kind, into=into, **rule), log.records, log.tallies)
        wanted = [(*row[:3], into.minute_of(row[0], row[3]), *row[4:]) for row in rows]
        assert units_of(rows_in(parts)) == units_of(wanted)
        # The header names only those who were brought forward, and a reader derives the same rows from it.
        brought = derivation.stays.brought.customers | derivation.moves.brought.customers
        assert {row[0] for row, moved in zip(rows, wanted, strict=True) if row != moved} <= brought
        assert rows_in(parts_of(a_plan(kind, into=into.only(brought), **rule), log.records, log.tallies)) == rows_in(parts)


@SETTINGS
@given(logs(), SELECTORS)
def test_what_plans_did_to_each_event_makes_their_rows(log: Log, selector: UsageSelector) -> None:
    plans = [a_plan(TAKE_OUT, selector), a_plan(COUNT, meter="calls", definition=Catalogue([NEW, METERS[0]]).definition), a_plan(TAKE_OUT)]
    catalogues, found = KnownCatalogues(), [Counter[tuple[str, str]]() for _ in plans]
    for tally in log.tallies:
        catalogues.learn(tally)
        meters = getattr(catalogues.of(tally.catalogue), "meters", ())
        for event in (event for record in log.records if tally.link.start <= record.offset < tally.link.end for event in events_in(record)):
            if outcome_of(tally, event.offset, event.at) is not EventOutcome.COUNTED:
                continue
            usage = dict(event.usage)
            following = EventPlans(0, event, {meter.name: sum(usage.get(name, 0) for name in meter.fields) for meter in meters})
            for number, plan in enumerate(plans):
                following.take(number, tally, Adjustment(10**6, plan.plan, 0, 1, "", plan.rule.kind, "r", "ann", 0, plan.text))
                changed = following.found.get(plan.plan)
                found[number].update({(event.customer, meter): units for meter, units in (changed.units.items() if changed is not None else ())})
    for number, plan in enumerate(plans):
        rows = Counter[tuple[str, str]]()
        for customer, meter, _, _, quantity, _ in rows_in(parts_of(plan, log.records, log.tallies, plans[:number])):
            rows[customer, meter] += quantity
        assert {key: units for key, units in found[number].items() if units} == {key: units for key, units in rows.items() if units}
