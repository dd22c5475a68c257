"""`taximeter verify` and `taximeter status` on logs that are right and on logs that lie."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.batch import Batch, encode_batch

from audit.decoder.home_partition import home_of
from audit.positions import PartitionPosition, Positions
from audit.recount.tally_recount import TallyRecount
from audit.verification.partition import PartitionVerification
from audit.verification.report import AcceptedLoss, Report
from audit.verification.span import EVERYTHING, TimeRange
from audit.verification.term import ProofWord
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.provision import ensure_topics
from metering.records.chain import ChainLink
from metering.records.ledger_records import Intent, MeterEvent, Outcome, Receipt, Settlement, encode_intent, encode_receipt
from metering.records.meters import Catalogue, Meter
from metering.records.record import LogRecord
from metering.records.tally import Acceptance, EventCounts, Losses, NotCounted, RecordCounts, Tally, TallyRow, WhyNotCounted, encode_tally
from tests.support.broker_topics import unique_name
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker
METER = "alpaca_ai_tokens"
TIME_MS = 1_763_800_020_000
ASIDE = "EXACT BUT 1 EVENT SET ASIDE"

CATALOGUE = Catalogue([Meter(METER, ("input_tokens",))])

BATCH = Batch(
    emitter="e",
    partition=0,
    first_seq=0,
    count=2,
    customers=["cus_1"],
    dimensions=[()],
    series_dimensions=[0],
    at=[0, 0],
    base_time_ms=TIME_MS,
    time=[0, 1],
    usage={"input_tokens": [3, 4]},
)
SINGLE = {"id": "1", "time": "2025-11-22T08:27:00Z", "customer": "cus_1", "usage": {"input_tokens": 5}}
EVENTS = (encode_batch(BATCH), orjson.dumps(SINGLE), encode_batch(Batch("e", 0, 2, 0, final=True)), b"{")
# Four records: a batch of two events, a single one, a heartbeat, and one that is no JSON.
FIRST = Tally(
    chain_id="c",
    partition=0,
    link=ChainLink(0, 2, -1),
    checkpoint=-1,
    instance="i",
    catalogue=CATALOGUE.version,
    log_time_ms=TIME_MS,
    records=RecordCounts(batches=1, singles=1),
    events=EventCounts(counted=3),
    rows=[TallyRow("cus_1", METER, (), TIME_MS, 12, 3)],
    ranges=[("e", 0, 1)],
    horizon_ms=86_400_000,
    catalogue_definition=CATALOGUE.definition,
)
SECOND = replace(
    FIRST,
    link=ChainLink(2, 4, 0),
    records=RecordCounts(heartbeats=1, singles=1),
    events=EventCounts(dead_lettered={"malformed_json": 1}),
    rows=[],
    ranges=[],
    finals=[("e", 2)],
    set_aside=[(3, ())],
)
INTENT = Intent(
    chain_id="c",
    partition=0,
    link=ChainLink(0, 2, -1),
    checkpoint=-1,
    instance="r",
    tally_head=1,
    events_end=4,
    meter_events=[MeterEvent("cus_1", METER, (), TIME_MS, 12)],
)
RECEIPT = Receipt("c", 0, 0, 0, "r", [Settlement(0, 0, Outcome.ACCEPTED, TIME_MS)])


@pytest.fixture
async def kafka(broker: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("verify"), partitions=1, replication_factor=1)
    assert await ensure_topics(settings, settings.topics, clock=SystemClock()) == []
    return settings


@pytest.fixture
async def appender(kafka: KafkaSettings) -> AsyncIterator[Appender]:
    appender = Appender(kafka, "test")
    yield appender
    await appender.close()


def later_than(log_time_ms: int) -> Callable[[], bool]:
    return lambda: SystemClock().now_ms() > log_time_ms + 1


async def report_of(
    kafka: KafkaSettings, appender: Appender, tallies: Sequence[Tally], entries: Sequence[Intent | Receipt], *, times: TimeRange = EVERYTHING
) -> Report:
    """What verification says of the four records with these tallies and ledger entries."""
    for value in EVENTS:
        await appender.append(kafka.topics.events.name, 0, value)
    last_ms = 0
    for tally in tallies:
        await until_async(later_than(last_ms))  # each tally has a log time of its own
        last_ms = (await appender.append(kafka.topics.tallies.name, 0, encode_tally(tally))).log_time_ms
    for entry in entries:
        await appender.append(kafka.topics.ledger.name, 0, encode_intent(entry) if isinstance(entry, Intent) else encode_receipt(entry))
    return await verify(kafka, times=times)


async def delete_events_before(kafka: KafkaSettings, offset: int) -> None:
    """As retention does."""
    admin = make_admin(kafka, client_id="test")
    try:
        await admin.start()
        await admin.delete_records({TopicPartition(kafka.topics.events.name, 0): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def log_time_of_tally(kafka: KafkaSettings, offset: int) -> int:
    reader = LogReader(kafka, "test")
    try:
        record = await reader.record(kafka.topics.tallies.name, 0, offset)
    finally:
        await reader.close()
    assert record is not None
    return int(record.timestamp)


async def position_of(kafka: KafkaSettings) -> PartitionPosition:
    positions = Positions(kafka, SystemClock())
    try:
        [position] = await positions.read(hours=1)
        return position
    finally:
        await positions.close()


async def test_a_whole_log_is_exact(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, SECOND], [INTENT, RECEIPT])

    assert report.problems.shown == []
    assert verdict_of(report).text == ASIDE
    assert (report.meters[METER].counted, report.meters[METER].reported) == (12, 12)
    assert report.records == {"batches": 1, "singles": 2, "heartbeats": 1, "skipped": 0, "lost": 0, "stepped_over": 0}
    assert [(line.sent, line.received, line.closed) for line in report.emitters] == [(2, 2, True)]
    position = await position_of(kafka)
    assert position.is_settled
    assert (position.counted_to, position.reported_to, position.outcomes) == (4, 2, {"accepted": 1})


async def test_an_empty_log_is_exact(kafka: KafkaSettings) -> None:
    assert verdict_of(await verify(kafka)).text == "EXACT"
    assert (await position_of(kafka)).is_settled


async def test_what_is_not_reported_yet_is_pending(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST], [])

    assert report.problems.shown == []
    assert verdict_of(report).text == f"PENDING: 2 records to count, 12 units of {METER} to report"
    assert report.uncounted_records == 2
    position = await position_of(kafka)
    assert (position.uncounted, position.uncovered_rows, position.is_settled) == (2, 1, False)


async def test_an_intent_without_a_receipt_is_pending(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, SECOND], [INTENT])

    assert verdict_of(report).text == f"PENDING: 1 meter event open (12 units of {METER})"
    assert report.open_meter_events == 1
    assert (await position_of(kafka)).open_meter_events == 1


async def test_a_rejected_meter_event_is_a_mismatch(kafka: KafkaSettings, appender: Appender) -> None:
    refusal = replace(RECEIPT, settlements=[Settlement(0, 0, Outcome.REJECTED, TIME_MS)])
    report = await report_of(kafka, appender, [FIRST, SECOND], [INTENT, refusal])

    assert verdict_of(report).text == f"NOT EXACT: 12 units of {METER} that Stripe does not have"
    assert report.meters[METER].not_billed == 12


@pytest.mark.parametrize(
    ("tally", "problem"),
    [
        (replace(FIRST, records=RecordCounts(batches=2)), "counts 2 batches, the log holds 1"),
        (replace(FIRST, records=RecordCounts(batches=1, skipped=1)), "counts 0 singles, the log holds 1"),
        (replace(FIRST, events=EventCounts(counted=2)), "counts 2 events, its records hold 3"),
        (replace(FIRST, events=EventCounts(counted=3, duplicates=1)), "leaves out as duplicates 1 events, its records hold 0"),
        (replace(FIRST, ranges=[("e", 0, 9)]), "claims the numbers 0-9 of emitter e, its records hold 0-1"),
    ],
)
async def test_a_tally_that_miscounts_is_found(kafka: KafkaSettings, appender: Appender, tally: Tally, problem: str) -> None:
    report = await report_of(kafka, appender, [tally, SECOND], [INTENT, RECEIPT])

    assert verdict_of(report).text.startswith("NOT EXACT")
    assert any(problem in sentence for sentence in report.problems.shown), report.problems.shown


@pytest.mark.parametrize("value", [11, 13])
async def test_an_intent_that_tells_another_sum_is_found(kafka: KafkaSettings, appender: Appender, value: int) -> None:
    lying = replace(INTENT, meter_events=[MeterEvent("cus_1", METER, (), TIME_MS, value)])
    report = await report_of(kafka, appender, [FIRST, SECOND], [lying, RECEIPT])

    assert f"tells {value} units of {METER} for cus_1, the tallies hold 12" in report.problems.shown[0]


async def test_an_intent_that_leaves_a_customer_out_is_found(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, SECOND], [replace(INTENT, meter_events=[])])

    assert f"tells 0 units of {METER} for cus_1, the tallies hold 12" in report.problems.shown[0]


async def test_the_tally_of_a_loser_is_skipped_and_changes_nothing(kafka: KafkaSettings, appender: Appender) -> None:
    zombie = replace(FIRST, rows=[TallyRow("cus_9", METER, (), TIME_MS, 1_000, 3)])
    first = replace(INTENT, link=ChainLink(0, 3, -1), tally_head=2)
    report = await report_of(kafka, appender, [FIRST, zombie, SECOND], [first, RECEIPT])

    assert verdict_of(report).text == ASIDE
    assert report.tallies_skipped == 1


async def test_an_intent_behind_the_end_of_the_tallies_stops_the_partition(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, SECOND], [replace(INTENT, link=ChainLink(0, 9, -1))])

    assert "covers tallies up to 9, the topic ends at 2" in report.problems.shown[0]


async def test_a_ledger_of_another_chain_stops_the_partition(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, SECOND], [INTENT, replace(RECEIPT, chain_id="other")])

    assert "chain other" in report.problems.shown[0]
    assert (await position_of(kafka)).problem.startswith("ChainBroken")


async def test_numbers_that_never_arrived_are_named(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, replace(SECOND, finals=[("e", 5)])], [INTENT, RECEIPT])

    assert any("3 of 5 numbers never arrived and were not reported missing: 2-4" in problem for problem in report.problems.shown)


LOSS = replace(
    SECOND,
    records=RecordCounts(lost=2),
    events=EventCounts(),
    finals=[],
    set_aside=(),
    acceptance=Acceptance("the disk broke", "ann", TIME_MS),
    losses=Losses(ids_from_ms=TIME_MS),
)


async def test_accepted_losses_are_named_and_never_plainly_exact(kafka: KafkaSettings, appender: Appender) -> None:
    await report_of(kafka, appender, [FIRST, LOSS], [INTENT, RECEIPT])
    await delete_events_before(kafka, 4)
    report = await verify(kafka)

    assert report.problems.shown == []
    assert verdict_of(report).text == "EXACT BUT 2 RECORDS ACCEPTED AS LOST, 1 TALLY NOT COUNTED AGAIN"
    assert report.losses == [AcceptedLoss(0, 1, 2, 4, TIME_MS, "the disk broke", "ann", TIME_MS)]
    assert report.records == {"batches": 1, "singles": 1, "heartbeats": 0, "skipped": 0, "lost": 2, "stepped_over": 0}
    position = await position_of(kafka)
    assert (position.lost_records, position.is_settled) == (2, True)


async def test_a_loss_of_records_that_the_log_has_is_a_mismatch(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, LOSS], [INTENT, RECEIPT])

    assert "accepts 2 records as lost, and the log holds 2 of them" in report.problems.shown[0]


async def test_accepted_ids_are_named_too(kafka: KafkaSettings, appender: Appender) -> None:
    ids = replace(LOSS, link=ChainLink(4, 4, 1), records=RecordCounts())
    report = await report_of(kafka, appender, [FIRST, SECOND, ids], [replace(INTENT, link=ChainLink(0, 3, -1), tally_head=2), RECEIPT])

    assert verdict_of(report).text == "EXACT BUT 1 EVENT SET ASIDE, IDS ACCEPTED AS NOT KNOWN"


async def test_events_that_were_deleted_uncounted_are_a_mismatch_until_somebody_accepts_it(kafka: KafkaSettings, appender: Appender) -> None:
    await report_of(kafka, appender, [FIRST], [replace(INTENT, link=ChainLink(0, 1, -1), tally_head=0), RECEIPT])
    await delete_events_before(kafka, 3)
    report = await verify(kafka)

    assert "records 2 to 2 were deleted before they were counted; see taximeter repair accept-loss 0" in report.problems.shown[0]


async def test_a_time_range_covers_whole_intents_and_says_which(kafka: KafkaSettings, appender: Appender) -> None:
    """Two intents, of which the second reports nothing; each tally has its own."""
    first, second = replace(INTENT, link=ChainLink(0, 1, -1), tally_head=0), replace(INTENT, link=ChainLink(1, 2, 0), meter_events=[])
    whole = await report_of(kafka, appender, [FIRST, SECOND], [first, RECEIPT, second])
    assert verdict_of(whole).text == ASIDE
    second_ms = await log_time_of_tally(kafka, 1)

    early = await verify(kafka, times=TimeRange(to_ms=second_ms))
    late = await verify(kafka, times=TimeRange(from_ms=second_ms))
    neither = await verify(kafka, times=TimeRange(from_ms=second_ms + 3_600_000))

    assert (verdict_of(early).text, early.tallies, early.meters[METER].counted, early.covered[0].intents) == ("EXACT", 1, 12, (0, 0))
    assert (verdict_of(late).text, late.tallies, late.records["heartbeats"]) == (ASIDE, 1, 1)
    assert (late.covered[0].tallies, late.covered[0].events, late.covered[0].intents) == ((1, 2), (2, 4), (2, 2))
    assert (neither.tallies, neither.problems.shown) == (0, [])


async def test_a_time_range_inside_an_intent_is_widened_to_all_that_it_reports(kafka: KafkaSettings, appender: Appender) -> None:
    await report_of(kafka, appender, [FIRST, SECOND], [INTENT, RECEIPT])
    second_ms = await log_time_of_tally(kafka, 1)

    report = await verify(kafka, times=TimeRange(from_ms=second_ms))

    assert (verdict_of(report).text, report.tallies, report.meters[METER].reported) == (ASIDE, 2, 12)
    assert report.covered[0].tallies == (0, 2)


async def test_a_loser_inside_a_time_range_is_skipped(kafka: KafkaSettings, appender: Appender) -> None:
    zombie = replace(FIRST, rows=[TallyRow("cus_9", METER, (), TIME_MS, 1_000, 3)])
    first, second = replace(INTENT, link=ChainLink(0, 1, -1), tally_head=0), replace(INTENT, link=ChainLink(1, 3, 0), meter_events=[])
    await report_of(kafka, appender, [FIRST, zombie, SECOND], [first, RECEIPT, second])
    second_ms = await log_time_of_tally(kafka, 1)

    report = await verify(kafka, times=TimeRange(from_ms=second_ms))

    assert (verdict_of(report).text, report.tallies, report.tallies_skipped) == (ASIDE, 1, 1)


async def test_processes_that_share_the_partitions_find_the_same(kafka: KafkaSettings, appender: Appender) -> None:
    report = await report_of(kafka, appender, [FIRST, replace(SECOND, finals=[])], [INTENT, RECEIPT])
    progress: list[tuple[int, int]] = []
    shared = await verify(kafka, lambda done, total: progress.append((done, total)), workers=2)

    assert shared.as_json() == report.as_json()
    assert verdict_of(shared).word is ProofWord.NOT_EXACT
    assert progress[-1] == (4, 4)


async def test_a_fault_of_the_check_over_one_record_costs_that_record(
    kafka: KafkaSettings, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = TallyRecount.take

    def fail(recount: TallyRecount, record: LogRecord) -> None:
        if record.offset == 1:
            raise TypeError("nobody foresaw this")
        take(recount, record)

    monkeypatch.setattr(TallyRecount, "take", fail)
    report = await report_of(kafka, appender, [FIRST, SECOND], [INTENT, RECEIPT])

    assert verdict_of(report).word is ProofWord.NOT_EXACT
    assert f"partition 0, offset 1 of {kafka.topics.events.name}: this check itself failed over it: TypeError" in report.problems.shown[0]
    assert (report.tallies, report.uncounted_records, report.meters[METER].reported) == (2, 0, 12)


async def test_a_fault_of_the_check_over_a_partition_costs_that_partition(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("verify"), partitions=2, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    appender = Appender(kafka, "test")
    for partition in range(2):
        row = TallyRow("cus_1", METER, (), TIME_MS, 5, 1)
        tally = replace(FIRST, partition=partition, link=ChainLink(0, 1, -1), records=RecordCounts(singles=1), rows=[row], ranges=[])
        await appender.append(kafka.topics.events.name, partition, orjson.dumps(SINGLE))
        await appender.append(kafka.topics.tallies.name, partition, encode_tally(replace(tally, events=EventCounts(counted=1))))
    await appender.close()
    note = PartitionVerification._note

    def fail(verification: PartitionVerification, tally: Tally) -> None:
        if tally.partition == 0:
            raise TypeError("nobody foresaw this")
        note(verification, tally)

    monkeypatch.setattr(PartitionVerification, "_note", fail)
    report = await verify(kafka)

    assert "this check itself failed" in report.problems.shown[0]
    assert (report.partitions, report.tallies, report.meters[METER].counted) == (2, 1, 5)


async def test_an_event_that_was_forwarded_must_be_in_its_own_partition(broker: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("verify"), partitions=2, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    home = home_of("cus_1", 2)
    away = 1 - home
    run = NotCounted(0, 1, 0, 0, WhyNotCounted.FORWARDED)
    tally = replace(FIRST, partition=away, link=ChainLink(0, 1, -1), records=RecordCounts(singles=1), events=EventCounts(forwarded=1), ranges=[])
    appender = Appender(kafka, "test")
    await appender.append(kafka.topics.events.name, away, orjson.dumps(SINGLE))
    await appender.append(kafka.topics.tallies.name, away, encode_tally(replace(tally, rows=[], not_counted=[run])))
    gone = await verify(kafka)
    await appender.append(kafka.topics.events.name, home, orjson.dumps(SINGLE))
    there = await verify(kafka)
    await appender.close()

    assert gone.problems.shown == [f"record 0 was forwarded to partition {home}, and its event is not there"]
    assert verdict_of(there).text == "PENDING: 1 record to count"
