"""A log that services of an earlier release wrote, as those of today read it and go on from it: nothing is billed twice, and all of it is.

The files have the bytes of all topics of one partition, with their log times, and what Stripe had by then. At their ends events are not counted, a
tally is not reported, and an intent is open whose meter events never reached Stripe.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from aggregator.reading.readers import quickest_reader
from aggregator.takeover import CountingTakeover
from audit.recount.published_versions import PublishedVersions
from audit.recount.written_links import WrittenLinks
from audit.verification.emitters import EmitterBook
from audit.verification.partition import PartitionVerification, Readers, VerificationScope
from audit.verification.report import Report
from audit.verification.span import EVERYTHING
from audit.verification.verdict import ProofVerdict, verdict_of
from metering.folds.catalogue_timeline import CatalogueTimeline
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.kafka.topics import topics_named
from metering.process.logs import get_log
from metering.records.dead_letter import encode_dead_letter
from metering.records.ledger_records import MeterEvent, Outcome, Settlement, encode_intent, encode_receipt
from metering.records.meters import Catalogue, Meter
from metering.records.tally import decode_tally
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter, open_meter_events
from reporter.takeover import ReportingTakeover
from tests.support.console_folding import MemoryConsole, contents
from tests.support.ids_in_memory import in_memory
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryAppender, MemoryLog

TOPICS: Final = topics_named("usage")
CONSOLE_TOPICS: Final = {"tallies": TOPICS.tallies.name, "ledger": TOPICS.ledger.name, "deadletters": TOPICS.deadletters.name}
HORIZON_MS: Final = 86_400_000
RECORDED: Final = sorted(Path(__file__).parent.glob("*.ndjson"))
VERDICTS: Final = {
    "release-0.1.0": "EXACT BUT 1 EVENT SET ASIDE, 9 TALLIES NOT COUNTED AGAIN",  # they do not say what they have not counted (decision 10)
    "before-links": "EXACT BUT 1 EVENT SET ASIDE",
}
CATALOGUE: Final = Catalogue([Meter("tokens", ("n", "m"))])

# What was sent, whatever the log says: of the gateway, each event with `n` and one `m`; the others have `n` alone. Ids came more than once.
SENT: Final = Counter(
    {
        f"cus_{customer}": sum(n + 1 for n in (*range(1, 22), *range(31, 36), *range(41, 46), *range(51, 56)) if n % 3 == customer)
        + sum(first + number for first in (100, 200, 300) for number in range(10) if number % 3 == customer)
        + (7 if customer == 1 else 0)
        for customer in range(3)
    }
)


class Installation:
    """The logs of a file, Stripe as it was then, and services of today."""

    def __init__(self, file: Path) -> None:
        self.name = file.stem
        self.log = MemoryLog()
        self.log.topics = {topic.name: [] for topic in TOPICS}
        self.at_stripe: dict[str, tuple[str, int]] = {}
        self.sent: list[str] = []
        for line in file.read_text().splitlines():
            self._take(orjson.loads(line))
        self.now_ms = max(record.timestamp for log in self.log.topics.values() for record in log if record is not None) + 1_000
        self.appender = MemoryAppender(self.log, self.now_ms)

    def _take(self, said: dict[str, Any]) -> None:
        if "stripe" in said:
            self.at_stripe[said["stripe"]] = (said["customer"], said["value"])
            return
        headers = [(name, None if value is None else value.encode()) for name, value in said["headers"]]
        key, value = (None if said[name] is None else said[name].encode() for name in ("key", "value"))
        landed = self.log.append(said["topic"], value, at_ms=said["log_time_ms"], key=key, headers=headers)
        assert landed.offset == said["offset"]

    async def count(self) -> PartitionCounter:
        """What an aggregator does from its start until nothing is left."""
        rules = CountingRules(
            topic=TOPICS.events.name,
            timeline=CatalogueTimeline(),
            partition_of=lambda customer: partition_of(customer, 1),
            instance="today",
            deduplication_horizon_ms=HORIZON_MS,
            make_reader=quickest_reader().make,
        )
        following = CatalogueFollowing(
            CatalogueLog(self.log, TOPICS.catalogue.name),
            CATALOGUE,
            founder=self.appender,
            metrics=CatalogueMetrics.create(CollectorRegistry(), "aggregator"),
            clock=ManualClock(self.now_ms),
            notices=get_log("test"),
        )
        takeover = CountingTakeover(self.log, rules, tallies_topic=TOPICS.tallies.name, found_at_log_start=False, snapshots=in_memory(HORIZON_MS))
        takeover.follow(await following.look(self.now_ms))
        counter = await takeover.take_over(0)
        records = [record for record in self.log.topics[TOPICS.events.name][counter.position :] if record is not None]
        while records:
            records = records[counter.count_many(records, 10**9) :]
        cut = counter.cut()
        for letter in cut.dead_letters:
            value, headers = encode_dead_letter(letter)
            await self.appender.append(TOPICS.deadletters.name, 0, value, key=letter.written_key, headers=headers)
        landed = await self.appender.append(TOPICS.tallies.name, 0, cut.value)
        assert counter.observe(landed.offset, cut.tally)
        return counter

    async def report(self) -> PartitionReporter:
        """What a reporter does from its start until nothing is left."""
        takeover = ReportingTakeover(self.log, TOPICS, instance="today", rows_max=1_000, periods=BillingPeriods())
        reporter = await takeover.take_over(0)
        if reporter.must_claim:
            await self._say(takeover, reporter, [])
        await self._send(takeover, reporter)
        for offset in range(reporter.tally_position, len(self.log.topics[TOPICS.tallies.name])):
            record = self.log.topics[TOPICS.tallies.name][offset]
            assert record is not None
            tally = decode_tally(record.value or b"")
            assert tally is not None
            reporter.add(offset, tally)
        intent = reporter.plan(self.now_ms, 1_000, 1_000)
        if intent is not None:
            landed = await self.appender.append(TOPICS.ledger.name, 0, encode_intent(intent))
            assert await takeover.catch_up(reporter, intent, landed.offset, self.now_ms)
            await self._send(takeover, reporter)
        return reporter

    async def _send(self, takeover: ReportingTakeover, reporter: PartitionReporter) -> None:
        for offset, entry in list(reporter.ledger.open.items()):
            found = open_meter_events(reporter.ledger, offset)
            settled = [(index, self._take_at_stripe(entry.entry.identifier(index), event)) for index, event in found]
            await self._say(takeover, reporter, [Settlement(offset, index, outcome, self.now_ms) for index, outcome in settled])

    async def _say(self, takeover: ReportingTakeover, reporter: PartitionReporter, settlements: list[Settlement]) -> None:
        receipt = reporter.receipt(settlements)
        landed = await self.appender.append(TOPICS.ledger.name, 0, encode_receipt(receipt))
        await takeover.catch_up(reporter, receipt, landed.offset, self.now_ms)

    def _take_at_stripe(self, identifier: str, event: MeterEvent) -> Outcome:
        self.sent.append(identifier)
        if identifier in self.at_stripe:
            return Outcome.DUPLICATE
        self.at_stripe[identifier] = (event.billed, event.value)
        return Outcome.ACCEPTED

    @property
    def billed(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for customer, value in self.at_stripe.values():
            found[customer] += value
        return found

    async def verdict(self) -> ProofVerdict:
        """What `taximeter verify` says of the logs."""
        versions, readers, report = PublishedVersions(), Readers(self.log, self.log, self.log), Report()
        for record in self.log.topics[TOPICS.catalogue.name]:
            assert record is not None
            versions.take(record.offset, record.timestamp, record.value)
        verification = PartitionVerification(
            0,
            readers=readers,
            scope=VerificationScope(TOPICS, 1, EVERYTHING, versions, WrittenLinks()),
            bounds=await readers.bounds(TOPICS, 0),
            emitters=(emitters := EmitterBook(whole=True)),
            report=report,
            on_records=lambda _: None,
        )
        await verification.run()
        report.emitters, problems = emitters.lines()
        for problem in problems:
            report.problems.add(problem)
        return verdict_of(report)


@pytest.fixture(params=RECORDED, ids=[file.stem for file in RECORDED])
def installation(request: pytest.FixtureRequest) -> Installation:
    return Installation(request.param)


async def test_today_goes_on_where_an_earlier_release_stopped(installation: Installation) -> None:
    had = set(installation.at_stripe)
    assert had
    assert (await installation.verdict()).text.startswith("PENDING")
    counter = await installation.count()
    assert counter.position == len(installation.log.topics[TOPICS.events.name])
    reporter = await installation.report()
    assert not reporter.ledger.open
    assert not had & set(installation.sent), "Stripe had these already"
    assert installation.billed == SENT
    assert (await installation.verdict()).text == VERDICTS[installation.name]


async def test_a_second_start_sends_nothing(installation: Installation) -> None:
    await installation.count()
    await installation.report()
    installation.sent.clear()
    await installation.count()
    await installation.report()
    assert not installation.sent
    assert installation.billed == SENT


async def test_the_console_shows_the_same(installation: Installation, tmp_path: Path) -> None:
    await installation.count()
    await installation.report()
    logs = {name: installation.log.topics[topic] for name, topic in CONSOLE_TOPICS.items()}
    console = MemoryConsole(tmp_path / "store", [logs])
    try:
        console.show(1.0)
        await console.read_on()
    finally:
        await console.close()
    found = contents(tmp_path / "store")
    counted: Counter[str] = Counter()
    for customer, _, _, _, units, *_ in found["days"]:
        counted[customer] += units
    assert counted == SENT
    assert len(found["letters"]) == 1
