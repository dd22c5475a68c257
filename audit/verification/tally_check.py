"""Does a tally say what the records of its range say? Pure: both sides are handed in."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from audit.decoder.record_contents import BatchContents, HeartbeatContents, SingleContents, UnreadableContents
from audit.decoder.record_reading import contents_of
from metering.records.record import LogRecord
from metering.records.tally import Tally

KINDS: Final = ("heartbeats", "batches", "singles", "skipped", "lost")


@dataclass(slots=True)
class RangeCount:
    """What the log itself holds in the range of a tally."""

    records: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def take(self, record: LogRecord) -> None:
        """Count one record and the events in it; what cannot be read counts as a single one that stands for what it claims."""
        match contents_of(record):
            case UnreadableContents(_, claims):
                self.records["singles"] += 1
                self.events += claims
            case SingleContents():
                self.records["singles"] += 1
                self.events += 1
            case BatchContents() as batch:
                self.records["batches"] += 1
                self.events += len(batch.events.at)
            case HeartbeatContents():
                self.records["heartbeats"] += 1


def tally_problems(where: str, tally: Tally, found: RangeCount) -> list[str]:
    """Where the tally and the log disagree; none when all equations hold. Counts the offsets without a record into `found`."""
    if tally.acceptance is not None:
        held = found.records.total()
        return [f"{where} accepts {tally.records.lost} records as lost, and the log holds {held} of them"] if held else []
    problems = []
    found.records["skipped"] = tally.link.end - tally.link.start - found.records.total()
    for kind in KINDS:
        said = getattr(tally.records, kind)
        if said != found.records[kind]:
            problems.append(f"{where} counts {said} {kind}, the log holds {found.records[kind]}")
    if tally.events.total != found.events:
        problems.append(f"{where} accounts for {tally.events.total} events, the log holds {found.events}")
    if sum(last - first + 1 for _, first, last in tally.ranges) > found.events:
        problems.append(f"{where} claims more numbers than the log holds events")
    return problems
