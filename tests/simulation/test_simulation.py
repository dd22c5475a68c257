"""The pipeline keeps its promises in every seed, and the simulation notices when it does not."""

import os
from pathlib import Path

import pytest

from aggregator.reading.readers import quickest_reader
from tests.simulation.bytes_reader import native_reader
from tests.simulation.campaign import campaign, long_campaign, story
from tests.simulation.planted_log_bugs import PLANTED_IN_LOGS
from tests.simulation.planted_table import ALL, seeds_that_show
from tests.simulation.scope import Scope, scope_from
from tests.simulation.shrinking import Shrinker
from tests.simulation.simulation import run

SEEDS = int(os.environ.get("SEEDS", "1000"))
FIRST = 5_000_000  # of the seeds in which planted bugs are looked for that do not show in the seed kept


def test_no_seed_loses_or_doubles_an_event() -> None:
    found = campaign(range(SEEDS), failures_max=3)
    assert not found.failures, "\n\n".join(story(failed) for failed in found.failures)
    assert found.seeds == SEEDS


@pytest.fixture(scope="module")
def caught() -> dict[str, int | None]:
    """A seed in which each planted bug shows."""
    return seeds_that_show(FIRST)


@pytest.mark.parametrize("name", ALL)
def test_a_planted_bug_is_caught(name: str, caught: dict[str, int | None]) -> None:
    assert caught[name] is not None


def test_a_seed_is_told_the_same_way_twice() -> None:
    first, second = (run(7, tracing=True) for _ in range(2))
    assert first == second
    assert len(first.trace) > 20


@pytest.mark.skipif(quickest_reader().name != "native", reason="the native reader is not installed")
def test_the_native_reader_makes_no_difference() -> None:
    seeds = range(100)
    plain = list(map(run, seeds))
    with native_reader():
        assert list(map(run, seeds)) == plain


def test_a_scope_is_written_as_it_is_read() -> None:
    for scope in (Scope(3, 40), Scope(1, 1, frozenset({"kill", "append"}))):
        assert scope_from(str(scope)) == scope


def test_a_scope_with_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="not rain"):
        scope_from("3:40:rain")


def test_a_failure_is_told_in_a_shorter_trace_than_it_was_found_in() -> None:
    with PLANTED_IN_LOGS["numbers_are_not_restored_on_takeover"]():
        failed = next(result for result in map(run, range(2_000)) if result.violations)
        smallest = Shrinker(failed, seconds=5).smallest().result
        told = story(smallest, seconds=1)
    assert smallest.violations[0].name == failed.violations[0].name
    assert 0 < len(smallest.trace) <= len(run_with_trace(failed.seed))
    assert f"--seed {smallest.seed} --scope" in told or "--scope" in told


def run_with_trace(seed: int) -> list[str]:
    return list(run(seed, tracing=True).trace)


def test_an_interrupted_campaign_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "nice", lambda _by: 0)
    monkeypatch.setattr("tests.simulation.campaign.campaign", interrupted)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        long_campaign(4, 100, tmp_path / "campaign.txt", said.append)
    assert said == [
        f"0 of 4 seeds are done; the same command goes on from there: --campaign 4 --from 100 --out {tmp_path / 'campaign.txt'}",
    ]


def test_a_long_campaign_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "nice", lambda _by: 0)
    file = tmp_path / "campaign.txt"
    said: list[str] = []
    assert long_campaign(4, 100, file, said.append) == 0
    assert long_campaign(6, 100, file, said.append) == 0
    assert [line.split("|")[0].split() for line in said] == [["100", "4", "0"], ["100", "6", "0"]]
    assert file.read_text().splitlines() == [line.rpartition("; ")[0] for line in said]
    with pytest.raises(ValueError, match="from seed 100"):
        long_campaign(6, 200, file, said.append)
