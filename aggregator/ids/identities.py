"""What tells events apart in the index: the fingerprint of source and id, mixed with a secret number of the customer.

The writer of a batch chooses the fingerprints in it, and may choose any. So the reader adds the customer, and not the writer: what is sent for
one customer never stands for an event of another. The number is a keyed hash, and the key is drawn at random: who does not know it cannot
choose a fingerprint that meets another customer's. For any two events of different customers that happens once in 2^128 times.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES

from aggregator.ids.fingerprints import Fingerprints, fingerprints_of

KEY_BYTES: Final = 32
CUSTOMERS_NUMBERED_MAX: Final = 50_000


class Identities:
    """Identities under one key, 16 bytes each. Those under another key mean nothing to each other."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._places: dict[str, int] = {}
        self._numbers: Fingerprints = np.zeros((1_000, 2), np.uint64)

    def number(self, customer: str) -> bytes:
        """The secret number of a customer, 16 bytes."""
        return blake2b(customer.encode(), digest_size=FINGERPRINT_BYTES, key=self._key).digest()

    def numbers(self, customers: Sequence[str]) -> Fingerprints:
        """The secret numbers of customers, in their order."""
        found = list(map(self._places.get, customers))
        if None in found:
            self._learn(customers)
            found = list(map(self._places.get, customers))
        return self._numbers.take(np.array(found, np.int64), axis=0)

    def _learn(self, customers: Sequence[str]) -> None:
        if len(self._places) + len(customers) > CUSTOMERS_NUMBERED_MAX:
            self._places.clear()
        new = [customer for customer in dict.fromkeys(customers) if customer not in self._places]
        start = len(self._places)
        self._places.update(zip(new, range(start, start + len(new)), strict=True))
        if len(self._places) > len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.zeros((len(self._places), 2), np.uint64)])
        self._numbers[start : start + len(new)] = fingerprints_of(b"".join(map(self.number, new)))
