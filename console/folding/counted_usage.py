"""The tallies of one partition, folded into rows of usage. Which tallies count is decided by the fold that all services share."""

from dataclasses import dataclass

from console.folding.usage_changes import FoldChanges, PlanPart, UsageAmounts, UsagePlace, day_of, hour_of
from metering.folds.tallies import Tallies
from metering.records.tally import Tally


@dataclass(slots=True)
class CountedUsage:
    """`tallies` stands where the next record is. Raises ChainBroken as it does."""

    tallies: Tallies

    def pass_by(self, offset: int, tally: Tally) -> None:
        """Take in a tally whose rows are in the store already, or older than it keeps."""
        self.tallies.fold(offset, tally)

    def fold(self, offset: int, tally: Tally, changes: FoldChanges) -> None:
        """Take in the next tally, and gather what it changes."""
        if not self.tallies.fold(offset, tally):
            return
        adjusts = tally.adjustment is not None
        for row in tally.rows:
            amounts = UsageAmounts(counted=row.quantity, adjusted=row.quantity if adjusts else 0, events=row.events)
            changes.add(UsagePlace(row.customer, row.meter, row.dimensions, hour_of(row.window_start_ms)), amounts)
        day, events = day_of(tally.log_time_ms), tally.events
        for outcome, count in (("counted", events.counted), ("duplicates", events.duplicates), ("forwarded", events.forwarded)):
            changes.outcomes[day, outcome] += count
        for reason, count in events.dead_lettered.items():
            changes.outcomes[day, f"set aside: {reason}"] += count
        if tally.adjustment is not None:
            about, units = tally.adjustment, sum(row.quantity for row in tally.rows)
            changes.plans.append(PlanPart(about.plan, about.part, about.parts, about.kind, about.by, about.reason, about.at_ms, units))
