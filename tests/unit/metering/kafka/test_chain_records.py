"""All readers of usage.tallies and usage.ledger take in the same records."""

import re

from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record, last_chain_record
from metering.records.record import LogRecord
from metering.records.tally import decode_tally, encode_tally
from tests.support.metering_memory_log import MemoryLog, finished
from tests.support.reporter_planning import tally
from tests.support.repository import ROOT

TALLIES = PartitionPlace("usage.tallies", 0)
DECODES = re.compile(r"\bdecode_(?:tally|entry)\(")
ALLOWED = {
    *("metering/records/tally.py", "metering/records/ledger_records.py", "metering/kafka/ledger_log.py"),
    # They fold nothing, and look at the few entries that begin as rejections do: to decode the others would cost more than they are worth.
    *("reporter/webhooks/report_follower.py", "metering/reconciliation/counted_reports.py"),
}


async def taken(log: MemoryLog, other: list[int]) -> list[int]:
    def note(record: LogRecord) -> None:
        other.append(record.offset)

    return [offset async for offset, _, _ in chain_records(log, TALLIES, 0, 6, decode_tally, on_other=note)]


def test_ours_are_found_among_foreign_ones_and_markers() -> None:
    log = MemoryLog()
    for number, value in enumerate((None, encode_tally(tally(1, -1, 1)), b"{", encode_tally(tally(1, 0, 1)))):
        log.append(TALLIES.topic, value, at_ms=number)
    log.append(TALLIES.topic, b"astray", at_ms=9)
    log.skip(TALLIES.topic)
    other: list[int] = []
    assert finished(taken(log, other)) == [1, 3]
    assert other == [0, 2, 4]
    for found, offset in (
        (first_chain_record(log, TALLIES, 0, 6, decode_tally), 1),
        (first_chain_record(log, TALLIES, 2, 6, decode_tally), 3),
        (last_chain_record(log, TALLIES, 0, 6, decode_tally), 3),
        (last_chain_record(log, TALLIES, 0, 3, decode_tally), 1),
    ):
        place = finished(found)
        assert place is not None
        assert place[0] == offset
    assert finished(last_chain_record(log, TALLIES, 0, 1, decode_tally)) is None
    assert finished(first_chain_record(log, TALLIES, 4, 6, decode_tally)) is None


def test_no_reader_decodes_them_by_itself() -> None:
    packages = ("aggregator", "reporter", "audit", "metering", "taximeter", "billing", "ingest")
    modules = [module for package in packages for module in (ROOT / package).rglob("*.py")]
    found = {str(module.relative_to(ROOT)) for module in modules if DECODES.search(module.read_text())}
    assert found <= ALLOWED, "use metering.kafka.chain_records"
