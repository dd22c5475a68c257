"""The kept results and the pages that show them."""

from typing import Any

import pytest

from benchmarks.capacity import RATES, Costs, capacity_page, costs_of, need_of
from benchmarks.kept import merged, read_kept
from benchmarks.measurement import Result
from benchmarks.pages import BEGIN, BENCHMARKS, CAPACITY, END, PLOT, README, benchmarks_page, plot_of, summary_of, with_section
from benchmarks.plot import Panel, svg
from benchmarks.registry import KNOWN
from benchmarks.report import as_json
from benchmarks.targets import Judged

ORDER = ["first", "second"]


def row(path: str, variant: str = "ours", *, cost: float = 2.0, **more: float) -> Result:
    return Result(path, variant, 3, 1_000_000, cost, 500_000.0, 10**8, 1.5, more, targets=[Judged("cpu_s_per_million", 1.0, at_most=True, met=False)])


def document(*rows: Result, commit: str = "new", **more: Any) -> dict[str, Any]:
    return {**as_json(rows, broker="a broker"), "commit": commit, "runs": 3, "scale": 1.0, **more}


def test_readme_shows_four_of_the_kept_results() -> None:
    """If not: python -m benchmarks --pages."""
    page, summary = README.read_text(), summary_of(read_kept())
    assert with_section(page, summary) == page
    assert summary.count("\n- ") == 3  # and one at the beginning


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 130


def test_the_other_pages_and_the_plot_are_those_of_the_kept_results() -> None:
    """If not: python -m benchmarks --pages."""
    assert BENCHMARKS.read_text() == benchmarks_page(read_kept())
    assert CAPACITY.read_text() == capacity_page(read_kept())
    assert PLOT.read_text() == plot_of(read_kept())


def test_kept_rows_are_of_paths_that_there_are() -> None:
    assert {kept["path"] for kept in read_kept()["results"]} <= {path.name for path in KNOWN}


def test_what_is_measured_replaces_what_was_kept_of_that_path_and_nothing_else() -> None:
    kept = merged(
        {"results": []}, document(row("second", cost=1.0), row("first", cost=1.0), commit="old", curves=[{"name": "c", "points": []}]), ORDER
    )
    kept = merged(kept, document(row("second", cost=2.0)), ORDER)
    assert [(one["path"], one["cpu_s_per_million"], one["commit"]) for one in kept["results"]] == [("first", 1.0, "old"), ("second", 2.0, "new")]
    assert (kept["commit"], kept["curves"][0]["commit"]) == ("new", "old")


def test_the_table_names_the_machine_the_targets_and_the_rows_of_another_commit() -> None:
    kept = merged({"results": []}, document(row("second", p99_ms=4.0), commit="old"), ORDER)
    page = benchmarks_page(merged(kept, document(row("first")), ORDER))
    assert "| first | ours | 2.00 | 1.50 | 500,000 | CPU-s / million at most 1: not met |" in page
    assert "- second: 3 rounds on " in page
    assert page.count("commit old") == 1


def test_a_figure_that_was_not_measured_has_no_line_in_readme() -> None:
    summary = summary_of(merged({"results": []}, document(row("gateway-100", "gateway")), ["gateway-100"]))
    assert "500,000 events a second" in summary
    assert "Aggregator" not in summary


def test_only_what_is_between_the_markers_changes() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_section(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no lines"):
        with_section("nothing", "new\n")


COSTS = Costs(
    gateway=6.0,
    counting=0.5,
    counting_ids=1.2,
    counting_singles=3.0,
    counting_few_singles=70.0,
    catching_up=0.6,
    reporting_v1=480.0,
    reporting_v2=40.0,
    event_bytes=50.0,
)


def test_needs_follow_from_the_costs() -> None:
    need = need_of(10**5, COSTS)
    # 10**5 x 6 / 10**6 is 0.6 CPU-seconds a second, which is one core at 60 %.
    assert (need.gateway_cores, need.aggregator_cores, need.aggregator_cores_ids) == (1, 1, 1)
    assert (need.meter_events, need.api, need.reporter_cores) == (167, "v1, 167 calls/s", 1)
    assert (need.megabytes, need.brokers, need.partitions) == (5.0, 3, 12)
    large = need_of(10**6, COSTS)
    assert (large.gateway_cores, large.aggregator_cores_ids, large.partitions) == (10, 2, 12)
    assert large.api == "v2 stream, 17 requests/s"
    # 10**6 x 3 / 10**6 and 10**4 x 70 / 10**6 CPU-seconds a second: a low rate costs more for each event.
    assert [need_of(rate, COSTS).aggregator_cores_singles for rate in (10**4, 10**6)] == [2, 5]


def test_more_events_never_need_less() -> None:
    needs = [need_of(rate, COSTS) for rate in RATES]
    for name in ("gateway_cores", "aggregator_cores", "aggregator_cores_ids", "partitions", "brokers"):
        values = [getattr(need, name) for need in needs]
        assert values == sorted(values)


def test_without_every_figure_the_page_says_what_is_missing() -> None:
    kept = merged({"results": []}, document(row("gateway-100", "gateway")), ["gateway-100"])
    assert costs_of(kept) is None
    assert "reporter-v1" in capacity_page(kept)


def test_a_plot_has_a_line_for_each_name_and_escapes_what_it_says() -> None:
    text = svg("a < b", {"cost": Panel({"one": [(1, 2.0), (1_000, 4.0)], "two": []}, by_ratio=True), "time": Panel({"x": [(0.0, 0.0)]}, unit=" min")})
    assert text.count("<polyline") == 3
    assert "a &lt; b" in text
    assert 'points="70.0,' in text
