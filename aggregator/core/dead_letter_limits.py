"""When dead letters become the main output, something is wrong that one more dead letter will not mend: the partition stops instead."""

from collections import deque
from dataclasses import dataclass

from metering.records.fail_closed import FailClosed


class TooManyDeadLetters(FailClosed):
    """The limits of dead letters were passed."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """Stop after `run_max` events in a row, or when more than `percent_max` of the last `sample_events` were set aside."""

    run_max: int = 1_000
    percent_max: int = 50
    sample_events: int = 5_000


class DeadLetterGuard:
    """Counts outcomes in log order."""

    def __init__(self, limits: DeadLetterLimits) -> None:
        self._limits = limits
        self._run = 0
        self._sample: deque[tuple[int, int]] = deque()
        self._events = 0
        self._bad = 0

    def note(self, events: int, dead_lettered: int) -> None:
        """Take in a record's outcome. Raises TooManyDeadLetters."""
        if not dead_lettered and not self._bad:  # nearly always
            self._run = 0
            return
        self._run = self._run + dead_lettered if dead_lettered == events else 0
        self._sample.append((events, dead_lettered))
        self._events += events
        self._bad += dead_lettered
        while self._sample and self._events - self._sample[0][0] >= self._limits.sample_events:
            old_events, old_bad = self._sample.popleft()
            self._events -= old_events
            self._bad -= old_bad
        if self._run > self._limits.run_max:
            raise TooManyDeadLetters(f"{self._run} events in a row were dead-lettered; the limit is {self._limits.run_max}")
        if self._events >= self._limits.sample_events and self._bad * 100 > self._events * self._limits.percent_max:
            raise TooManyDeadLetters(
                f"{self._bad} of the last {self._events} events were dead-lettered; the limit is {self._limits.percent_max} percent"
            )

    def note_good(self, events: int) -> None:
        """Take in records of one event each that were not dead-lettered."""
        for _ in range(events):
            self.note(1, 0)
            if not self._bad:  # all that are left change nothing
                break
