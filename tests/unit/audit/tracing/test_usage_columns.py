"""What is found in columns is what is found event by event, by the audit's own decoder; and only what has to be read is read."""

from collections import Counter
from random import Random
from typing import Any

import orjson
from taximeter_emitter.wire.batch import NO_ID, Batch, encode_batch
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.kept_ids import kept_id, pack_kept_ids
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.recount.meter_definitions import MeterDefinition
from audit.tracing.event_outcomes import EventOutcome, outcome_of
from audit.tracing.event_search import EventAt, EventQuery, search
from audit.tracing.usage_columns import FoundUsage, Stretch, UsageFinder, UsageQuestion
from audit.tracing.usage_explained import READ_OVER_MAX, ExplainedUsage, Explainer
from metering.kafka.topics import topics_named
from metering.records.chain import ChainLink
from metering.records.meters import Catalogue, Meter
from metering.records.record import Record
from metering.records.tally import (
    Acceptance,
    EventCounts,
    NotCounted,
    RecordCounts,
    SteppedOver,
    Tally,
    TallyRow,
    WhyNotCounted,
    decode_tally,
    decode_tally_of,
    encode_tally,
)
from tests.support.metering_memory_log import MemoryLog, finished
from tests.support.metering_tallies import a_tally

BEGIN_MS = 1_780_000_020_000 // MINUTE_MS * MINUTE_MS
QUESTION = UsageQuestion("cus_1", "tokens", BEGIN_MS, BEGIN_MS + 2 * MINUTE_MS)
METER = MeterDefinition("tokens", frozenset({"n", "m"}), frozenset())
CATALOGUE = Catalogue([Meter("tokens", ("n", "m"), ("model",))])
TOPICS = topics_named("usage")


def batch(random: Random, offset: int, count: int) -> Record:
    """Of two customers, some times outside of the range, some units 0, stamped in one of three ways."""
    draw = random.randrange
    stamps: list[bool | list[int]] = [True, False, [draw(2) for _ in range(count)]]
    ids = b"".join(random.choice([NO_ID, fingerprint("s", str(number))]) for number in range(count))
    value = encode_batch(
        Batch(
            emitter="e",
            partition=0,
            first_seq=100 * offset,
            count=count,
            customers=["cus_1", "cus_2", "cus_1"],
            dimensions=[(("model", 'a,"b'),), ()],
            series_dimensions=[0, 0, 1],
            at=[draw(3) for _ in range(count)],
            base_time_ms=BEGIN_MS - MINUTE_MS,
            time=[draw(4 * MINUTE_MS) for _ in range(count)],
            usage={"n": [draw(3) for _ in range(count)], "free %d": [draw(2) for _ in range(count)], "m": [draw(2) * 10**12 for _ in range(count)]},
            stamped=random.choice(stamps),
            ids=random.choice([b"", ids]),
            kept_ids=random.choice(["", pack_kept_ids([kept_id("s", str(number)) for number in range(count)])]),
        )
    )
    return Record(offset, BEGIN_MS + MINUTE_MS, None, value)


def single(offset: int, customer: str = "cus_1", units: int = 3) -> Record:
    event = {"id": f"i{offset}", "source": "s", "customer": customer, "usage": {"n": units}, "dimensions": {"model": "b"}}
    return Record(offset, BEGIN_MS + 1, None, orjson.dumps(event))


def one_by_one(records: list[tuple[Record, Stretch]]) -> list[tuple[EventAt, EventOutcome, int]]:
    found = []
    for record, stretch in records:
        for event in search(record, EventQuery(QUESTION.customer)):
            units = sum(quantity for name, quantity in event.usage if name in METER.fields)
            if units and QUESTION.asks_for(event.time_ms):
                tally = stretch.uncounted
                found.append((event, EventOutcome.COUNTED if tally is None else outcome_of(tally, event.offset, event.at), units))
    return found


