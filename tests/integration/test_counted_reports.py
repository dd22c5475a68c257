"""Error reports that only count are in partition 0: whoever reads another partition's cells is told of them, too."""

from dataclasses import replace

from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.kafka.partition_log import Appender
from metering.reconciliation.cells import CellScope
from metering.reconciliation.ledger_cells import LedgerCellReader
from metering.records.ledger_records import encode_entry
from tests.support.metering_corrections import intent
from tests.support.metering_ledger_entries import REJECTION
from tests.support.usage_topic import make_topics, settings_for

REPORT = replace(REJECTION, event_id="evt_1", identifiers=(), error_count=3)
EVERYTHING = CellScope(48 * HOUR_MS, 400 * HOUR_MS, HOUR_MS)


async def test_reports_of_partition_0_are_told_with_the_cells_of_another(broker: str) -> None:
    kafka = replace(settings_for(broker), partitions=2)
    await make_topics(kafka)
    appender, reader = Appender(kafka, "test"), LedgerCellReader(kafka)
    topic = kafka.topics.ledger.name
    try:
        await appender.append(topic, 1, encode_entry(replace(intent(Ledger()), partition=1)))
        assert (await reader.read(1, EVERYTHING)).rejections == []
        for report in (REPORT, replace(REJECTION, event_id="evt_named"), replace(REPORT, event_id="evt_2")):
            await appender.append(topic, 0, encode_entry(report))
        for value in (b"of somebody else", b'{"format":"rejection/1", cut off'):
            await appender.append(topic, 0, value)
        assert [each.event_id for each in (await reader.read(1, EVERYTHING)).rejections] == ["evt_1", "evt_2"]
        await appender.append(topic, 0, encode_entry(replace(REPORT, event_id="evt_3")))
        assert [each.event_id for each in (await reader.read(1, EVERYTHING)).rejections] == ["evt_1", "evt_2", "evt_3"]
    finally:
        await reader.close()
        await appender.close()
