"""The audit over the logs of a world: what `verify` says of tallies, without Kafka. The checker is apart from it and knows the journal."""

from collections.abc import Callable, Iterator

from audit.decoder.record_contents import SingleContents
from audit.decoder.record_reading import contents_of
from audit.reading_check import ReadingCheck
from audit.recount.tally_recount import RecountHistory, TallyRecount, identity_in
from audit.verification.report import Report
from metering.folds.ledger import Ledger
from metering.folds.tallies import Tallies
from metering.records.ledger_records import Intent, decode_entry
from metering.records.record import Record
from metering.records.tally import decode_tally
from tests.simulation.checker import Evidence, Log, Violation
from tests.simulation.raw_records import RawRecord


def audit_violations(evidence: Evidence, partition_of: Callable[[str], int]) -> list[Violation]:
    """Every sentence that `verify` would say of the tallies of this world."""
    return [Violation("unaccounted", f"the audit: {text}") for text in _sentences(evidence, partition_of)]


def _sentences(evidence: Evidence, partition_of: Callable[[str], int]) -> Iterator[str]:
    forwarded: list[tuple[int, bytes]] = []
    for partition in range(evidence.partitions):
        history = RecountHistory(partition, partition_of)
        for record in evidence.catalogue:
            assert record is not None
            history.versions.take(record.offset, record.timestamp, record.value)
        yield from _partition(history, evidence.events[partition], evidence.tallies[partition])
        if evidence.tells_latest:
            yield from _readings(partition, evidence.tallies[partition], evidence.ledger[partition])
        forwarded += [(event.home, event.identity) for event in history.forwarded]
    homes = {home: set(_identities(evidence.events[home])) for home in {home for home, _ in forwarded}}
    for home, identity in forwarded:
        if identity not in homes[home]:
            yield f"{identity!r} was forwarded to partition {home} and is not there"


def _partition(history: RecountHistory, events: Log, log: Log) -> Iterator[str]:
    tallies = Tallies()
    for record in log:
        tally = None if record is None else decode_tally(record.value)
        if record is None or tally is None or not tallies.fold(record.offset, tally):
            continue
        recount = TallyRecount(tally, history)
        for event in events[tally.link.start : tally.link.end]:
            # What was accepted as lost was deleted; the logs of a world still have it.
            if event is not None and tally.acceptance is None:
                recount.take(_record(event))
        if not recount.is_derived:
            yield f"tally {record.offset} of partition {history.partition} cannot be counted again"
        for phrase in recount.phrases():
            yield f"tally {record.offset} of partition {history.partition} {phrase}"


def _readings(partition: int, tallies_log: Log, ledger_log: Log) -> Iterator[str]:
    tallies, ledger, check = Tallies(), Ledger(), ReadingCheck(Report())
    covered = 0
    for record in ledger_log:
        assert record is not None
        entry = decode_entry(record.value)
        if isinstance(entry, Intent) and ledger.continues(entry):
            for found in tallies_log[covered : entry.link.end]:
                tally = None if found is None else decode_tally(found.value)
                if found is not None and tally is not None and tallies.fold(found.offset, tally):
                    check.add(tally)
            covered = max(covered, entry.link.end)
            for phrase in check.compare(entry, ledger.waiting, ledger.told):
                yield f"intent {record.offset} of partition {partition} {phrase}"
        ledger.fold(record.offset, record.timestamp, entry)


def _identities(log: Log) -> Iterator[bytes]:
    for event in log:
        contents = None if event is None else contents_of(_record(event))
        if isinstance(contents, SingleContents):
            yield identity_in(contents.events, 0)


def _record(event: RawRecord) -> Record:
    return Record(event.offset, event.timestamp, None, event.value, event.headers)
