"""Services and commands agree on the versions of the catalogue through the log alone."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.catalogue_timeline import CLOCKS_APART_MS, NOTICE_MS_MIN
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.following.published_meters import SentMeters, WatchedMeters
from metering.following.publishing import NOTICE_MS_DEFAULT, NotPublished, Publishing
from metering.process.logs import get_log
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.meters import Catalogue, Meter
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryAppender, MemoryLog

TOPIC = "usage.catalogue"
NOW_MS = 1_780_000_000_000
ONE, OTHER = Catalogue([Meter("tokens", ("a",))]), Catalogue([Meter("others", ("b",))])


class Installation:
    """A topic, and services with their files."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.clock = ManualClock(NOW_MS)
        self.appender = MemoryAppender(self.log, NOW_MS)

    def service(self, file: Catalogue, *, founds: bool = True) -> CatalogueFollowing:
        return CatalogueFollowing(
            CatalogueLog(self.log, TOPIC),
            file,
            founder=self.appender if founds else None,
            metrics=CatalogueMetrics.create(CollectorRegistry(), "aggregator"),
            clock=self.clock,
            notices=get_log("test"),
        )

    async def publishing(self, *, broker_ahead_ms: int = 0) -> Publishing:
        log = CatalogueLog(self.log, TOPIC)
        await log.read_on()
        return Publishing(log, MemoryAppender(self.log, NOW_MS + broker_ahead_ms), self.clock)


async def test_two_first_starts_with_one_file_publish_one_version() -> None:
    world = Installation()
    services = [world.service(ONE) for _ in range(2)]
    timelines = await asyncio.gather(*(service.look() for service in services))
    assert [[version.catalogue.version for version in timeline.versions] for timeline in timelines] == [[ONE.version]] * 2
    assert [service.difference() for service in services] == [None, None]


async def test_the_first_file_wins_and_the_second_is_named_with_the_way_out() -> None:
    world = Installation()
    first, second = world.service(ONE), world.service(OTHER)
    await first.look()
    timeline = await second.look()
    assert [version.catalogue.version for version in timeline.versions] == [ONE.version]
    difference = second.difference()
    assert difference is not None
    assert OTHER.version in difference
    assert "taximeter meters plan" in difference


async def test_a_service_that_does_not_count_publishes_nothing() -> None:
    world = Installation()
    service = world.service(ONE, founds=False)
    assert (await service.look()).versions == ()
    assert world.log.topics.get(TOPIC, []) == []
    assert SentMeters(service, ONE).by_name == WatchedMeters(service, ONE, world.clock).by_name == ONE.by_name


async def test_what_is_known_goes_by_the_log_times_that_were_there_before_the_look() -> None:
    service = Installation().service(ONE)
    assert (await service.look()).known_until_ms == NOTICE_MS_MIN - CLOCKS_APART_MS
    service.note(NOW_MS)
    assert (await service.look(NOW_MS - 1)).known_until_ms == NOW_MS + NOTICE_MS_MIN - CLOCKS_APART_MS


async def test_a_published_version_is_followed_and_its_meters_are_sent_beside_those_before() -> None:
    world = Installation()
    service = world.service(ONE)
    await service.look()
    sent, watched = SentMeters(service, ONE), WatchedMeters(service, ONE, world.clock)
    version = await (await world.publishing()).publish(OTHER, from_ms=None, reason="why", by="ann")
    assert (version.number, version.from_ms) == (2, NOW_MS + NOTICE_MS_DEFAULT)
    await service.look()
    assert sent.by_name.keys() == watched.by_name.keys() == {"tokens", "others"}
    world.clock.advance((NOTICE_MS_DEFAULT + CLOCKS_APART_MS) // 1000 + 1)
    assert watched.by_name.keys() == {"others"}
    assert sent.by_name.keys() == {"tokens", "others"}
    assert service.timeline.versions[-1].by == "ann"


async def test_a_version_that_a_broker_with_another_clock_writes_too_late_does_not_count() -> None:
    world = Installation()
    await world.service(ONE).look()
    publishing = await world.publishing(broker_ahead_ms=6 * MINUTE_MS)
    with pytest.raises(NotPublished, match="Kafka's clock is 360 s ahead"):
        await publishing.publish(OTHER, from_ms=None, reason="why", by="ann")
    assert len((await world.service(ONE).look()).versions) == 1


async def test_of_two_commands_at_once_the_first_counts_and_the_second_says_so() -> None:
    world = Installation()
    await world.service(ONE).look()
    first, second = [await world.publishing() for _ in range(2)]
    await first.publish(OTHER, from_ms=None, reason="why", by="ann")
    with pytest.raises(NotPublished, match="another version came first"):
        await second.publish(ONE, from_ms=None, reason="why", by="bob")


async def test_nothing_is_published_before_the_first_start_or_too_soon() -> None:
    world = Installation()
    with pytest.raises(NotPublished, match="the first start of an aggregator"):
        await (await world.publishing()).publish(ONE, from_ms=None, reason="why", by="ann")
    await world.service(ONE).look()
    with pytest.raises(NotPublished, match="too soon by 61 s"):
        await (await world.publishing()).publish(OTHER, from_ms=NOW_MS + NOTICE_MS_MIN - MINUTE_MS, reason="why", by="ann")


async def test_a_topic_that_lost_versions_is_not_believed() -> None:
    world = Installation()
    service = world.service(ONE)
    await service.look()
    world.log.topics[TOPIC].clear()
    with pytest.raises(ChainBroken):
        await service.look()
    world.log.delete_before(TOPIC, 1)
    with pytest.raises(HistoryLost):
        await service.look()
