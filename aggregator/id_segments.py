"""Ids that were counted a while ago, packed: a few bytes of memory each, exact, and the ids themselves in memory or in a file.

A segment is a hash table without deletion. For each id it keeps 24 bytes in `entries` (the fingerprint and the content number), in the order of
arrival, and five bytes a slot in memory: a *tag* of eight bits of the fingerprint, which answers nearly every question about a new id, and
the number of the entry, which is looked at when a tag matches. Segments follow each other in log time and are forgotten whole.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

ENTRY: Final = np.dtype([("first", "<u8"), ("second", "<u8"), ("content", "<u8")])
"""One id on disk and in memory: both halves of its fingerprint and the content number."""

Words: TypeAlias = npt.NDArray[np.uint64]
Entries: TypeAlias = npt.NDArray[np.void]

SLOTS_MIN: Final = 1 << 12
LOAD_MAX: Final = 0.6  # above it, the walk from slot to slot becomes long
ABSENT: Final = -1
ARRAYS_FROM: Final = 64  # so many questions at once are cheaper by arrays than one by one: measured, with 1 segment and with 11
# A table that grows is made anew at once, which takes about 60 ns an id; what fits into a pause of a second bounds it.
IDS_PER_SEGMENT_MAX: Final = 1 << 24


class Storage(Protocol):
    """Where a segment keeps its entries."""

    def grown(self, entries: int) -> Entries:
        """Room for at least so many entries, those written before included. May block for the disk; raises OSError when it is full."""
        ...

    def dispose(self) -> None:
        """The segment is forgotten."""
        ...


class MemoryStorage:
    """Entries in memory."""

    def __init__(self) -> None:
        self._entries = np.zeros(0, ENTRY)

    def grown(self, entries: int) -> Entries:
        """Twice the room when it is needed."""
        if entries > len(self._entries):
            larger = np.zeros(max(entries, 2 * len(self._entries)), ENTRY)
            larger[: len(self._entries)] = self._entries
            self._entries = larger
        return self._entries

    def dispose(self) -> None:
        """Nothing to do: the memory goes with the object."""


def words_of(fingerprints: Sequence[bytes]) -> tuple[Words, Words]:
    """The halves of 16-byte fingerprints, as two columns."""
    pairs = np.frombuffer(b"".join(fingerprints), "<u8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


class IdSegment:
    """Ids of one stretch of log time, [`since_ms`, `until_ms`]. None is ever taken out. `expected` ids fit without growing."""

    def __init__(self, storage: Storage, *, since_ms: int, expected: int = 0) -> None:
        self.since_ms = since_ms
        self.until_ms = since_ms
        self.storage = storage
        self._entries = storage.grown(expected)
        self._count = 0
        self._make_slots(_slots_for(expected))

    def __len__(self) -> int:
        return self._count

    @property
    def resident_bytes(self) -> int:
        """Memory that it takes whatever the storage is."""
        return self._tags.nbytes + self._numbers.nbytes

    def dispose(self) -> None:
        """It is forgotten: release what the entries take."""
        self.storage.dispose()

    def insert(self, first: Words, second: Words, contents: Words) -> None:
        """Add ids that are not here and do not repeat. Raises OSError when the storage is full; nothing is added then."""
        added = len(first)
        total = self._count + added
        self._entries = self.storage.grown(total)
        if total > LOAD_MAX * len(self._tags):
            self._make_slots(_slots_for(total))
            self._place(self._entries["first"][: self._count], 0)
        new = self._entries[self._count : total]
        new["first"], new["second"], new["content"] = first, second, contents
        self._place(first, self._count)
        self._count = total

    def adopt(self, count: int, until_ms: int) -> None:
        """The storage holds so many entries of an earlier process: index them."""
        self._entries = self.storage.grown(count)
        self._make_slots(_slots_for(count))
        self._place(self._entries["first"][:count], 0)
        self._count, self.until_ms = count, until_ms

    def find(self, first: Words, second: Words) -> npt.NDArray[np.int64]:
        """For each id the number of its entry, or ABSENT."""
        found = np.full(len(first), ABSENT, np.int64)
        asked = np.arange(len(first))
        slot = (first & self._mask).astype(np.int64)
        tag = _tags_of(first)
        while len(asked):
            here = self._tags[slot]
            hit = here == tag
            if hit.any():
                self._confirm(asked[hit], slot[hit], first, second, found)
            # On to the next slot for whoever stands on another's, or on a tag that deceived.
            on = (here != 0) & (found[asked] == ABSENT)
            asked, tag = asked[on], tag[on]
            slot = (slot[on] + 1) & self._mask_signed
        return found

    def find_one(self, first: int, second: int) -> int:
        """The number of one id's entry, or ABSENT: the same walk, without arrays."""
        tags, mask = self._tag_view, int(self._mask)
        slot, tag = first & mask, (first >> 56) % 255 + 1
        while here := tags[slot]:
            if here == tag:
                number = int(self._numbers[slot])
                entry = self._entries[number]
                if int(entry["first"]) == first and int(entry["second"]) == second:
                    return number
            slot = (slot + 1) & mask
        return ABSENT

    def content(self, number: int) -> int:
        """The content number of an entry."""
        return int(self._entries[number]["content"])

    def _confirm(self, asked: npt.NDArray[np.int64], slot: npt.NDArray[np.int64], first: Words, second: Words, found: npt.NDArray[np.int64]) -> None:
        numbers = self._numbers[slot]
        entries = self._entries[numbers]
        same = (entries["first"] == first[asked]) & (entries["second"] == second[asked])
        found[asked[same]] = numbers[same]

    def _make_slots(self, slots: int) -> None:
        self._tags = np.zeros(slots, np.uint8)
        self._tag_view = self._tags.data
        self._numbers = np.zeros(slots, np.uint32)
        self._mask = np.uint64(slots - 1)
        self._mask_signed = np.int64(slots - 1)

    def _place(self, first: Words, number: int) -> None:
        """Enter ids into the slots; the first of them is entry `number`."""
        numbers = np.arange(number, number + len(first), dtype=np.uint32)
        slot = (first & self._mask).astype(np.int64)
        tag = _tags_of(first)
        while len(numbers):
            free = self._tags[slot] == 0
            at = slot[free]
            # Where two want the same slot the later one stays, and the other finds that out by looking.
            self._numbers[at] = numbers[free]
            won = self._numbers[at] == numbers[free]
            self._tags[at[won]] = tag[free][won]
            left = ~free
            left[np.flatnonzero(free)[~won]] = True
            numbers, tag = numbers[left], tag[left]
            slot = (slot[left] + 1) & self._mask_signed


