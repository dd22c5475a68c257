"""Identities that are looked for, packed: 24 bytes of each, so that millions are looked for at a time. Pure."""

from array import array
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from aggregator.dead_letters.letter_events import Identity
from metering.records.integer_columns import Integers

_DIGEST_BYTES: Final = 16


class IdentityList:
    """The identities of entries, as they come."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._entries = array("q")

    def add(self, identity: Identity, entry: int) -> None:
        """The next entry that has an identity; `entry` is its number, above those before."""
        self._digests += _digest(identity)
        self._entries.append(entry)

    def asked(self) -> "AskedIdentities":
        """All of them, to be looked for."""
        return AskedIdentities(bytes(self._digests), np.frombuffer(self._entries, np.int64) if self._entries else np.zeros(0, np.int64))


class AskedIdentities:
    """A set of identities, each with the first entry that has it. `repeats`: the entries that have the identity of one before."""

    def __init__(self, digests: bytes, entries: Integers) -> None:
        halves: npt.NDArray[np.uint64] = np.frombuffer(digests, "<u8").reshape(-1, 2)
        order = np.lexsort((entries, halves[:, 1], halves[:, 0]))
        halves, entries = halves[order], entries[order]
        first = np.ones(len(entries), bool)
        first[1:] = (halves[1:] != halves[:-1]).any(axis=1)
        self.repeats: list[int] = entries[~first].tolist()
        self._highs, self._lows = halves[first, 0].copy(), halves[first, 1].copy()
        self._entries = entries[first]

    def has(self, identity: Identity) -> bool:
        """Whether it is looked for."""
        return self._place(identity) is not None

    def entry(self, identity: Identity) -> int:
        """The first entry that has it. Raises KeyError if none has."""
        place = self._place(identity)
        if place is None:
            raise KeyError(identity)
        return int(self._entries[place])

    def _place(self, identity: Identity) -> int | None:
        high, low = np.frombuffer(_digest(identity), "<u8")
        place = int(np.searchsorted(self._highs, high))
        while place < len(self._highs) and self._highs[place] == high:
            if self._lows[place] == low:
                return place
            place += 1
        return None


def _digest(identity: Identity) -> bytes:
    customer, fingerprint = identity
    # A fingerprint has one length, so both in a row are those of no other pair.
    return blake2b(fingerprint + customer.encode(), digest_size=_DIGEST_BYTES).digest()
