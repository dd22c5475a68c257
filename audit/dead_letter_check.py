"""What verify takes from usage.deadletters: which events were taken back, and what is there that cannot be what it says."""

from contextlib import aclosing

from audit.recount.tally_recount import RecountHistory
from audit.verification.report import AcceptedRedrive, Report
from metering.kafka.around_damage import records_around_damage
from metering.kafka.partition_log import LogReader
from metering.plans.import_records import import_in
from metering.records.dead_letter import decode_dead_letter
from metering.records.fail_closed import RecordCorrupt, RecordUnreadable
from metering.records.record import LogRecord
from metering.records.redrive import Redrive, RedriveEnd, redrive_in


class DeadLetterCheck:
    """One partition. `redrives` are the accepted ones, by offset; `history` learns what they took back. A record costs nothing but itself."""

    def __init__(self, topic: str, partition: int, report: Report, history: RecountHistory) -> None:
        self.redrives: dict[int, AcceptedRedrive] = {}
        self._topic = topic
        self._partition = partition
        self._report = report
        self._history = history

    async def read(self, reader: LogReader) -> None:
        """All records. Raises LogUnavailable or HistoryLost; a damaged batch is a problem, and read around."""
        bounds = await reader.bounds(self._topic, self._partition)
        async with aclosing(records_around_damage(reader, self._topic, self._partition, *bounds, on_damage=self._note_damage)) as batches:
            async for records in batches:
                for record in records:
                    self._take(record)

    def _take(self, record: LogRecord) -> None:
        try:
            found = redrive_in(record) or import_in(record)
        except RecordCorrupt as error:
            # What it may have taken back counts as set aside still, or twice: the sums say it.
            self._report.problems.add(f"partition {self._partition}: {error}. If a newer version wrote it, verify with that version")
            return
        if isinstance(found, RedriveEnd):
            if found.redrive in self.redrives:
                self.redrives[found.redrive].ended = True
        elif isinstance(found, Redrive):
            self._take_redrive(found, record.offset)
        elif found is None and not _is_letter(record):
            self._report.foreign_records["deadletters"] += 1

    def _take_redrive(self, redrive: Redrive, offset: int) -> None:
        if (redrive.partition, redrive.offset) != (self._partition, offset):
            return
        events = sum(len(indexes) for _, indexes in redrive.places)
        self.redrives[offset] = AcceptedRedrive(self._partition, offset, redrive.emitter, events)
        for places, said in ((redrive.places, self._history.redriven), (redrive.known, self._history.said_known)):
            for place, indexes in places:
                said.setdefault(place, set()).update(indexes)

    def _note_damage(self, start: int, end: int, error: RecordUnreadable) -> None:
        self._report.problems.add(f"partition {self._partition}: dead letters {start} to {end - 1} are damaged, and may hold redrives: {error}")


def _is_letter(record: LogRecord) -> bool:
    try:
        decode_dead_letter(record)
    except RecordCorrupt:
        return False
    return True