def listed(found: list[FoundUsage]) -> list[tuple[EventAt, EventOutcome, int]]:
    return [
        (
            EventAt(
                offset=offset,
                at=place,
                log_time_ms=log_time,
                customer=QUESTION.customer,
                dimensions=tuple(orjson.loads(dimensions).items()),
                time_ms=time,
                usage=tuple(orjson.loads(usage).items()),
                fingerprint=bytes.fromhex(mark),
                emitter=emitter,
                number=number,
                source=source,
                event_id=event_id,
            ),
            outcome,
            units,
        )
        for each in found
        for offset, place, log_time, time, outcome, units, usage, dimensions, source, event_id, mark, emitter, number in zip(
            *each.columns(), strict=True
        )
    ]


def test_columns_hold_what_is_found_event_by_event() -> None:
    random = Random(3)
    uncounted = a_tally(
        link=ChainLink(0, 100, -1),
        records=RecordCounts(batches=100),
        set_aside=[(1, (0, 5)), (2, ())],
        not_counted=[NotCounted(3, 2, 1, 30, WhyNotCounted.DUPLICATE), NotCounted(6, 1, 0, 0, WhyNotCounted.FORWARDED)],
    )
    records = []
    for offset in range(40):
        record = single(offset) if offset % 7 == 6 else batch(random, offset, random.choice([5, 63, 64, 200]))
        records.append((record, Stretch(0, 100, METER, uncounted if offset < 20 else None)))
    expected, found = one_by_one(records), list(UsageFinder(QUESTION).find(records))
    assert listed(found) == expected
    events, units = Counter[EventOutcome](), Counter[EventOutcome]()
    for each in found:
        events.update(each.events)
        units.update(each.units)
    assert events == Counter(outcome for _, outcome, _ in expected)
    assert len(events) == 4
    assert units.total() == sum(added for _, _, added in expected)
    assert units[EventOutcome.COUNTED] == sum(added for _, outcome, added in expected if outcome is EventOutcome.COUNTED)


def test_nothing_is_found_in_what_cannot_be_read() -> None:
    stretch = Stretch(0, 9, METER, None)
    good = batch(Random(1), 0, 70).value or b""
    for value in (None, b"", b'{"taximeter": 2, "customers": ["cus_1"]}', good[:-1], good.replace(b'"count":70', b'"count":71')):
        assert list(UsageFinder(QUESTION).find([(Record(0, BEGIN_MS, None, value), stretch)])) == []


def test_rows_of_one_customer_are_decoded_alone() -> None:
    rows = [TallyRow(customer, "tokens", (), BEGIN_MS, 5, 1) for customer in ("cus_2", "cus_1", "cus_2")]
    value = encode_tally(a_tally(rows=rows))
    assert decode_tally(value).rows == rows
    assert decode_tally_of("cus_1")(value).rows == rows[1:2]
    assert decode_tally_of("cus_2")(value).rows == [rows[0], rows[2]]
    assert decode_tally_of("cus_3")(value).rows == []


