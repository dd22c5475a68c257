"""Stores of the console with a little usage in them."""

from pathlib import Path

from taximeter_emitter.wire.event import Dimensions

from console.folding.usage_changes import FoldChanges, UsageAmounts, UsagePlace
from console.store.fold_places import TALLIES, FoldPlace
from console.store.usage_store import UsageStore

DAY = 20_000
"""2024-10-04, in UTC days since 1970."""


def a_store(path: Path, *rows: tuple[str, str, Dimensions, int, int], kept_from_day: int = DAY - 40) -> UsageStore:
    """Rows are customer, meter, dimensions, hour since the start of DAY, and units; all of it is reported but one unit of each row."""
    store = UsageStore(path, identity="test", kept_from_day=kept_from_day)
    changes = FoldChanges()
    for customer, meter, dimensions, hour, units in rows:
        amounts = UsageAmounts(counted=units, events=1, planned=units, open=1, told=units - 1)
        changes.add(UsagePlace(customer, meter, dimensions, 24 * DAY + hour), amounts)
    store.write(FoldPlace(TALLIES, 0, 1), None, changes)
    return store
