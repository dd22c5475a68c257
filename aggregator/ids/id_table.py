"""Ids with their content numbers, packed and exact: 24 bytes of an entry in memory or in a file, and 8 to 21 bytes of memory to find it.

Entries are in the order of arrival. The ids of a *bucket* are a chain, the latest first, each linked to the one before it. What a bucket
holds is one word, so that one look answers nearly every question about a new id: the number of its latest entry, that entry's *tag* (some bits
of the hash), and a filter with a bit for each id in the chain. Links hold a number and a tag, too; the entry is looked at when the tag matches.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from aggregator.ids.fingerprints import NUMBER_BITS, Asked, AskedOne, Fingerprints, Words, asked

ENTRY: Final = np.dtype([("first", "<u8"), ("second", "<u8"), ("content", "<u8")])
"""One id on disk and in memory: both halves of its fingerprint and the content number."""

Entries: TypeAlias = npt.NDArray[np.void]
Indexes: TypeAlias = npt.NDArray[np.int64]
Links: TypeAlias = npt.NDArray[np.uint32]

BUCKETS_MIN: Final = 1 << 12
ENTRIES_MAX: Final = (1 << NUMBER_BITS) - 1
ABSENT: Final = -1
FEW: Final = 32  # walked one by one, which is cheaper than by arrays
PLACED_AT_ONCE: Final = 1 << 16  # bounds what is worked out on the way
_STORED: Final = np.uint32(ENTRIES_MAX)  # the bits of a word or link that are 1 + the number of an entry; 0 ends a chain
_LINK_MASK: Final = (1 << 32) - 1
_FILTER: Final = np.uint64(_LINK_MASK << 32)


class Storage(Protocol):
    """Where a table keeps its entries."""

    def grown(self, entries: int) -> Entries:
        """Make room for at least this many entries, including those written before. May block for the disk; raises OSError when it is full."""
        ...

    def dispose(self) -> None:
        """The table is forgotten."""
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


class Found(NamedTuple):
    """The positions of those ids that are known, in no order, and the numbers of their entries."""

    positions: Indexes
    numbers: Indexes


class IdTable:
    """None is ever taken out. `expected` ids fit without growing; ENTRIES_MAX at all.

    With `crowded`, there are up to two ids to a bucket instead of one: less memory, and more often a second look.
    """

    def __init__(self, storage: Storage, *, expected: int = 0, crowded: bool = False) -> None:
        self.storage = storage
        self._bucket_ids = 2 if crowded else 1
        self._entries = storage.grown(expected)
        self._count = 0
        self._make_links(expected)
        self._make_buckets(expected)

    def __len__(self) -> int:
        return self._count

    @property
    def resident_bytes(self) -> int:
        """Memory that it takes with any storage."""
        return self._buckets.nbytes + self._links.nbytes

    def fingerprints(self, start: int, end: int) -> Fingerprints:
        """The fingerprints of the entries [start, end)."""
        return np.ascontiguousarray(self._entries[start:end].view("<u8").reshape(-1, 3)[:, :2])

    def contents(self, numbers: Indexes | slice) -> Words:
        """The content numbers of these entries."""
        found: Words = self._entries["content"][numbers]
        return found

    def insert(self, new: Asked, contents: Words) -> None:
        """Add ids that are not here and do not repeat. Raises OSError when the storage is full; nothing is added then."""
        count, total = self._count, self._count + len(contents)
        self._grow(total)
        entries = self._entries[count:total]
        entries["first"], entries["second"], entries["content"] = new.fingerprints[:, 0], new.fingerprints[:, 1], contents
        self._place(new.hashes, new.marks, count)
        self._count = total

    def insert_one(self, new: AskedOne, content: int) -> None:
        """The same with one."""
        total = self._count + 1
        self._grow(total)
        self._entries[self._count] = (new.first, new.second, content)
        bucket = new.hash >> self._shift
        before = self._bucket_view[bucket]
        self._link_view[total] = before & _LINK_MASK
        self._bucket_view[bucket] = (before | _LINK_MASK) ^ _LINK_MASK | new.mark | total
        self._count = total

    def adopt(self, count: int) -> None:
        """Index this many entries that an earlier process left in the storage. The table must be empty."""
        self._entries = self.storage.grown(count)
        self._make_links(count)
        self._make_buckets(count)
        self._place_entries(count)
        self._count = count

    def find(self, wanted: Asked) -> Found:
        """Which of these are here."""
        words = self._buckets.take(self._places(wanted.hashes))
        asking = ((words & wanted.marks) > _LINK_MASK).nonzero()[0]
        if not len(asking):
            return Found(asking, asking)
        links, marks = words.take(asking).astype(np.uint32), wanted.marks.take(asking).astype(np.uint32)
        if len(asking) <= FEW:
            return self._find_few(wanted.fingerprints, asking, links, marks)
        positions, numbers = [], []
        while len(asking):
            hit = ((links ^ marks) <= _STORED).nonzero()[0]
            if len(hit):
                at, number = asking.take(hit), (links.take(hit) & _STORED).astype(np.int64) - 1
                same = self._are(number, wanted.fingerprints.take(at, axis=0))
                positions.append(at[same])
                numbers.append(number[same])
            links = self._links.take(links & _STORED)
            on = links.nonzero()[0]
            asking, links, marks = asking.take(on), links.take(on), marks.take(on)
        return Found(_joined(positions), _joined(numbers))

    def _find_few(self, fingerprints: Fingerprints, asking: Indexes, links: Links, marks: Links) -> Found:
        """Walk from these links on, one by one."""
        halves = fingerprints.take(asking, axis=0).tolist()
        walks = zip(links.tolist(), marks.tolist(), halves, strict=True)
        numbers = np.array([self._walked(link, tag, first, second) for link, tag, (first, second) in walks], np.int64)
        known = numbers != ABSENT
        return Found(asking[known], numbers[known])

    def find_one(self, wanted: AskedOne) -> int:
        """The number of one id's entry, or ABSENT: the same walk, without arrays."""
        word = self._bucket_view[wanted.hash >> self._shift]
        if (word & wanted.mark) <= _LINK_MASK:
            return ABSENT
        return self._walked(word & _LINK_MASK, wanted.mark & _LINK_MASK, wanted.first, wanted.second)

    def content(self, number: int) -> int:
        """The content number of an entry."""
        return int(self._entries[number]["content"])

    def _walked(self, link: int, tag: int, first: int, second: int) -> int:
        """The number of the entry of this id, from this link on, or ABSENT."""
        while link:
            if link ^ tag <= ENTRIES_MAX:
                entry = self._entries[(link & ENTRIES_MAX) - 1]
                if entry["first"] == first and entry["second"] == second:
                    return (link & ENTRIES_MAX) - 1
            link = self._link_view[link & ENTRIES_MAX]
        return ABSENT

    def _are(self, numbers: Indexes, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        entries = self._entries[numbers]
        same: npt.NDArray[np.bool_] = (entries["first"] == fingerprints[:, 0]) & (entries["second"] == fingerprints[:, 1])
        return same

    def _grow(self, total: int) -> None:
        """Make room for this many ids."""
        assert total <= ENTRIES_MAX, "what is held open, and what goes into a segment, is bounded far below"
        self._entries = self.storage.grown(total)
        if total >= len(self._links):
            before = self._links
            self._make_links(max(total, len(before) + len(before) // 4))
            self._links[: len(before)] = before
        if total > self._bucket_ids * len(self._buckets):
            self._make_buckets(total)
            self._place_entries(self._count)

    def _make_links(self, entries: int) -> None:
        self._links = np.zeros(entries + 1, np.uint32)  # the first is of nobody
        self._link_view = self._links.data

    def _make_buckets(self, ids: int) -> None:
        bits = (max(-(-ids // self._bucket_ids), BUCKETS_MIN) - 1).bit_length()
        self._buckets: Words = np.zeros(1 << bits, np.uint64)
        self._bucket_view = self._buckets.data
        self._shift = 64 - bits

    def _places(self, hashes: Words) -> Indexes:
        return (hashes >> np.uint64(self._shift)).view(np.int64)

    def _place_entries(self, count: int) -> None:
        """Enter the first entries, this many, into the buckets, which are empty."""
        for start in range(0, count, PLACED_AT_ONCE):
            those = asked(self.fingerprints(start, min(start + PLACED_AT_ONCE, count)))
            self._place(those.hashes, those.marks, start)

    def _place(self, hashes: Words, marks: Words, number: int) -> None:
        """Enter ids into the buckets; the first of them is entry `number`."""
        places = self._places(hashes)
        stored = np.arange(number + 1, number + 1 + len(hashes), dtype=np.uint64)
        latest = marks | stored
        before = self._buckets.take(places)
        self._links[number + 1 : number + 1 + len(hashes)] = before  # cut off at 32 bits
        while True:
            words = (before & _FILTER) | latest
            self._buckets[places] = words
            # Where several come to the same bucket the last one stays; the others come again, and find it there.
            again = (self._buckets.take(places) != words).nonzero()[0]
            if not len(again):
                return
            places, latest, stored = places.take(again), latest.take(again), stored.take(again)
            before = self._buckets.take(places)
            self._links[stored.view(np.int64)] = before


def _joined(parts: Sequence[Indexes]) -> Indexes:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
