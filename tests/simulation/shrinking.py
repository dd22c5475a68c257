"""From a run that fails to the shortest one that can be found: fewer events, fewer steps, fewer kinds of faults, and other seeds of small worlds.

Most faults show in small worlds, and small worlds are cheap: thousands of them are tried before anybody has read a long trace.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.simulation.scope import FAULTS, Scope
from tests.simulation.simulation import Result, run

STRANGE_SEED = 1_000_000_007  # other seeds are this far apart, so that they are none of a campaign's
SIZES = ((1, 20), (2, 30), (2, 60), (4, 100), (4, 200), (8, 300))


@dataclass(frozen=True, slots=True)
class Smallest:
    """A run that fails as the first one did. `tried` is how many runs were looked at."""

    result: Result
    tried: int


class Shrinker:
    """Looks for smaller runs with a violation of the same kind, until `seconds` are over."""

    def __init__(self, failed: Result, seconds: float) -> None:
        self._wanted = _kind(failed)
        self._until = time.monotonic() + seconds
        self._tried = 0
        self._best = self._told(failed.seed, failed.scope) or failed

    def smallest(self) -> Smallest:
        """The run with the shortest trace."""
        self._shrink()
        found = self._small_world()
        if found is not None:
            self._best = found
            self._shrink()
        return Smallest(self._best, self._tried)

    def _shrink(self) -> None:
        """Less of everything with the same seed, as long as something can be left out."""
        better = True
        while better and self._goes_on:
            better = False
            for scope in _smaller(self._best.scope):
                better |= self._take(self._best.seed, scope)

    def _small_world(self) -> Result | None:
        """Another seed that fails in a world of a few events and steps; the smallest size gets as much time as the largest."""
        began = time.monotonic()
        pause = (self._until - began) / (2 * len(SIZES))
        for number, (events, steps) in enumerate(SIZES):
            if events >= self._best.scope.events and steps >= self._best.scope.steps:
                return None
            seed = self._best.seed
            while time.monotonic() < began + (number + 1) * pause:
                seed += STRANGE_SEED
                if found := self._told(seed, Scope(events, steps, self._best.scope.off)):
                    return found if len(found.trace) < len(self._best.trace) else None
        return None

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._until

    def _take(self, seed: int, scope: Scope) -> bool:
        if not self._goes_on:
            return False
        found = self._told(seed, scope)
        if found is None or len(found.trace) > len(self._best.trace):
            return False
        self._best = found
        return True

    def _told(self, seed: int, scope: Scope) -> Result | None:
        """The run with its trace, if it fails as it should."""
        self._tried += 1
        if _kind(run(seed, scope=scope)) != self._wanted:
            return None
        return run(seed, tracing=True, scope=scope)


def _smaller(scope: Scope) -> Iterator[Scope]:
    """Boldly first, then step by step."""
    for steps in (scope.steps // 4, scope.steps // 2, scope.steps * 3 // 4, scope.steps - 10, scope.steps - 1):
        if 0 < steps < scope.steps:
            yield replace(scope, steps=steps)
    for events in (scope.events // 4, scope.events // 2, scope.events - 1):
        if 0 < events < scope.events:
            yield replace(scope, events=events)
    for fault in FAULTS:
        if fault not in scope.off:
            yield replace(scope, off=scope.off | {fault})


def _kind(result: Result) -> str:
    """What is wrong first, without the names and numbers of this run."""
    if not result.violations:
        return ""
    violation = result.violations[0]
    return f"{violation.name} {re.sub(r'[0-9].*', '', violation.text)[:60]}"
