"""Many fingerprints as one array, and the numbers by which tables find them.

The hash is keyed: a client that chooses ids cannot know which of them collide, so no choice makes the walks long. It is multilinear in the 32-bit
parts of a fingerprint, and its upper 32 bits are strongly universal (Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair
problem", 1997; Lemire and Kaser, "Strongly universal string hashing is fast", 2014).
"""

import os
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES

Words: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Fingerprints: TypeAlias = Words
"""Fingerprints, 16 bytes each, as an array of two columns: their halves, little-endian."""

NUMBER_BITS: Final = 26
_TAG_BITS: Final = 32 - NUMBER_BITS
_FILTER_BITS: Final = 32
_MARK_SHIFT: Final = 27
_MARKS: Final = _FILTER_BITS << _TAG_BITS
_PARTS: Final = Struct("<4I")
_HALVES: Final = Struct("<2Q")
_WORD_MASK: Final = (1 << 64) - 1

# One bit of the upper half, by which a bucket says what it may hold, and a tag above the bits of an entry's number.
_MARK_OF: Final = [1 << 32 + number % _FILTER_BITS | number // _FILTER_BITS << NUMBER_BITS for number in range(_MARKS)]
_MARK_COLUMN: Final[Words] = np.array(_MARK_OF, np.uint64)


class Keys:
    """The random part of the hash: four words."""

    def __init__(self, words: bytes) -> None:
        self.column: Words = np.frombuffer(words, "<u8").astype(np.uint64)
        self.numbers: tuple[int, ...] = tuple(self.column.tolist())


_keys = Keys(os.urandom(32))


class Asked(NamedTuple):
    """Fingerprints with what a table needs to find them."""

    fingerprints: Fingerprints
    hashes: Words
    marks: Words

    def chosen(self, which: Mask) -> "Asked":
        """Those for which `which` is true."""
        return Asked(self.fingerprints[which], self.hashes[which], self.marks[which])


class AskedOne(NamedTuple):
    """The same of one fingerprint."""

    first: int
    second: int
    hash: int
    mark: int


def fingerprints_of(packed: bytes) -> Fingerprints:
    """Fingerprints one behind the other."""
    return np.frombuffer(packed, "<u8").reshape(-1, 2)


def asked(fingerprints: Fingerprints) -> Asked:
    """What to ask tables for all of these."""
    hashes = fingerprints.view("<u4").astype(np.uint64) @ _keys.column
    return Asked(fingerprints, hashes, _MARK_COLUMN.take(((hashes >> np.uint64(_MARK_SHIFT)) & np.uint64(_MARKS - 1)).view(np.int64)))


def asked_one(fingerprint: bytes) -> AskedOne:
    """What to ask tables for this one, without arrays: quicker for a few."""
    a, b, c, d = _PARTS.unpack(fingerprint)
    w, x, y, z = _keys.numbers
    hashed = (a * w + b * x + c * y + d * z) & _WORD_MASK
    first, second = _HALVES.unpack(fingerprint)
    return AskedOne(first, second, hashed, _MARK_OF[hashed >> _MARK_SHIFT & _MARKS - 1])


def each(fingerprints: Fingerprints) -> list[bytes]:
    """The fingerprints one by one."""
    raw = fingerprints.tobytes()
    return [raw[start : start + FINGERPRINT_BYTES] for start in range(0, len(raw), FINGERPRINT_BYTES)]


def repeated(fingerprints: Fingerprints) -> list[int]:
    """The positions of those that are further left, too."""
    ordered = fingerprints[:, 0].copy()
    ordered.sort()
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return []
    # Those that begin like another, which are few; only they are compared as a whole.
    alike = (twice.take(twice.searchsorted(fingerprints[:, 0]), mode="clip") == fingerprints[:, 0]).nonzero()[0]
    seen: set[tuple[int, ...]] = set()
    found = []
    for position, halves in zip(alike.tolist(), map(tuple, fingerprints.take(alike, axis=0).tolist()), strict=True):
        if halves in seen:
            found.append(position)
        seen.add(halves)
    return found
