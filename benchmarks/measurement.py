"""What one process cost in one run, and what many runs of it say together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.targets import Judged


@dataclass(frozen=True, slots=True)
class Measurement:
    """One process, once. CPU is user and system time of the process; `more` holds figures of this path alone, such as latencies, by name and unit."""

    events: int
    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: int
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_s_per_million(self) -> float:
        """CPU-seconds per million events."""
        return self.cpu_seconds * 1e6 / self.events

    @property
    def events_per_s(self) -> float:
        """Events per second of wall time."""
        return self.events / self.wall_seconds


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A variant that cannot run on this machine, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of the runs of one variant of one path. `ratio` is the median of its CPU per event over the first variant's in the same run."""

    path: str
    variant: str
    runs: int
    events: int
    cpu_s_per_million: float
    events_per_s: float
    peak_rss: int
    ratio: float | None
    more: Mapping[str, float]
    unavailable: str = ""
    targets: Sequence[Judged] = ()

    @property
    def figures(self) -> Mapping[str, float | None]:
        """Every figure by name."""
        return {
            **self.more,
            "cpu_s_per_million": self.cpu_s_per_million if self.runs else None,
            "events_per_s": self.events_per_s if self.runs else None,
            "ratio": self.ratio,
        }


def summarised(path: str, variant: str, runs: Sequence[Measurement | Unavailable], baseline: Sequence[Measurement | Unavailable]) -> Result:
    """The result of a variant; `baseline` are the first variant's measurements of the same runs, in the same order."""
    done = [run for run in runs if isinstance(run, Measurement)]
    if not done:
        reasons = [run.reason for run in runs if isinstance(run, Unavailable)]
        return Result(path, variant, 0, 0, 0.0, 0.0, 0, None, {}, reasons[0] if reasons else "it did not run")
    ratios = [
        run.cpu_s_per_million / base.cpu_s_per_million
        for run, base in zip(runs, baseline, strict=True)
        if isinstance(run, Measurement) and isinstance(base, Measurement) and base.cpu_seconds > 0
    ]
    return Result(
        path=path,
        variant=variant,
        runs=len(done),
        events=done[0].events,
        cpu_s_per_million=median(run.cpu_s_per_million for run in done),
        events_per_s=median(run.events_per_s for run in done),
        peak_rss=round(median(run.peak_rss_bytes for run in done)),
        ratio=median(ratios) if ratios else None,
        more={name: median(run.more[name] for run in done if name in run.more) for name in done[0].more},
    )
