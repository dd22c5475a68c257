"""What commands say would be counted or sent goes by what is published, and by the settings file only where nothing is."""

import pytest
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.following.catalogue_log import CatalogueLog
from metering.following.publishing import Publishing
from metering.records.chain import NO_OFFSET
from metering.records.meters import Catalogue, Meter
from metering.records.notes.publication import FROM_THE_BEGINNING, Publication
from taximeter.catalogue_in_force import catalogue_in_force, meters_to_send
from tests.support.aggregator_installation import TOPICS
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryAppender, MemoryLog

NOW_MS = 1_780_000_000_000
FIRST, SECOND, FILE = (Catalogue([Meter(name, ("a",))]) for name in ("first", "second", "file"))


async def installation() -> MemoryLog:
    """Where the first version is in force, and the second holds 20 minutes from now on."""
    log = MemoryLog()
    published, appender = CatalogueLog(log, TOPICS.catalogue.name), MemoryAppender(log, NOW_MS)
    founding = Publication(NO_OFFSET, FROM_THE_BEGINNING, FIRST.version, FIRST.definition, "the first start", "aggregator", NOW_MS)
    await published.publish(appender, founding)
    await Publishing(published, appender, ManualClock(NOW_MS)).publish(SECOND, from_ms=NOW_MS + 20 * MINUTE_MS, reason="prices", by="ann")
    return log


async def test_the_file_counts_where_nothing_is_published() -> None:
    assert await catalogue_in_force(MemoryLog(), TOPICS, FILE, NOW_MS) is FILE
    assert set(await meters_to_send(MemoryLog(), TOPICS, FILE)) == {"file"}


async def test_what_is_in_force_counts_and_a_file_that_differs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    log = await installation()
    assert (await catalogue_in_force(log, TOPICS, FIRST, NOW_MS)).version == FIRST.version
    assert not capsys.readouterr().err
    assert (await catalogue_in_force(log, TOPICS, FILE, NOW_MS)).version == FIRST.version
    assert "other meters than version 1" in capsys.readouterr().err
    assert (await catalogue_in_force(log, TOPICS, FILE, NOW_MS + 20 * MINUTE_MS)).version == SECOND.version


async def test_meters_of_every_version_can_be_sent() -> None:
    assert set(await meters_to_send(await installation(), TOPICS, FILE)) == {"first", "second"}
