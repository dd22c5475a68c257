"""Many seeds, on several processor cores, with progress; and one seed told step by step."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.simulation.simulation import Result, run

CHUNK = 25
TRACE_LINES = 120


@dataclass(slots=True)
class Campaign:
    """What a campaign has found so far."""

    seeds: int = 0
    events: int = 0
    steps: int = 0
    calls: int = 0
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Take in one run."""
        self.seeds += 1
        self.events += result.events
        self.steps += result.steps
        self.calls += result.calls
        if result.violations:
            self.failures.append(result)


def results(seeds: range, workers: int) -> Iterator[Result]:
    """Run these seeds; results come in no particular order."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if workers <= 1:
        for chunk in chunks:
            yield from _run_chunk(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for found in pool.imap_unordered(_run_chunk, chunks):
            yield from found


def campaign(seeds: range, *, workers: int | None = None, failures_max: int = 10, say: Callable[[str], None] | None = None) -> Campaign:
    """Run these seeds until all are done or too many have failed."""
    found = Campaign()
    began = said = time.monotonic()
    for result in results(seeds, workers or os.cpu_count() or 1):
        found.add(result)
        if result.violations and say is not None:
            say("\n".join([f"seed {result.seed} failed:", *describe(result.violations[:1])]))
        now = time.monotonic()
        if say is not None and now - said >= 5:
            said = now
            rate = found.seeds / (now - began)
            left = (len(seeds) - found.seeds) / rate
            say(f"{found.seeds} of {len(seeds)} seeds, {rate:.0f} a second, {left:.0f} s left, {len(found.failures)} failed")
        if len(found.failures) >= failures_max:
            break
    if say is not None:
        seconds = time.monotonic() - began
        say(
            f"{found.seeds} seeds in {seconds:.1f} s ({found.seeds / seconds:.0f} a second): {found.events} events, {found.steps} steps, "
            f"{found.calls} calls to Stripe, {len(found.failures)} failed"
        )
    return found


def story(seed: int) -> str:
    """Run a seed again with its trace: the last steps, what is wrong, and how to see it again."""
    result = run(seed, tracing=True)
    lines = [f"seed {seed}; again with: python -m tests.simulation --seed {seed} --trace", *result.trace[-TRACE_LINES:]]
    return "\n".join([*lines, *describe(result.violations)])


def describe(violations: Sequence[object]) -> list[str]:
    """The first violations, one a line."""
    return [f"  {violation}"[:600] for violation in violations[:10]]


def _run_chunk(seeds: range) -> list[Result]:
    return [run(seed) for seed in seeds]
