"""The ids that came last: those being counted, which may be taken out again, and before them those that are counted, by the hour of log time."""

from collections import deque
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.ids.fingerprints import Asked, AskedOne, Fingerprints, Words, asked
from aggregator.ids.id_table import ABSENT, IdTable, Indexes, MemoryStorage

IDS_AT_FIRST: Final = 1 << 15  # for how many there is room from the beginning, where it is not known better


class RecentIds:
    """A table in memory, whose last entries are *pending*. Taking ids out rebuilds it, which is rare."""

    def __init__(self, *, expected: int = IDS_AT_FIRST) -> None:
        self._table = IdTable(MemoryStorage(), expected=expected)
        self._counted = 0  # entries from here on are pending
        self._hours: deque[tuple[int, int]] = deque()  # the start of each hour of log time, and the number after its last entry

    def __len__(self) -> int:
        return len(self._table)

    @property
    def pending(self) -> int:
        """How many may be taken out again."""
        return len(self._table) - self._counted

    def look_up(self, wanted: AskedOne) -> int | None:
        """The content number of an id, or None."""
        number = self._table.find_one(wanted)
        return None if number == ABSENT else self._table.content(number)

    def known(self, wanted: Asked) -> Indexes:
        """The positions of those that are here."""
        return self._table.find(wanted).positions

    def add(self, new: Asked, contents: Words) -> None:
        """Note ids that are not here, and do not repeat, as pending."""
        self._table.insert(new, contents)

    def add_one(self, new: AskedOne, content: int) -> None:
        """The same with one."""
        self._table.insert_one(new, content)

    def commit(self, log_time_ms: int) -> None:
        """What is pending is counted, at this log time."""
        if not self.pending:
            return
        hour = log_time_ms - log_time_ms % HOUR_MS
        if self._hours and self._hours[-1][0] >= hour:
            hour, _ = self._hours.pop()
        self._counted = len(self._table)
        self._hours.append((hour, self._counted))

    def rollback(self) -> None:
        """Take out what is pending."""
        if self.pending:
            self._keep(0, self._counted)

    def forget_before(self, log_time_ms: int) -> None:
        """Take out the hours that end before. There must be none pending."""
        gone = 0
        while self._hours and self._hours[0][0] + HOUR_MS < log_time_ms:
            _, gone = self._hours.popleft()
        if gone:
            self._keep(gone, self._counted)
            self._hours = deque((hour, end - gone) for hour, end in self._hours)

    def everything(self) -> tuple[Fingerprints, Words]:
        """All ids and their content numbers, in the order of arrival."""
        return self._table.fingerprints(0, len(self)), self._table.contents(slice(0, len(self)))

    def _keep(self, start: int, end: int) -> None:
        """Only the entries [start, end), which must not be pending."""
        kept = IdTable(MemoryStorage(), expected=max(end - start, IDS_AT_FIRST))
        kept.insert(asked(self._table.fingerprints(start, end)), self._table.contents(slice(start, end)))
        self._table, self._counted = kept, end - start
