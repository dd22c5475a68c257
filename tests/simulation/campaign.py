"""Many seeds, on several processor cores, with progress; and a failure told in the shortest trace that can be found."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.shrinking import Shrinker
from tests.simulation.simulation import Result, run

CHUNK = 50
TRACE_LINES = 120
SHRINKING_SECONDS = 20.0
PIECE = 10_000
"""Seeds after which a campaign writes down how far it is."""


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
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_leave_interrupts_to_the_parent) as pool:
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
        say(f"{_told(found, time.monotonic() - began)}, {len(found.failures)} failed")
    return found


def long_campaign(count: int, first: int, file: Path, say: Callable[[str], None], *, workers: int | None = None) -> int:
    """Run `count` seeds from `first` on in pieces, and add a line to `file` after each; with the file of an interrupted one it goes on behind it.

    Returns how many seeds have failed, all together. Blocks for as long as it takes, at the lowest priority. Raises KeyboardInterrupt, and
    says before how to go on; the piece that was being run is run again then.
    """
    os.nice(19)
    done, failed = _progress(file, first)
    begun, began = done, time.monotonic()
    try:
        while done < count:
            piece = range(first + done, first + min(done + PIECE, count))
            piece_began = time.monotonic()
            found = campaign(piece, workers=workers, failures_max=len(piece))
            done += len(piece)
            failed += len(found.failures)
            seeds = "".join(f" {result.seed}" for result in found.failures)
            line = f"{first} {done} {failed} | {commit()} | {_told(found, time.monotonic() - piece_began)}, failed:{seeds or ' none'}"
            with file.open("a") as out:
                out.write(f"{line}\n")
            rate = (done - begun) / (time.monotonic() - began)
            say(f"{line}; {(count - done) / rate / 60:.0f} min left")
    except KeyboardInterrupt:
        say(f"{done} of {count} seeds are done; the same command goes on from there: --campaign {count} --from {first} --out {file}")
        raise
    return failed


def story(failed: Result, seconds: float = SHRINKING_SECONDS) -> str:
    """The smallest run that fails as this one did: its last steps, what is wrong, and how to see it again."""
    smallest = Shrinker(failed, seconds).smallest()
    result = smallest.result
    lines = [
        f"seed {failed.seed} of commit {commit()} failed; {smallest.tried} runs were tried for the shortest trace, of {len(result.trace)} steps.",
        f"again with: python -m tests.simulation --seed {result.seed} --scope {result.scope} --trace",
        f"the whole of it: python -m tests.simulation --seed {failed.seed} --trace",
        *result.trace[-TRACE_LINES:],
    ]
    return "\n".join([*lines, *describe(result.violations)])


def describe(violations: Sequence[object]) -> list[str]:
    """The first violations, one a line."""
    return [f"  {violation}"[:600] for violation in violations[:10]]


def commit() -> str:
    """The commit that is checked out, with a plus sign if files differ from it; "unknown" where there is no git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()


def _progress(file: Path, first: int) -> tuple[int, int]:
    """How many seeds are done and how many of them failed, by the last line of a campaign from this seed."""
    for line in reversed(file.read_text().splitlines() if file.exists() else []):
        begun, done, failed = map(int, line.split("|")[0].split())
        if begun != first:
            raise ValueError(f"{file} is of a campaign from seed {begun} on; give another file, or --from {begun}")
        return done, failed
    return 0, 0


def _told(found: Campaign, seconds: float) -> str:
    rates = f"{found.seeds / seconds:.0f} seeds and {found.events / seconds:.0f} events a second"
    return f"{found.seeds} seeds in {seconds:.1f} s ({rates}): {found.events} events, {found.steps} steps, {found.calls} calls to Stripe"


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_chunk(seeds: range) -> list[Result]:
    return [run(seed) for seed in seeds]
