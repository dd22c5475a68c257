"""What the ledger says of a tally's latest values: the meter event that tells each, or a later one in its place, or that it came too late."""

import pytest
from taximeter_emitter.wire.limits import DAY_MS

from audit.tracing.ledger_search import LedgerSearch, TallyReport, UsageAt
from metering.records.chain import NO_OFFSET
from metering.records.ledger_records import Intent, MeterEvent, ReadingTime, encode_intent
from tests.support.aggregator_installation import TOPICS
from tests.support.metering_ledger_entries import EVENT, an_intent
from tests.support.metering_memory_log import MemoryLog

NOW_MS = 1_780_000_000_000
LEDGER = TOPICS.ledger.name


def reading(value: int, after_s: int, customer: str = "cus_1") -> MeterEvent:
    happened_ms = NOW_MS + after_s * 1_000 + 250
    return MeterEvent(customer, "stored", (), happened_ms // 1_000 * 1_000, value, reading=ReadingTime(happened_ms))


async def reported(values: list[int], *intents: Intent) -> TallyReport:
    """Of values of cus_1 that tally 1 has, each after so many seconds."""
    log = MemoryLog()
    for intent in intents:
        log.append(LEDGER, encode_intent(intent), at_ms=NOW_MS)
    usage = [UsageAt("cus_1", "stored", NOW_MS + after_s * 1_000 + 250) for after_s in values]
    return await LedgerSearch(log, LEDGER).report(0, 1, NOW_MS - DAY_MS, (), usage)


FIRST = an_intent(0, 1, NO_OFFSET, meter_events=[reading(900, 40)])


async def test_a_value_is_told_by_its_meter_event_and_another_by_the_later_one_in_its_place() -> None:
    second = an_intent(1, 2, 0, meter_events=[EVENT, reading(7, 20, "cus_2"), reading(800, 20)])
    third = an_intent(2, 3, 1, meter_events=[reading(600, 30)])
    for after_s in (20, 10):
        found = await reported([after_s], FIRST, second, third)
        assert (found.intent, found.superseded, found.carried) == (1, False, False)
        assert [(each.intent, each.event.value) for each in found.events] == [(1, 800)], "not what was told before, and not what comes after"


async def test_a_value_that_came_too_late_is_told_to_nobody() -> None:
    late = an_intent(1, 2, 0, meter_events=[EVENT], superseded=(reading(999, 10),))
    found = await reported([10], FIRST, late)
    assert (found.superseded, found.events) == (True, [])


@pytest.mark.parametrize("goes_on", [True, False], ids=["and told by a later intent", "and still is"])
async def test_a_value_that_waits_is_carried(goes_on: bool) -> None:
    waits = an_intent(1, 2, 0, meter_events=[], carried=[reading(800, 20)])
    told = an_intent(2, 3, 1, meter_events=[reading(800, 20)])
    found = await reported([20], FIRST, waits, *([told] if goes_on else []))
    assert found.carried is not goes_on
    assert [each.intent for each in found.events] == ([2] if goes_on else [])
