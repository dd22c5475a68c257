"""A counted log, and what the audit says of tallies that were forged afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from audit.recount.tally_recount import RecountHistory, TallyRecount
from metering.records.record import Record
from metering.records.tally import Tally
from tests.support.aggregator_counters import counter, cut
from tests.support.aggregator_records import START_MS, Item, encode, rules


@dataclass
class CountedLog:
    """Records, cut into tallies by the aggregator's counter, one for each list of items."""

    records: list[Record] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)

    def said(self, *, of: int | None = None, **changes: Any) -> list[str]:
        """What the audit says of all tallies, in order, when the one at `of` (None: the last) says this instead."""
        forged = len(self.tallies) - 1 if of is None else of
        return audited(self.records, [replace(tally, **changes) if place == forged else tally for place, tally in enumerate(self.tallies)])


def counted_log(*lists: Sequence[Item], at_ms: int = START_MS, step_ms: int = 0) -> CountedLog:
    log, subject = CountedLog(), counter()
    for number, items in enumerate(lists):
        for item in items:
            record = Record(len(log.records), at_ms + number * step_ms, None, *encode(item))
            log.records.append(record)
            subject.count(record)
        log.tallies.append(cut(subject).tally)
    return log


def audited(records: Sequence[Record], tallies: Sequence[Tally], history: RecountHistory | None = None) -> list[str]:
    """Everything that the audit finds wrong with these tallies."""
    history = history or RecountHistory(0, rules().partition_of)
    found = []
    for tally in tallies:
        recount = TallyRecount(tally, history)
        for record in records[tally.link.start : tally.link.end]:
            recount.take(record)
        found += recount.phrases()
    return found
