"""When each simulated customer's billing periods begin and end: a function of the customer's number. Knows nothing of the pipeline."""

from collections.abc import Sequence
from functools import lru_cache

START_S = 1_780_000_000  # when the world begins


@lru_cache(maxsize=1_000)
def boundaries_of(customer: str) -> Sequence[int]:
    """The start of the customer's subscription and the ends of its periods, in Unix seconds; none for every fourth customer.

    Real periods last days. These last from four minutes to a few hours, at arbitrary seconds and for every other customer at whole minutes,
    so that windows of every size meet them. Every third subscription starts while the world runs.
    """
    number = int(customer.rpartition("_")[2])
    if number % 4 == 0:
        return ()
    length = 240 + number * 4_337 % 9_000
    start = START_S + number * 1_237 % 1_800 if number % 3 == 0 else START_S - 20 * length - number * 7_919 % length
    if number % 2 == 0:
        start, length = start // 60 * 60, length // 60 * 60
    return [start + period * length for period in range(40)]
