"""What the meters make of each series, found once when it first appears: which of its usage fields are known, and which formulas take its events.

Series of which the meters make the same are of one kind; there are few kinds, even where there are many models.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from taximeter_emitter.wire.event import Dimensions

from aggregator.ids.fingerprints import Mask
from aggregator.reading.events import Events
from aggregator.reading.series import SeriesTable
from metering.formulas.meter_formulas import Aggregate, MeterFormula
from metering.records.integer_columns import Integers
from metering.records.meters import Catalogue, MatchingMeters

_BEGIN: Final = 1_000
_NOWHERE: Final[Integers] = np.zeros(0, np.int64)


class SeriesMeters:
    """Of the series of one table. `rows_max`: of how many meters an event may be; `formula_rows`: the same for each formula."""

    def __init__(self, catalogue: Catalogue, series: SeriesTable) -> None:
        self.rows_max = 0
        self.formula_rows = [0] * len(catalogue.formulas)
        self._catalogue = catalogue
        self._series = series
        self._names = series.names
        self._filled = 0
        self._kinds: Integers = np.zeros(_BEGIN, np.int64)
        self._of_kinds: list[MatchingMeters] = []
        self._kind_numbers: dict[tuple[frozenset[str], tuple[bool, ...]], int] = {}
        self._of_dimensions: dict[Dimensions, int] = {}
        # Of each kind: whether it takes each formula, whether it knows a field that was asked for (None: all do), whether it counts whatever.
        self._takes: Mask = np.zeros((len(catalogue.formulas), 0), np.bool_)
        self._knows: dict[str, Mask | None] = {}
        self._counts_all: Mask = np.zeros(0, np.bool_)
        self._any_counts_all = any(formula.counts_all for formula in catalogue.formulas)
        self._taking_off = [place for place, formula in enumerate(catalogue.formulas) if formula.less]

    def fill(self) -> None:
        """Look at the series that are new."""
        series = self._series
        if self._names is not series.names:  # the table was emptied
            self._names, self._filled, self.rows_max = series.names, 0, 0
            self.formula_rows = [0] * len(self.formula_rows)
            self._of_dimensions.clear()
        start, end = self._filled, len(series.names)
        if start == end:
            return
        if end > len(self._kinds):
            self._kinds = np.concatenate([self._kinds, np.zeros(2 * end - len(self._kinds), np.int64)])
        new = [dimensions for _, dimensions in series.names[start:end]]
        for dimensions in new:  # many customers have the same
            if dimensions not in self._of_dimensions:
                self._of_dimensions[dimensions] = self._kind_of(self._catalogue.of(dimensions))
        self._kinds[start:end] = list(map(self._of_dimensions.__getitem__, new))
        self._filled = end

    def sorted_out(self, events: Events) -> Events:
        """The same events, where each quantity that no meter takes of its event is among the unknown ones."""
        self.fill()
        strays = {name: self._strays(events, name, column) for name, column in events.usage.items()}
        strays = {name: places for name, places in strays.items() if len(places)}
        if not strays:
            return events
        usage, unknown = dict(events.usage), list(events.unknown)
        for name, places in strays.items():
            column = usage[name].copy()
            unknown += [(place, name, int(column[place])) for place in places.tolist()]
            column[places] = 0
            usage[name] = column
        return events._replace(usage=usage, unknown=unknown)

    def count_whatever(self, events: Events) -> Mask | None:
        """Which events a meter counts whatever their usage is; None: there is no such meter."""
        if not self._any_counts_all:
            return None
        self.fill()
        found: Mask = self._counts_all[self._kinds.take(events.series)]
        return found

    def below_zero(self, events: Events) -> Mask | None:
        """Which events come out below zero for a meter; None: no meter takes anything off."""
        formulas = [place for place in self._taking_off if not self._catalogue.formulas[place].less.isdisjoint(events.usage)]
        if not formulas:
            return None
        self.fill()
        found: Mask = np.zeros(len(events.times), np.bool_)
        for place in formulas:
            quantities = self.quantities(place, events)
            if quantities is not None:
                found |= quantities < 0
        return found

    def quantities(self, place: int, events: Events) -> Integers | None:
        """What a formula makes of each event that one of its meters takes, and zero of others; None: nothing of any. `fill` first."""
        found = _quantities(self._catalogue.formulas[place], events)
        takes = self._takes[place]
        if found is None or takes.all():
            return found
        return np.where(takes[self._kinds.take(events.series)], found, 0) if takes.any() else None

    def readings(self, place: int, events: Events) -> tuple[Integers, Integers]:
        """The places of the events that a meter of a formula takes, and what the formula makes of every event. `fill` first."""
        takes = self._takes[place]
        taken: Integers = np.arange(len(events.times)) if takes.all() else np.flatnonzero(takes[self._kinds.take(events.series)])
        found = _quantities(self._catalogue.formulas[place], events)
        return taken, np.zeros(len(events.times), np.int64) if found is None else found

    def _strays(self, events: Events, name: str, column: Integers) -> Integers:
        """The places of events whose quantity of this field no meter takes."""
        if name not in self._knows:
            known: Mask = np.array([name in matching.known_fields for matching in self._of_kinds], np.bool_)
            self._knows[name] = None if known.all() else known
        knows = self._knows[name]
        if knows is None:
            return _NOWHERE
        found: Integers = np.flatnonzero(~knows[self._kinds.take(events.series)] & (column != 0))
        return found

    def _kind_of(self, matching: MatchingMeters) -> int:
        rows = [len(found) for found in matching.rows]
        self.rows_max = max(self.rows_max, sum(rows))
        self.formula_rows = list(map(max, self.formula_rows, rows))
        key = matching.known_fields, tuple(map(bool, rows))
        number = self._kind_numbers.get(key)
        if number is None:
            number = self._kind_numbers[key] = len(self._of_kinds)
            self._of_kinds.append(matching)
            self._takes = np.array([[bool(rows) for rows in each.rows] for each in self._of_kinds], np.bool_).T
            self._counts_all = np.array([each.counts_all for each in self._of_kinds], np.bool_)
            self._knows.clear()
        return number


def _quantities(formula: MeterFormula, events: Events) -> Integers | None:
    """None: the formula makes nothing of these events."""
    if formula.counts_all:
        return np.ones(len(events.times), np.int64)
    added = [events.usage[name] for name in formula.fields if name in events.usage]
    if formula.aggregate is Aggregate.COUNT:
        return np.any(np.array(added) > 0, axis=0).astype(np.int64) if added else None
    taken = [events.usage[name] for name in formula.less if name in events.usage]
    if not added and not taken:
        return None
    total = _total(added, len(events.times))
    return total - _total(taken, len(events.times)) if taken else total


def _total(columns: Sequence[Integers], size: int) -> Integers:
    return sum(columns[1:], start=columns[0]) if columns else np.zeros(size, np.int64)