class IdArchive:
    """Segments in order of log time. `storage` makes the next one's; each spans at most `span_ms`, so that memory is given back in time."""

    def __init__(self, storage: Callable[[], Storage], *, span_ms: int, ids_per_segment_max: int = IDS_PER_SEGMENT_MAX) -> None:
        self._storage = storage
        self._span_ms = span_ms
        self._ids_max = ids_per_segment_max
        self._segments: deque[IdSegment] = deque()

    @property
    def segments(self) -> Sequence[IdSegment]:
        """The segments, oldest first."""
        return self._segments

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    @property
    def resident_bytes(self) -> int:
        """Memory that it takes whatever the storage is."""
        return sum(segment.resident_bytes for segment in self._segments)

    def add(self, fingerprints: Sequence[bytes], contents: Sequence[int], log_time_ms: int) -> None:
        """Take in ids that are not here; `log_time_ms` is not before that of earlier calls. Raises OSError when the storage is full."""
        newest = self._segments[-1] if self._segments else None
        if newest is None or log_time_ms - newest.since_ms > self._span_ms or len(newest) + len(fingerprints) > self._ids_max:
            # As many as the last one held: a table that grows must be made anew.
            newest = IdSegment(self._storage(), since_ms=log_time_ms, expected=len(newest) if newest is not None else 0)
            self._segments.append(newest)
        newest.insert(*words_of(fingerprints), np.array(contents, np.uint64))
        newest.until_ms = max(newest.until_ms, log_time_ms)

    def restore(self, segment: IdSegment) -> None:
        """Append a segment of an earlier process."""
        self._segments.append(segment)

    def forget_before(self, log_time_ms: int) -> None:
        """Drop the segments whose every id is older."""
        while self._segments and self._segments[0].until_ms < log_time_ms:
            self._segments.popleft().dispose()

    def look_up(self, fingerprint: bytes) -> int | None:
        """The content number of an id, or None."""
        first, second = int.from_bytes(fingerprint[:8], "little"), int.from_bytes(fingerprint[8:], "little")
        for segment in self._segments:
            number = segment.find_one(first, second)
            if number != ABSENT:
                return segment.content(number)
        return None

    def known(self, fingerprints: Sequence[bytes]) -> list[bool]:
        """For each id whether it is here."""
        if not self._segments:
            return [False] * len(fingerprints)
        if len(fingerprints) < ARRAYS_FROM:
            return [self.look_up(fingerprint) is not None for fingerprint in fingerprints]
        first, second = words_of(fingerprints)
        known = np.zeros(len(fingerprints), np.bool_)
        for segment in self._segments:
            known |= segment.find(first, second) != ABSENT
        answer: list[bool] = known.tolist()
        return answer


def _slots_for(ids: int) -> int:
    slots = SLOTS_MIN
    while ids > LOAD_MAX * slots:
        slots *= 2
    return slots


def _tags_of(first: Words) -> npt.NDArray[np.uint8]:
    """1 to 255; 0 is an empty slot. From bits that the slot's place does not depend on."""
    return ((first >> np.uint64(56)) % np.uint64(255) + np.uint64(1)).astype(np.uint8)
