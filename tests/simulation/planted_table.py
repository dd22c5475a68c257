"""How soon each planted bug is caught: the seeds that it takes, from many places to begin; and a seed in which it shows, tried before a search.

What was measured and found is kept beside this module.
"""

import multiprocessing
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Final

import orjson

from tests.simulation.planted_adjustment_bugs import PLANTED_IN_ADJUSTMENTS
from tests.simulation.planted_bugs import PLANTED
from tests.simulation.planted_catalogue_bugs import PLANTED_IN_CATALOGUES
from tests.simulation.planted_emitter_bugs import PLANTED_IN_EMITTERS
from tests.simulation.planted_latest_bugs import PLANTED_IN_LATEST
from tests.simulation.planted_link_bugs import PLANTED_IN_LINKS
from tests.simulation.planted_log_bugs import PLANTED_IN_LOGS
from tests.simulation.planted_loss_bugs import PLANTED_IN_LOSSES
from tests.simulation.planted_meter_bugs import PLANTED_IN_METERS
from tests.simulation.planted_producer_bugs import PLANTED_FOR_PRODUCERS
from tests.simulation.planted_sender_bugs import PLANTED_FOR_SENDERS
from tests.simulation.planted_stripe_bugs import PLANTED_AT_STRIPE
from tests.simulation.simulation import run

ALL: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    **PLANTED,
    **PLANTED_IN_LOGS,
    **PLANTED_IN_LOSSES,
    **PLANTED_IN_METERS,
    **PLANTED_IN_EMITTERS,
    **PLANTED_FOR_PRODUCERS,
    **PLANTED_FOR_SENDERS,
    **PLANTED_AT_STRIPE,
    **PLANTED_IN_ADJUSTMENTS,
    **PLANTED_IN_CATALOGUES,
    **PLANTED_IN_LINKS,
    **PLANTED_IN_LATEST,
}
SEEDS_MAX = 40_000
OFFSETS = 5
APART = 1_000_000
MISFIT: Final = re.compile(r"\b(?:TypeError|AttributeError|NameError)\b")
KEPT: Final = Path(__file__).with_name("planted_figures.json")
KEPT_SEEDS: Final = Path(__file__).with_name("planted_seeds.json")


def seed_that_shows(name: str, first: int) -> int | None:
    """A seed in which this bug shows: the one that is kept, if it still does, or one from `first` on, in as many as `seeds_to_catch` tries.

    A change of the worlds moves the seeds, and then each costs a search: `refresh_seeds` finds and keeps the new ones.
    """
    kept = kept_seeds().get(name)
    if kept is not None and seeds_to_catch(name, kept, 1) is not None:
        return kept
    number = seeds_to_catch(name, first)
    return None if number is None else first + number - 1


def seeds_that_show(first: int) -> dict[str, int | None]:
    """`seed_that_shows` of every bug, on all cores."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        return dict(zip(ALL, pool.map(partial(seed_that_shows, first=first), ALL, chunksize=1), strict=True))


def kept_seeds() -> dict[str, int]:
    """By name of the bug. Raises OSError."""
    return orjson.loads(KEPT_SEEDS.read_bytes()) if KEPT_SEEDS.exists() else {}


def refresh_seeds(first: int) -> list[str]:
    """Keep a seed in which each bug shows; returns the bugs that show nowhere. Raises OSError."""
    found = seeds_that_show(first)
    kept = {name: seed for name, seed in found.items() if seed is not None}
    KEPT_SEEDS.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return [name for name, seed in found.items() if seed is None]


def seeds_to_catch(name: str, first: int, seeds_max: int = SEEDS_MAX) -> int | None:
    """How many seeds from `first` on it takes until this bug shows; None if it does not within the limit.

    Raises RuntimeError if what shows is that the planted code does not fit what it stands for any more.
    """
    with ALL[name]():
        for number in range(seeds_max):
            if violations := run(first + number).violations:
                if any(MISFIT.search(violation.text) for violation in violations):
                    raise RuntimeError(f"{name} is no bug but fails by itself: {violations[0]}")
                return number + 1
    return None


@dataclass(frozen=True, slots=True)
class Caught:
    """What one bug shows first, the mean, the median and the largest number of seeds, and the mean processor time of a catch."""

    shows: str
    mean: float
    median: int
    most: int
    ms: int


def measured(names: Iterable[str]) -> Iterator[tuple[str, Caught]]:
    """Each bug and how it was caught, as they are ready. All of them take a quarter of an hour on two cores."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        yield from pool.imap(_measured, names, chunksize=1)


