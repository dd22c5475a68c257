"""A tally that says anything else than its records do is found, whatever it is about."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from audit.decoder.record_contents import SingleContents
from audit.decoder.record_reading import contents_of
from audit.recount.derived_rows import DerivedRows
from audit.recount.meter_definitions import rules_of
from audit.recount.seen_identities import SeenIdentities
from audit.recount.tally_recount import RecountHistory
from metering.formulas.meter_formulas import Aggregate
from metering.records.chain import ChainLink
from metering.records.meters import Catalogue, Meter
from metering.records.tally import EventCounts, LatestValue, NotCounted, RecordCounts, SteppedOver, TallyRow, WhyNotCounted
from tests.support.aggregator_records import HORIZON_MS, START_MS, Beat, Event, Garbage, Item, Numbered, Single, rules
from tests.support.audit_recount import CountedLog, audited, counted_log

MINUTE = START_MS - START_MS % 60_000
PLACE = ("c1", "tokens", (("model", "m1"),), MINUTE)


def event(name: str | None, tokens: int = 3, customer: str = "c1", *, time_ms: int = START_MS) -> Event:
    return Event(name, customer, (("input", tokens),), "m1", time_ms)


SINGLES: Sequence[Item] = [Single(event("a"), "own"), Single(event("b", 5), "structured"), Single(event("c", 7), "binary")]
BATCH = Numbered("e1", 0, (event("d"), event(None), event("e", 4)))
EVERYTHING: Sequence[Item] = [
    *SINGLES,
    BATCH,
    Beat("e1", 3, final=True),
    Garbage(b"{", 1, "malformed_json"),
    Single(event("f", customer="away1"), "own"),
    Single(event("g", time_ms=START_MS + 10**6), "own"),
    Single(event("a", 4), "own"),
]


@pytest.fixture
def log() -> CountedLog:
    return counted_log(EVERYTHING, [SINGLES[0], BATCH, Single(event("h"), "own")])


def test_what_the_aggregator_writes_holds(log: CountedLog) -> None:
    assert log.said() == []
    assert log.tallies[0].events == EventCounts(6, 0, 1, {"malformed_json": 1, "in_future": 1, "conflict": 1})
    assert log.tallies[1].events == EventCounts(1, 4)


def test_a_row_of_another_quantity_is_found_by_customer_and_minute(log: CountedLog) -> None:
    [row] = log.tallies[1].rows
    assert row.quantity == 3
    said = log.said(rows=[row._replace(quantity=999)])
    assert said == ["counts 999 units of tokens (model m1) for c1 at 2026-05-28 20:26, the log holds 3"]
    assert log.said(rows=[row._replace(events=2)]) == ["counts 2 events of tokens (model m1) for c1 at 2026-05-28 20:26, the log holds 1"]


@pytest.mark.parametrize(
    "row", [TallyRow("c9", *PLACE[1:], 5, 1), TallyRow(*PLACE[:2], (), MINUTE, 3, 1), TallyRow(*PLACE[:3], MINUTE - 60_000, 3, 1)]
)
def test_a_row_of_another_customer_or_place_is_found(log: CountedLog, row: TallyRow) -> None:
    assert len(log.said(rows=[row])) == 2
    assert len(log.said(rows=[*log.tallies[1].rows, row])) == 1


def test_a_row_that_is_left_out_is_found(log: CountedLog) -> None:
    assert log.said(rows=[]) == ["counts 0 units of tokens (model m1) for c1 at 2026-05-28 20:26, the log holds 3"]


def test_a_latest_value_of_a_meter_that_adds_up_is_found(log: CountedLog) -> None:
    said = log.said(latest=[LatestValue("c1", "tokens", START_MS, 3, 1)])
    assert said == ["tells 3 of 1 events as the latest of tokens for c1 at 2026-05-28 20:26, the log holds nothing"]


def test_a_sum_of_a_meter_of_the_latest_value_is_found(log: CountedLog) -> None:
    last = rules_of(Catalogue([Meter("tokens", ("input",), aggregate=Aggregate.LAST)]).definition)
    assert last is not None
    derived = DerivedRows(last)
    contents = contents_of(log.records[0])
    assert isinstance(contents, SingleContents)
    derived.add(contents.events, None)
    said = list(derived.differences([TallyRow("c1", "tokens", (), MINUTE, 3, 1)]))
    assert said == ["counts 3 units of tokens for c1 at 2026-05-28 20:26, the log holds 0"]
    assert list(derived.last_differences([LatestValue("c1", "tokens", START_MS, 3, 1)])) == []


def test_rows_of_no_records_are_invented(log: CountedLog) -> None:
    last = log.tallies[-1]
    empty = replace(last, link=ChainLink(last.link.end, last.link.end, 1), records=RecordCounts(), events=EventCounts(), not_counted=())
    assert audited(log.records, [*log.tallies, replace(empty, rows=[])]) == []
    assert audited(log.records, [*log.tallies, empty]) == ["counts 3 units of tokens (model m1) for c1 at 2026-05-28 20:26, the log holds 0"]


def test_an_event_that_is_named_a_duplicate_and_is_none_is_found(log: CountedLog) -> None:
    """The rows and counts are made to fit, so that only the log can tell."""
    named = [*log.tallies[1].not_counted, NotCounted(11, 1, 0, 0, WhyNotCounted.DUPLICATE)]
    said = log.said(rows=[], not_counted=named, events=EventCounts(0, 5))
    assert said == ["leaves out record 11 as a duplicate, and no record before it counts the same event"]


def test_an_event_of_other_content_is_no_duplicate(log: CountedLog) -> None:
    first = log.tallies[0]
    aside = [place for place in first.set_aside if place[0] != 8]
    changed = {"set_aside": aside, "not_counted": [*first.not_counted, NotCounted(8, 1, 0, 0, WhyNotCounted.DUPLICATE)]}
    said = log.said(of=0, events=EventCounts(6, 1, 1, {"malformed_json": 1, "in_future": 1}), **changed)
    assert said == ["leaves out record 8 as a duplicate, and what was counted before has other content"]


def test_a_duplicate_that_is_counted_again_is_found(log: CountedLog) -> None:
    [row] = log.tallies[1].rows
    named = [run for run in log.tallies[1].not_counted if run.offset != 9]
    said = log.said(rows=[row._replace(quantity=6, events=2)], not_counted=named, events=EventCounts(2, 3))
    assert said == ["counts record 9 again: the same event was counted before"]


def test_an_event_is_set_aside_only_for_a_reason_that_the_log_shows(log: CountedLog) -> None:
    said = log.said(rows=[], set_aside=[(11, ())], events=EventCounts(0, 4, 0, {"conflict": 1}))
    assert said == ["sets aside record 11 [0], and nothing in the log says why"]


@pytest.mark.parametrize("changes", [{"set_aside": []}, {"not_counted": []}])
def test_what_did_not_count_must_be_named(log: CountedLog, changes: dict[str, object]) -> None:
    assert log.said(of=0, **changes)


def test_an_unreadable_record_that_is_counted_is_found(log: CountedLog) -> None:
    aside = [place for place in log.tallies[0].set_aside if place[0] != 5]
    events = EventCounts(7, 0, 1, {"in_future": 1, "conflict": 1})
    assert log.said(of=0, set_aside=aside, events=events) == ["takes 1 events from record 5, which cannot be read: it is no JSON"]


def test_a_number_that_nobody_had_is_not_known(log: CountedLog) -> None:
    first = log.tallies[0]
    rows = [row._replace(quantity=row.quantity - 10, events=row.events - 3) for row in first.rows]
    named = [NotCounted(3, 1, 0, 0, WhyNotCounted.KNOWN_NUMBER), *first.not_counted]
    events = EventCounts(3, 3, 1, first.events.dead_lettered)
    said = log.said(of=0, rows=rows, not_counted=named, events=events, ranges=[])
    assert said[0] == "leaves out 3 events of record 3 as known numbers, and no record before it holds number 0 of emitter e1"


def test_an_event_whose_number_was_taken_is_not_counted_again(log: CountedLog) -> None:
    [row] = log.tallies[1].rows
    known = [run for run in log.tallies[1].not_counted if run.offset != 10]
    said = log.said(rows=[row._replace(quantity=13, events=4)], not_counted=known, events=EventCounts(4, 1), ranges=[("e1", 0, 2)])
    assert said[0] == "counts events of record 10 again: number 0 of emitter e1 was counted before"


def test_a_single_event_has_no_number(log: CountedLog) -> None:
    named = [*log.tallies[1].not_counted, NotCounted(11, 1, 0, 0, WhyNotCounted.KNOWN_NUMBER)]
    assert log.said(rows=[], not_counted=named, events=EventCounts(0, 5)) == ["leaves out record 11 for its number, and it has none"]


def test_an_event_that_is_at_home_is_not_forwarded(log: CountedLog) -> None:
    named = [*log.tallies[1].not_counted, NotCounted(11, 1, 0, 0, WhyNotCounted.FORWARDED)]
    assert log.said(rows=[], not_counted=named, events=EventCounts(0, 4, 1)) == ["forwards record 11, which is at home here"]


def test_a_foreign_event_is_not_counted(log: CountedLog) -> None:
    first = log.tallies[0]
    rows = [*first.rows, TallyRow("away1", *PLACE[1:], 3, 1)]
    named = [run for run in first.not_counted if run.offset != 6]
    said = log.said(of=0, rows=rows, not_counted=named, events=EventCounts(7, 0, 0, first.events.dead_lettered))
    assert said == ["counts record 6, whose customer belongs to partition 1"]


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"ranges": [("e1", 0, 9)]}, "claims the numbers 0-9 of emitter e1, its records hold 0-2"),
        ({"ranges": []}, "claims the numbers (none) of emitter e1, its records hold 0-2"),
        ({"ranges": [("e1", 0, 2), ("e7", 0, 2)]}, "claims the numbers 0-2 of emitter e7, its records hold (none)"),
        ({"finals": []}, "says of emitters that they closed otherwise than their heartbeats do"),
        ({"finals": [("e1", 9)]}, "says of emitters that they closed otherwise than their heartbeats do"),
        ({"abandoned": [("e1", 5, 6)]}, "says of numbers that they were given up otherwise than heartbeats do"),
        ({"dropped": [("e1", 5)]}, "says of events that they were dropped otherwise than heartbeats do"),
        ({"records": RecordCounts(1, 1, 6, 1)}, "counts 6 singles, the log holds 7"),
        ({"events": EventCounts(6, 0, 1, {"conflict": 2})}, "sets aside 2 events, its records hold 3"),
        ({"catalogue": "another"}, "defines catalogue another by meters of another version"),
    ],
)
def test_other_claims_are_compared_with_the_records(log: CountedLog, changes: dict[str, object], phrase: str) -> None:
    assert phrase in log.said(of=0, **changes)


def test_what_was_set_aside_and_counted_later_has_come_back() -> None:
    late = START_MS + 10**6
    log = counted_log([Single(event("g", time_ms=late), "own")], [Single(event("g", time_ms=late), "own")], step_ms=10**6)
    history = RecountHistory(0, rules().partition_of)
    assert audited(log.records[:1], log.tallies[:1], history) == []
    assert (history.aside.totals["in_future"].events, history.aside.totals["in_future"].units) == (1, {"tokens": 3})
    history = RecountHistory(0, rules().partition_of)
    assert audited(log.records, log.tallies, history) == []
    totals = history.aside.totals["in_future"]
    assert (totals.events, totals.counted_since, totals.units["tokens"]) == (0, 1, 0)


def test_an_id_may_come_again_after_the_horizon() -> None:
    days = [START_MS + 2 * number * HORIZON_MS for number in range(3)]
    log = counted_log(*([Single(event(name, time_ms=at), "own")] for name, at in zip("aba", days, strict=True)), step_ms=2 * HORIZON_MS)
    assert [tally.events.counted for tally in log.tallies] == [1, 1, 1]
    assert log.said() == []


def test_with_more_ids_than_memory_a_share_of_them_is_looked_at() -> None:
    items = [Single(event(f"id{number}"), "own") for number in range(400)]
    log = counted_log(items, items)
    history = RecountHistory(0, rules().partition_of, identities=SeenIdentities(entries_max=100))
    assert audited(log.records, log.tallies, history) == []
    assert history.identities.share in {4, 8, 16}
    # A forger does not know which.
    forged = replace(log.tallies[0], not_counted=[NotCounted(0, 400, 0, 0, WhyNotCounted.DUPLICATE)], events=EventCounts(0, 400), rows=[])
    history = RecountHistory(0, rules().partition_of, identities=SeenIdentities(entries_max=100))
    assert len(audited(log.records, [forged], history)) > 1


def test_tallies_of_the_old_format_are_not_counted_again(log: CountedLog) -> None:
    old = replace(log.tallies[1], horizon_ms=None, not_counted=())
    assert audited(log.records, [log.tallies[0], old]) == []
    assert audited(log.records, [log.tallies[0], replace(old, events=EventCounts(9))]) == ["accounts for 9 events, the log holds 5"]


def test_a_record_that_a_person_passed_over_is_not_looked_at(log: CountedLog) -> None:
    last = log.tallies[-1]
    step = SteppedOver("code fails over it", "ann", START_MS, None)
    passed = replace(
        last,
        link=ChainLink(9, 10, 0),
        records=RecordCounts(stepped_over=1),
        events=EventCounts(),
        rows=[],
        not_counted=(),
        ranges=[],
        stepped_over=step,
    )
    assert audited(log.records, [log.tallies[0], passed]) == []


def test_a_redrive_is_believed_that_an_event_was_counted_where_the_log_counts_its_identity() -> None:
    late = START_MS + 10**6
    log = counted_log([Single(event("g", time_ms=late), "own")], [Single(event("g", 9, time_ms=late), "own")], step_ms=10**6)
    history = RecountHistory(0, rules().partition_of, said_known={0: {0}})
    assert audited(log.records[:1], log.tallies[:1], history) == []
    totals = history.aside.totals["in_future"]
    assert (totals.events, totals.came_back, totals.units["tokens"]) == (1, 0, 3)
    assert audited(log.records[1:], [replace(log.tallies[1], link=ChainLink(0, 1, 0))], history) == []
    assert (totals.events, totals.came_back, totals.units["tokens"]) == (0, 1, 0)

    log = counted_log([Single(event("g"), "own"), Single(event("g", 9), "own"), Single(event("h", time_ms=late), "own")])
    history = RecountHistory(0, rules().partition_of, said_known={1: {0}, 2: {0}})
    assert audited(log.records, log.tallies, history) == []
    assert (history.aside.totals["conflict"].events, history.aside.totals["conflict"].redriven) == (0, 1)
    assert (history.aside.totals["in_future"].events, history.aside.totals["in_future"].redriven) == (1, 0)
