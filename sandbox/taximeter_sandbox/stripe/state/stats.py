"""Counters since the process started, for the oracle. They count calls; the exact books are elsewhere."""

from collections import Counter
from dataclasses import dataclass, field

ALL_ROUTES = "*"


@dataclass(slots=True)
class Stats:
    """Calls by (route, outcome), and what became of meter events."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    counted_again: int = 0
    replayed: int = 0
    peak_per_second: Counter[str] = field(default_factory=Counter)
    _second: int = 0
    _this_second: Counter[str] = field(default_factory=Counter)

    def arrived(self, route: str, now_s: int) -> None:
        """Count a call in its second of real time; the peak is per calendar second."""
        if now_s != self._second:
            self._second = now_s
            self._this_second.clear()
        for name in (route, ALL_ROUTES):
            count = self._this_second[name] + 1
            self._this_second[name] = count
            self.peak_per_second[name] = max(count, self.peak_per_second[name])

    def answered(self, route: str, outcome: str) -> None:
        """Count what a call came to, as Stripe sees it: a call whose answer was lost after it took effect is `ok`."""
        self.outcomes[(route, outcome)] += 1

    def as_json(self) -> dict[str, object]:
        """The counters, nested by route."""
        return {
            "calls": _nested(self.outcomes),
            "faults": _nested(self.faults),
            "drops": dict(self.drops),
            "duplicates": self.duplicates,
            "counted_again": self.counted_again,
            "replayed": self.replayed,
            "peak_calls_per_second": dict(self.peak_per_second),
        }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), count in sorted(counts.items()):
        nested.setdefault(outer, {})[inner] = count
    return nested