def keep(found: Mapping[str, Caught]) -> None:
    """Keep what was measured; bugs that were not keep their figures, and those that are gone are forgotten. Raises OSError."""
    figures = {**_kept(), **found}
    document = {name: asdict(figures[name]) for name in ALL if name in figures}
    KEPT.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def table() -> Iterator[str]:
    """All bugs as a table in Markdown, with the figures that are kept. Raises OSError."""
    figures = _kept()
    yield "| planted bug | what shows first | seeds, mean | median | most | ms of one core, mean |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name in ALL:
        caught = figures.get(name)
        cells = ("not measured", "", "", "", "") if caught is None else (caught.shows, caught.mean, caught.median, caught.most, caught.ms)
        yield f"| {name.replace('_', ' ')} | {' | '.join(map(str, cells))} |"


def power(found: Mapping[str, Caught], seeds_each: int = 200) -> Iterator[str]:
    """How much it takes to catch each of these, and all of them: to be compared before and after a change of the worlds."""
    for name, caught in found.items():
        yield f"{name:64} {caught.mean:8.1f} seeds {caught.ms:8d} ms"
    began = time.process_time()
    for seed in range(seeds_each):
        run(seed)
    rate = seeds_each / (time.process_time() - began)
    seeds, ms = sum(caught.mean for caught in found.values()), sum(caught.ms for caught in found.values())
    yield f"all {len(found)}: {seeds:.0f} seeds, {ms / 1000:.1f} s; {rate:.0f} seeds a second of one core"


def _kept() -> dict[str, Caught]:
    return {name: Caught(**figures) for name, figures in orjson.loads(KEPT.read_bytes()).items()}


def _measured(name: str) -> tuple[str, Caught]:
    began = time.process_time()
    found = [seeds_to_catch(name, number * APART) for number in range(OFFSETS)]
    spent = 1000 * (time.process_time() - began) / OFFSETS
    taken = [SEEDS_MAX if seeds is None else seeds for seeds in found]
    return name, Caught(_broken(name, found[0]), round(mean(taken), 1), round(median(taken)), max(taken), round(spent))


def _broken(name: str, seeds: int | None) -> str:
    """The violation of the first offset, without the details."""
    if seeds is None:
        return "nothing"
    with ALL[name]():
        violation = run(seeds - 1).violations[0]
    return f"{violation.name}: {_detail(violation.text)}"


def _detail(text: str) -> str:
    """What is said apart from places and numbers."""
    for pattern, told in (
        (r"stopped partition \d+: (\w+)", "the partition stops (`{}`)"),
        (r"(no rest) after", "{}: the partition stands still"),
        (r"follows -?\d+, which (is not accepted)", "a tally follows what {}"),
        (r"(is counted \d times)", "an id {}"),
        (r"(Stripe has \S+ twice)", "Stripe has an identifier twice"),
        (r"(Stripe has Booked)", "Stripe has a meter event that is not in the ledger"),
        (r"(Stripe has \S+ -?\d+ times)", "Stripe has a corrected meter event as often as nobody wanted"),
        (r"(a replay made)", "a replay sends again"),
        (r"which (counts already)", "a part of a plan that {}"),
        (r"(reports Counter)", "an intent is not the sum of its tallies"),
        (r"(first tally)", "the chain does not begin where the log begins"),
        (r"(a boundary)", "a meter event lies on {} of two periods"),
        (r"(tokens|requests) of \[?Emitted", "the sum of an event ({})"),
        (r"(corrects|correction) ", "an outcome of a {}"),
        (r"(was set aside)", "an event {}"),
        (r"(for lost, which is kept)", "what is accepted {}"),
        (r"names .* of (unknown usage)", "{} is not what the counted events have"),
        (r"counts Emitted.* in the (window)", "an event is in another {} than its own"),
        (r"(dead letters?)", "{} that are not there"),
        (r"(meter event)", "the outcome or the time of a {}"),
    ):
        if match := re.search(pattern, text):
            return told.format(match[1])
    return re.sub(r"\d+", "n", text)[:60]
