"""Each record is counted by the version of the catalogue in force at the latest log time up to it, however it is handed over, and by any owner."""

from dataclasses import replace
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from audit.recount.published_versions import PublishedVersions
from audit.recount.tally_recount import RecountHistory, TallyRecount
from metering.folds.catalogue_timeline import CatalogueTimeline, PublishedCatalogues
from metering.folds.tallies import Tallies
from metering.records.meters import Catalogue, Meter
from metering.records.notes.publication import Publication, encode_publication
from metering.records.record import Record
from metering.records.tally import Tally
from tests.support.aggregator_records import START_MS, Event, Single, encode, rules

CATALOGUES = [
    Catalogue([Meter("tokens", ("input",)), Meter("calls", ("calls",))]),
    Catalogue([Meter("tokens", ("input", "output"), ("model",))], ["calls"]),
    Catalogue([Meter("tokens", ("output",)), Meter("calls", ("calls",))]),
]
VERSIONS = 10


def ten_versions(log: PublishedVersions) -> CatalogueTimeline:
    """One after the other, an hour apart."""
    published = PublishedCatalogues()
    for number in range(VERSIONS):
        catalogue, starts = CATALOGUES[number % len(CATALOGUES)], START_MS + number * HOUR_MS if number else 0
        about = Publication(number - 1, starts, catalogue.version, catalogue.definition, "why", "ann", START_MS)
        log_time_ms = START_MS - HOUR_MS + number * MINUTE_MS
        assert published.fold(number, log_time_ms, about)
        log.take(number, log_time_ms, encode_publication(about))
    return CatalogueTimeline(published.versions, START_MS + 100 * HOUR_MS)


def event(number: int, log_time_ms: int) -> Record:
    usage = (("input", 1), ("output", 100), ("calls", 10_000))
    value, headers = encode(Single(Event(f"e{number}", "c", usage, "m", log_time_ms), "own"))
    return Record(number, log_time_ms, None, value, headers)


def owner(timeline: CatalogueTimeline, tallies: list[Tally]) -> PartitionCounter:
    """One that takes over behind these tallies."""
    counter = PartitionCounter(0, rules(timeline=timeline), Tallies())
    if not tallies:
        counter.found(0, "chain")
    for offset, tally in enumerate(tallies):
        assert counter.observe(offset, tally)
    return counter


@given(st.data())
def test_ten_versions_count_what_is_theirs_and_verify_finds_so(data: st.DataObject) -> None:
    log = PublishedVersions()
    timeline = ten_versions(log)
    steps = data.draw(st.lists(st.sampled_from([0, MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, -5 * MINUTE_MS]), min_size=1, max_size=30))
    records = [event(number, time_ms) for number, time_ms in enumerate(accumulate(steps, initial=START_MS))]
    tallies: list[Tally] = []
    counter = owner(timeline, tallies)

    def cut() -> None:
        tally = counter.cut().tally
        assert counter.observe(len(tallies), tally)
        tallies.append(tally)

    while counter.position < len(records):
        piece = records[counter.position : counter.position + data.draw(st.integers(1, 8))]
        if not counter.count_many(piece, 10**9) or data.draw(st.booleans()):
            cut()
        if not counter.pending_records and data.draw(st.integers(0, 3)) == 0:
            counter = owner(timeline, tallies)
    cut()
    units = {
        version.version: units
        for version, units in zip(CATALOGUES, ({"tokens": 1, "calls": 10_000}, {"tokens": 101}, {"tokens": 100, "calls": 10_000}), strict=True)
    }
    latest = list(accumulate((record.timestamp for record in records), max))
    for tally in tallies:
        covered = range(tally.link.start, tally.link.end)
        assert {timeline.in_force(latest[place]).catalogue.version for place in covered} <= {tally.catalogue}
        billed = {name: sum(row.quantity for row in tally.rows if row.meter == name) for name in {row.meter for row in tally.rows}}
        assert billed == {name: each * len(covered) for name, each in units[tally.catalogue].items() if covered}
    assert phrases(records, tallies, log) == []
    forged = [replace(tally, catalogue=CATALOGUES[0].version, catalogue_definition=CATALOGUES[0].definition) for tally in tallies]
    wrong = [tally for tally in tallies if tally.catalogue != CATALOGUES[0].version]
    assert len([phrase for phrase in phrases(records, forged, log) if phrase.startswith("counts by version")]) == len(wrong)


def phrases(records: list[Record], tallies: list[Tally], log: PublishedVersions) -> list[str]:
    """What `verify` says."""
    history, found = RecountHistory(0, lambda _: 0, versions=log), list[str]()
    for tally in tallies:
        recount = TallyRecount(tally, history)
        for record in records[tally.link.start : tally.link.end]:
            recount.take(record)
        found += recount.phrases()
    return found


@given(st.integers(0, 3), st.integers(0, 3))
def test_nothing_is_counted_whose_version_is_not_known(known: int, more: int) -> None:
    timeline = replace(ten_versions(PublishedVersions()), known_until_ms=START_MS + known * MINUTE_MS)
    records = [event(number, START_MS + number * MINUTE_MS) for number in range(8)]
    counter = owner(timeline, [])
    assert counter.count_many(records, 10**9) == known
    assert not counter.is_known(records[known].timestamp)
    assert counter.count_many(records[known:], 10**9) == 0
    assert counter.follow(replace(timeline, known_until_ms=START_MS + (known + more) * MINUTE_MS))
    assert counter.count_many(records[known:], 10**9) == more


def test_what_is_pending_is_dropped_when_a_version_turns_out_to_hold_for_it() -> None:
    whole = ten_versions(PublishedVersions())
    first = replace(whole, versions=whole.versions[:1])
    counter = owner(first, [])
    counter.count(event(0, START_MS + 2 * HOUR_MS))
    assert not counter.follow(whole)
    fresh = owner(first, [])
    assert fresh.follow(whole)
    fresh.count(event(0, START_MS + 2 * HOUR_MS))
    assert fresh.cut().tally.catalogue == CATALOGUES[2].version