class Written:
    """A partition of usage.events with a single event a record, and its tallies."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self._end = 0

    def count(self, *events: tuple[str, int], **changes: Any) -> None:
        """Events of these customers with these units, and their tally."""
        for offset, (customer, units) in enumerate(events, self._end):
            record = single(offset, customer, units)
            self.log.append(TOPICS.events.name, record.value, at_ms=record.timestamp)
        self.tally(
            len(events),
            rows=[TallyRow(customer, "tokens", (("model", "b"),), BEGIN_MS, units, 1) for customer, units in events],
            records=RecordCounts(singles=len(events)),
            events=EventCounts(counted=len(events)),
            **changes,
        )

    def tally(self, offsets: int, **changes: Any) -> None:
        at = len(self.log.topics.get(TOPICS.tallies.name, ()))
        first: dict[str, Any] = {"emitter_states": (), "catalogue_definition": CATALOGUE.definition, "checkpoint": -1}
        link = ChainLink(self._end, self._end + offsets, at - 1)
        tally: Tally = a_tally(**{"link": link, "catalogue": CATALOGUE.version, "checkpoint": 0, **({} if at else first), **changes})
        self.log.append(TOPICS.tallies.name, encode_tally(tally), at_ms=BEGIN_MS)
        self._end += offsets

    def explained(self) -> tuple[ExplainedUsage, list[tuple[int, int]]]:
        """And which offsets of usage.events were read."""

        async def explain() -> ExplainedUsage:
            result, explainer = ExplainedUsage(), Explainer(self.log, self.log, TOPICS)
            stretches = await explainer.sums(0, QUESTION, result)
            async for _ in explainer.events(0, QUESTION, stretches, result, lambda _done, _total: None):
                pass
            return result

        result = finished(explain())
        return result, [(start, end) for topic, start, end in self.log.reads if topic == TOPICS.events.name]


def test_neighbours_and_what_is_near_are_read_in_one_go() -> None:
    written = Written()
    written.count(("cus_1", 1), ("cus_2", 9))
    written.count(("cus_1", 2))
    written.count(*[("cus_2", 9)] * READ_OVER_MAX)
    written.count(("cus_1", 4))
    written.count(*[("cus_2", 9)] * (READ_OVER_MAX + 1))
    written.count(("cus_1", 8))
    result, reads = written.explained()
    assert (result.rows, result.events, result.counted, result.compared, result.agrees) == (15, 15, 4, True, True)
    assert result.units_by == {(BEGIN_MS // 3_600_000 * 3_600_000, (("model", "b"),)): 15}
    last = 5 + 2 * READ_OVER_MAX
    assert reads == [(0, 4 + READ_OVER_MAX), (last, last + 1)]


def test_what_is_read_over_is_left_out() -> None:
    written = Written()
    written.count(("cus_1", 1))
    written.log.append(TOPICS.events.name, single(1).value, at_ms=BEGIN_MS + 1)
    twice = [NotCounted(1, 1, 0, 0, WhyNotCounted.DUPLICATE)]
    written.tally(1, not_counted=twice, records=RecordCounts(singles=1), events=EventCounts(duplicates=1))
    written.count(("cus_1", 2))
    result, reads = written.explained()
    assert (result.outcomes, result.events, reads) == ({EventOutcome.COUNTED: 2}, 3, [(0, 3)])


def test_what_is_lost_or_was_passed_over_is_not_read() -> None:
    decisions: list[tuple[dict[str, Any], RecordCounts]] = [
        ({"acceptance": Acceptance("gone", "ann", 1)}, RecordCounts(lost=1)),
        ({"stepped_over": SteppedOver("damaged", "ann", 1, None)}, RecordCounts(stepped_over=1)),
    ]
    for decision, counts in decisions:
        written = Written()
        written.count(("cus_1", 1))
        written.log.skip(TOPICS.events.name)
        written.tally(1, records=counts, events=EventCounts(), **decision)
        written.count(("cus_1", 2))
        result, reads = written.explained()
        assert (result.rows, result.events, reads) == (3, 3, [(0, 1), (2, 3)])


def test_what_did_not_count_keeps_its_tally() -> None:
    written = Written()
    written.count(("cus_1", 1))
    row = TallyRow("cus_1", "tokens", (("model", "b"),), BEGIN_MS, 2, 1)
    for offset in (1, 2):
        written.log.append(TOPICS.events.name, single(offset, units=2).value, at_ms=BEGIN_MS + 1)
    twice = [NotCounted(2, 1, 0, 0, WhyNotCounted.DUPLICATE)]
    written.tally(2, rows=[row], not_counted=twice, records=RecordCounts(singles=2), events=EventCounts(counted=1, duplicates=1))
    written.count(("cus_1", 4))
    result, reads = written.explained()
    assert (result.rows, result.events, reads) == (7, 7, [(0, 4)])
    assert result.outcomes == {EventOutcome.COUNTED: 3, EventOutcome.DUPLICATE: 1}


def test_tallies_and_a_log_that_disagree_are_told() -> None:
    written = Written()
    written.count(("cus_1", 1))
    written.log.append(TOPICS.events.name, single(1, units=2).value, at_ms=BEGIN_MS + 1)
    row = TallyRow("cus_1", "tokens", (("model", "b"),), BEGIN_MS, 3, 1)
    written.tally(1, rows=[row], records=RecordCounts(singles=1), events=EventCounts(counted=1))
    result, _ = written.explained()
    assert (result.rows, result.events, result.agrees) == (4, 3, False)
