"""The one source of chance of a run."""

from collections.abc import Sequence
from math import exp, log
from random import Random
from typing import TypeVar

Thing = TypeVar("Thing")


class Draws(Random):
    """Chance that costs little: the draws of `random` in a third of the time, from one number between 0 and 1 each."""

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        return int(self.random() * end)

    def between(self, start: int, end: int) -> int:
        """A whole number from `start` to `end` - 1."""
        return start + int(self.random() * (end - start))

    def spread(self, start: int, end: int) -> int:
        """A whole number between these, as likely among the tens as among the thousands."""
        return int(exp(log(start) + self.random() * (log(end) - log(start))))

    def pick(self, things: Sequence[Thing]) -> Thing:
        """One of them."""
        return things[int(self.random() * len(things))]
