"""What a figure should be: bounds that stand beside the figures, met or not. They fail nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_NAMES: Final = {"cpu_s_per_million": "CPU-s / million", "events_per_s": "events/s", "sustained_per_s": "sustained events/s", "ratio": "x bare"}


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure of one variant: `figure` is a number of a Result (cpu_s_per_million, events_per_s, ratio) or a name in its `more`."""

    variant: str
    figure: str
    bound: float
    at_most: bool = True


@dataclass(frozen=True, slots=True)
class Judged:
    """A target beside what was measured; it is not met where nothing was."""

    figure: str
    bound: float
    at_most: bool
    met: bool

    def __str__(self) -> str:
        sign = "at most" if self.at_most else "at least"
        return f"{_NAMES.get(self.figure, self.figure)} {sign} {self.bound:,g}: {'met' if self.met else 'not met'}"


def judged(targets: Sequence[Target], variant: str, figures: Mapping[str, float | None]) -> tuple[Judged, ...]:
    """The targets of this variant, judged by its figures."""
    return tuple(_judged(target, figures.get(target.figure)) for target in targets if target.variant == variant)


def _judged(target: Target, value: float | None) -> Judged:
    met = value is not None and (value <= target.bound if target.at_most else value >= target.bound)
    return Judged(target.figure, target.bound, target.at_most, met)
