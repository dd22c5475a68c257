"""Ids and numbers as the tables of ids take them."""

from collections.abc import Sequence

import numpy as np

from aggregator.ids.fingerprints import Fingerprints, Words, asked, fingerprints_of
from aggregator.ids.id_table import ABSENT, IdTable


def packed(ids: Sequence[bytes]) -> Fingerprints:
    return fingerprints_of(b"".join(ids))


def words(numbers: Sequence[int]) -> Words:
    return np.array(numbers, np.uint64)


def numbers_of(table: IdTable, ids: Sequence[bytes]) -> list[int]:
    """The number of each one's entry, asked for all at once."""
    answer = [ABSENT] * len(ids)
    positions, numbers = table.find(asked(packed(ids)))
    for position, number in zip(positions.tolist(), numbers.tolist(), strict=True):
        assert answer[position] == ABSENT, "nobody is found twice"
        answer[position] = number
    return answer
