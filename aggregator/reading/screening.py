"""Which events of a batch must not be counted, and why. Cheap when nothing is wrong, exact when something is."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from aggregator.reading.decoding import has_id
from metering.records.integer_columns import fits, integers, least, view
from metering.records.meters import Catalogue
from metering.records.service_limits import EVENT_AGE_MAX_MS

HOME_CUSTOMERS_MAX: Final = 100_000


def set_aside_reasons(
    batch: Batch, log_time_ms: int, catalogue: Catalogue, partition_of: Callable[[str], int], *, home: set[str], numbers_from_ms: int
) -> dict[int, Reason]:
    """The index and reason of each event that the batch alone, without the ids counted before, shows to be unacceptable.

    `home` remembers customers that are known to belong to the batch's partition, so that `partition_of` is asked once for each; it starts
    empty and stays bounded. `numbers_from_ms`: own time before which the emitter's numbers may have been forgotten.
    """
    reasons: dict[int, Reason] = {}
    latest = log_time_ms + FUTURE_TOLERANCE_MS - batch.base_time_ms
    if not fits(batch.time, latest):
        reasons.update((index, Reason.IN_FUTURE) for index, moment in enumerate(batch.time) if moment > latest)
    oldest = max(log_time_ms - EVENT_AGE_MAX_MS, numbers_from_ms) - batch.base_time_ms
    if oldest > 0 and least(batch.time) < oldest:
        # Its emitter may have been forgotten; an event with an id is judged by the horizon of ids instead.
        for index, moment in enumerate(batch.time):
            if moment < oldest and not has_id(batch, index):
                reasons.setdefault(index, Reason.PAST_HORIZON)
    if not catalogue.known_fields.issuperset(batch.usage):
        has_known, has_unknown = (_have_any(batch, names) for names in (catalogue.known_fields, batch.usage.keys() - catalogue.known_fields))
        for index in np.flatnonzero(has_unknown & ~has_known).tolist():
            reasons.setdefault(index, Reason.UNKNOWN_USAGE_FIELD)
    foreign = set() if home.issuperset(batch.customers) else _foreign(batch, home, partition_of)
    if foreign:
        for index, series in enumerate(batch.at):
            if series in foreign:
                reasons.setdefault(index, Reason.WRONG_PARTITION)
    return reasons


def unknown_usage(batch: Batch, keep: Sequence[bool] | None, catalogue: Catalogue) -> list[tuple[str, int, int]]:
    """What the events of a batch have of fields that the catalogue does not know: field, events and units. `keep`: which events (None: all)."""
    if catalogue.known_fields.issuperset(batch.usage):
        return []
    found = []
    for name in batch.usage.keys() - catalogue.known_fields:
        column = integers(batch.usage[name])
        chosen = column if keep is None else column[np.array(keep, np.bool_)]
        events = int(np.count_nonzero(chosen))
        if events:
            found.append((name, events, int(chosen.sum())))
    return found


def _have_any(batch: Batch, names: Collection[str]) -> "npt.NDArray[np.bool_]":
    """Which events of a batch have some of these usage fields."""
    found = np.zeros(batch.count, np.bool_)
    for name in names:
        if name in batch.usage:
            found |= view(batch.usage[name]) > 0
    return found


def are_at_home(customers: Iterable[str], partition: int, partition_of: Callable[[str], int], *, home: set[str]) -> bool:
    """Whether all belong to this partition; they are then remembered in `home`."""
    new = set(customers).difference(home)
    if not all(partition_of(customer) == partition for customer in new):
        return False
    _learn(new, home)
    return True


def _foreign(batch: Batch, home: set[str], partition_of: Callable[[str], int]) -> set[int]:
    """The series that belong to another partition."""
    foreign = {series for series, customer in enumerate(batch.customers) if partition_of(customer) != batch.partition}
    _learn((customer for series, customer in enumerate(batch.customers) if series not in foreign), home)
    return foreign


def _learn(customers: Iterable[str], home: set[str]) -> None:
    if len(home) > HOME_CUSTOMERS_MAX:
        home.clear()
    home.update(customers)
