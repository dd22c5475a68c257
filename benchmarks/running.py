"""Runs paths: every round measures each variant once, so that what disturbs the machine disturbs all of them alike."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from benchmarks.measurement import Measurement, Result, Unavailable, summarised
from benchmarks.paths import Arena, Path
from benchmarks.targets import judged
from benchmarks.watched import ProcessFailed


async def run_path(path: Path, arena: Arena, *, runs: int, say: Callable[[str], None]) -> list[Result]:
    """Medians of `runs` rounds, or of as many as the path has at most; one result a variant.

    The order of the variants is turned round from one round to the next.
    """
    runs = min(runs, path.rounds_max or runs)
    found: dict[str, list[Measurement | Unavailable]] = {}
    for number in range(runs):
        async with path.begin(arena) as measures:
            for name in measures:
                found.setdefault(name, [])
            for name in list(measures) if number % 2 == 0 else reversed(list(measures)):
                outcome = await _measured(measures[name])
                found[name].append(outcome)
                say(f"{path.name} / {name}, run {number + 1} of {runs}: {_told(outcome)}")
    baseline = next(iter(found.values()))
    results = [summarised(path.name, name, outcomes, baseline) for name, outcomes in found.items()]
    return [replace(result, targets=judged(path.targets, result.variant, result.figures)) for result in results]


async def _measured(measure: Callable[[], Awaitable[Measurement | Unavailable]]) -> Measurement | Unavailable:
    """A process that fails costs one measurement, and not all that were taken before."""
    try:
        return await measure()
    except (ProcessFailed, TimeoutError) as error:
        return Unavailable(f"{type(error).__name__}: {error}")


def _told(outcome: Measurement | Unavailable) -> str:
    if isinstance(outcome, Unavailable):
        return outcome.reason
    return f"{outcome.cpu_s_per_million:.2f} CPU-s per million, {outcome.events_per_s:,.0f} events/s"
