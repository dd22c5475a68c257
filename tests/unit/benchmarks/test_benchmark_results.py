"""What runs of a benchmark say together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as Folder

import pytest

from benchmarks.measurement import Measurement, Unavailable, summarised
from benchmarks.paths import Arena, Measures, Path
from benchmarks.registry import PATHS, chosen
from benchmarks.report import as_json, table_of
from benchmarks.reporter import sustained_per_s
from benchmarks.running import run_path
from benchmarks.targets import Target, judged


def cost(cpu_seconds: float, **more: float) -> Measurement:
    return Measurement(events=1_000_000, cpu_seconds=cpu_seconds, wall_seconds=2.0, peak_rss_bytes=1, more=more)


def test_a_ratio_is_taken_within_each_run_and_then_the_median() -> None:
    result = summarised("path", "ours", [cost(2.0), cost(9.0), cost(4.0)], [cost(1.0), cost(3.0), cost(4.0)])
    assert (result.ratio, result.cpu_s_per_million, result.events_per_s) == (2.0, 4.0, 500_000)


def test_figures_of_one_path_alone_are_medians_too() -> None:
    assert summarised("path", "ours", [cost(1.0, p99_ms=3.0), cost(1.0, p99_ms=5.0), cost(1.0, p99_ms=4.0)], [cost(1.0)] * 3).more == {"p99_ms": 4.0}


def test_a_variant_that_cannot_run_is_a_row_that_says_why() -> None:
    result = summarised("path", "peer", [Unavailable("no Java")], [cost(1.0)])
    assert (result.unavailable, result.runs) == ("no Java", 0)
    assert table_of([result], title="").row_count == 1


def test_names_that_fit_no_path_are_refused() -> None:
    assert chosen([]) == list(PATHS)
    with pytest.raises(ValueError, match="no path begins with 'nothing'"):
        chosen(["nothing"])


def test_a_path_that_takes_many_minutes_is_only_chosen_by_its_whole_name() -> None:
    assert {path.name for path in chosen(["aggregator"])} == {path.name for path in PATHS if path.name.startswith("aggregator")}
    assert [path.name for path in chosen(["aggregator-catch-up"])] == ["aggregator-catch-up"]


async def test_the_order_of_the_variants_turns_round_each_run(tmp_path: Folder) -> None:
    order: list[str] = []

    @asynccontextmanager
    async def begin(_: Arena) -> AsyncIterator[Measures]:
        async def measure(name: str) -> Measurement:
            order.append(name)
            return cost(1.0 if name == "bare" else 3.0)

        yield {"bare": lambda: measure("bare"), "ours": lambda: measure("ours")}

    arena = Arena("localhost:1", tmp_path, 1.0)
    results = await run_path(Path("path", begin), arena, runs=2, say=lambda _: None)
    assert order == ["bare", "ours", "ours", "bare"]
    once = await run_path(Path("path", begin, rounds_max=1), arena, runs=2, say=lambda _: None)
    assert [result.runs for result in (*results, *once)] == [2, 2, 1, 1]
    assert [(result.variant, result.ratio) for result in results] == [("bare", 1.0), ("ours", 3.0)]
    assert as_json(results, broker="none")["results"][1]["ratio"] == 3.0


def test_a_target_stands_beside_its_figure_met_or_not() -> None:
    targets = [Target("ours", "cpu_s_per_million", 2.0), Target("ours", "p99_ms", 5.0, at_most=False), Target("bare", "ratio", 1.0)]
    result = summarised("path", "ours", [cost(2.0, p99_ms=4.0)], [cost(1.0)])
    assert [str(one) for one in judged(targets, "ours", result.figures)] == ["CPU-s / million at most 2: met", "p99_ms at least 5: not met"]


def test_what_is_sustained_is_counted_between_the_first_outcome_and_the_last() -> None:
    assert sustained_per_s([7_000, 5_000, 5_500, 6_000, 6_500]) == 2
    assert sustained_per_s([5_000]) == 0


def test_a_target_of_what_did_not_run_is_not_met() -> None:
    result = summarised("path", "ours", [Unavailable("no Java")], [cost(1.0)])
    assert [one.met for one in judged([Target("ours", "cpu_s_per_million", 2.0)], "ours", result.figures)] == [False]
