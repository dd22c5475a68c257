"""The sums of batches for the next tally: arrays by the number of the series, one pair for each meter and window.

The columns of batches wait until they are many, and are then added up together: what numpy costs for each call is paid once for all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import Dimensions

from aggregator.sums.series import Contents, SeriesTable
from aggregator.sums.window_sums import SUM_MAX, WINDOWS_MAX, WindowSums
from metering.records.integer_columns import Integers, view
from metering.records.meters import Catalogue
from metering.records.service_limits import TALLY_ROW_BYTES, WINDOW_MS

SumsTaker: TypeAlias = Callable[[tuple[int, int], Iterable[tuple[str, Dimensions]], Iterable[int], Iterable[int]], None]
"""Takes the sums of one window (its start) and meter (its position in the catalogue): series, quantities, and of how many events."""

OPEN_SERIES_MAX: Final = 20_000  # as for WINDOWS_MAX: the sums of more are moved
ROWS_WAITING_MAX: Final = 2_048  # that waiting events may come to; they count as that many until they are added up

_Column: TypeAlias = npt.NDArray[np.integer]


@dataclass(slots=True)
class _WaitingColumns:
    """Columns of batches with the same usage fields. `numbers` holds those of each batch's series, one batch's after the other's."""

    numbers: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)  # where a batch's series begin in `numbers`
    bases: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    at: list[_Column] = field(default_factory=list)
    time: list[_Column] = field(default_factory=list)
    usage: list[list[_Column]] = field(default_factory=list)  # a list for each batch

    def add(self, numbers: Sequence[int], base_ms: int, at: _Column, time: _Column, usage: list[_Column]) -> None:
        """Append the columns of a batch."""
        self.firsts.append(len(self.numbers))
        self.numbers += numbers
        self.bases.append(base_ms)
        self.counts.append(len(at))
        self.at.append(at)
        self.time.append(time)
        self.usage.append(usage)

    def series(self) -> Integers:
        """The number of the series of each event."""
        places = np.concatenate(self.at, dtype=np.int64)
        places += np.repeat(np.array(self.firsts), self.counts)
        return np.array(self.numbers)[places]

    def windows(self) -> Integers:
        """The number of the window of each event, since the epoch."""
        times = np.concatenate(self.time, dtype=np.int64)
        times += np.repeat(np.array(self.bases), self.counts)
        return times // WINDOW_MS

    def columns(self) -> Iterator[Integers]:
        """The quantities of each event, for one usage field after the other."""
        for column in zip(*self.usage, strict=True):
            yield np.concatenate(column, dtype=np.int64)


class BatchSums:
    """Open sums. `move_to` takes those that cannot be held open here, and all of them in `move`."""

    def __init__(self, catalogue: Catalogue, move_to: SumsTaker) -> None:
        self._catalogue = catalogue
        self._move_to = move_to
        self._series = SeriesTable()
        self._waiting: dict[tuple[str, ...], _WaitingColumns] = {}  # by usage fields
        self._events_waiting = 0
        self._sums: dict[tuple[int, int], WindowSums] = {}  # by start of the window and position of the meter
        self._rows = 0

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        return (self._rows + self._events_waiting * len(self._catalogue.meters)) * (TALLY_ROW_BYTES + self._series.longest)

    def add(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        """Add the events of a batch; `keep` says which (None: all)."""
        self._bound_series(batch)
        at, time, usage = view(batch.at), view(batch.time), [view(column) for column in batch.usage.values()]
        if keep is not None:
            chosen = np.array(keep, np.bool_)
            at, time, usage = at[chosen], time[chosen], [column[chosen] for column in usage]
            if not len(at):
                return
        fields = tuple(batch.usage)
        waiting = self._waiting.get(fields)
        if waiting is None:
            waiting = self._waiting[fields] = _WaitingColumns()
        waiting.add(self._series.numbers(batch), batch.base_time_ms, at, time, usage)
        self._events_waiting += len(at)
        if self._events_waiting * len(self._catalogue.meters) >= ROWS_WAITING_MAX:
            self._add_waiting()

    def contents(self, batch: Batch) -> Contents:
        """`content_of` each event of a batch; here because the series are numbered here."""
        self._bound_series(batch)
        return self._series.contents(batch)

    def move(self) -> None:
        """Move all sums."""
        self._add_waiting()
        for place, sums in self._sums.items():
            present = np.flatnonzero(sums.events)
            series = map(self._series.names.__getitem__, present.tolist())
            self._move_to(place, series, sums.totals[present].tolist(), sums.events[present].tolist())
        self._sums, self._rows = {}, 0

    def clear(self) -> None:
        """Forget the open sums."""
        self._waiting, self._events_waiting = {}, 0
        self._sums, self._rows = {}, 0

    def _bound_series(self, batch: Batch) -> None:
        """Restart the numbering of the series when there are too many."""
        if len(self._series) + len(batch.customers) > OPEN_SERIES_MAX:
            self.move()
            self._series.clear()

    def _add_waiting(self) -> None:
        found, self._waiting, self._events_waiting = self._waiting, {}, 0
        for fields, waiting in found.items():
            series, windows = waiting.series(), waiting.windows()
            usage = dict(zip(fields, waiting.columns(), strict=True))
            first, last = int(windows.min()), int(windows.max())
            places = (windows - first) * len(self._series) + series
            for position, meter in enumerate(self._catalogue.meters):
                columns = [usage[name] for name in meter.fields if name in usage]
                if not columns:
                    continue
                quantities = sum(columns[1:], start=columns[0])
                if last - first < WINDOWS_MAX:
                    self._add_dense(position, range(first, last + 1), places, quantities)
                else:
                    self._move_sparse(position, first, places, quantities)
        self._rows = sum(sums.rows for sums in self._sums.values())

    def _add_dense(self, position: int, windows: range, places: Integers, quantities: Integers) -> None:
        """Add events to the arrays of these windows, which follow each other. `places`: numbers of series, those of the next window above them."""
        size = len(self._series)
        totals = np.zeros(len(windows) * size, np.int64)
        np.add.at(totals, places, quantities)
        events = np.bincount(places if quantities.all() else places[quantities > 0], minlength=len(totals))
        for number, window in enumerate(windows):
            within = slice(number * size, (number + 1) * size)
            quantity = int(totals[within].sum())
            if quantity:
                self._open((window * WINDOW_MS, position), quantity).add(totals[within], events[within], quantity)

    def _open(self, place: tuple[int, int], quantity: int) -> WindowSums:
        """The sums that this much can be added to."""
        sums = self._sums.get(place)
        if sums is None or sums.quantity + quantity > SUM_MAX:
            if sums is not None or len(self._sums) >= WINDOWS_MAX * len(self._catalogue.meters):
                self.move()
            sums = self._sums[place] = WindowSums()
        return sums

    def _move_sparse(self, position: int, first: int, places: Integers, quantities: Integers) -> None:
        """Move events of many windows, each series' in a window together."""
        some = quantities > 0
        distinct, which = np.unique(places[some], return_inverse=True)
        totals = np.zeros(len(distinct), np.int64)
        np.add.at(totals, which, quantities[some])
        events = np.bincount(which, minlength=len(distinct))
        windows, numbers = np.divmod(distinct, len(self._series))
        starts = np.flatnonzero(np.diff(windows, prepend=-1))  # `distinct` is sorted, window after window
        for start, end in pairwise((*starts.tolist(), len(distinct))):
            series = map(self._series.names.__getitem__, numbers[start:end].tolist())
            self._move_to(((first + int(windows[start])) * WINDOW_MS, position), series, totals[start:end].tolist(), events[start:end].tolist())
