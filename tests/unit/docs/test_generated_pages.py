"""The generated pages and the generated parts of other pages are what the code declares, and a page that is not is noticed."""

import importlib
import pkgutil
from pathlib import Path

import pytest
from taximeter_emitter.wire import limits as wire_limits

import aggregator
import ingest
import reporter
from metering.configuration.settings import describe
from metering.process import service
from metering.process.metrics import MetricRow
from metering.records import service_limits
from taximeter import exit_codes
from taximeter.exit_codes import MEANINGS
from tests.simulation.planted_table import ALL
from tests.support.repository import ROOT
from tools import documented_limits
from tools.documentation import COMMAND, METRICS, SETTINGS, configuration_page, declared, differing, limits_page, main, metrics_page, pages
from tools.generated_parts import PAGES, PARTS, parts_of, with_parts


def test_the_committed_pages_are_what_the_code_declares() -> None:
    assert differing(ROOT) == (), f"run: {COMMAND}"


def test_every_setting_is_on_the_page() -> None:
    page = configuration_page()
    for section in SETTINGS:
        for row in describe(section.settings, section.name):
            assert f"| `{row.key}` | `{row.variable}`" in page
            assert row.doc in page


def test_every_metric_is_on_the_page() -> None:
    page = metrics_page()
    rows: list[MetricRow] = [row for section in METRICS for row in declared(section)]
    assert len(rows) > 40
    for row in rows:
        assert f"| `{row.name}` | {row.type} |" in page


NOT_MET = {
    "CHAIN_RECORD_BYTES_TARGET",  # a setting of the aggregator, with bounds of its own
    "TALLY_ROW_BYTES",
    "WINDOW_MS",
    "ENVELOPE_BYTES",  # what Kafka adds to a record, beside its value
    "IDENTIFIER_CHARS_MAX",  # identifiers are ours
    "IDENTIFIER_MEMORY_MS",  # the reason for RETRY_SAME_IDENTIFIER_MS
}


def test_every_limit_that_a_user_can_meet_is_on_the_page() -> None:
    every = {name for module in (wire_limits, service_limits) for name, value in vars(module).items() if type(value) is int}
    assert every - vars(documented_limits).keys() == NOT_MET
    page = limits_page()
    for documented in documented_limits.LIMITS.values():
        for limit in documented:
            assert f"| {limit.what} | {limit.value:,} | {limit.unit} | {limit.beyond} |" in page


def test_no_settings_or_metrics_class_of_a_service_is_left_out() -> None:
    found = {
        f"{owner.__module__}.{owner.__name__}"
        for package in (aggregator, ingest, reporter)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if module.name.rpartition(".")[2] in {"settings", "metrics", "emitter_metrics"}
        for owner in vars(importlib.import_module(module.name)).values()
        if isinstance(owner, type) and owner.__module__ == module.name and owner.__name__.endswith(("Settings", "Metrics"))
    }
    listed = {f"{section.settings.__module__}.{section.settings.__name__}" for section in SETTINGS}
    # A metrics class is listed by its `create`, or by a function around it.
    declaring = [getattr(section.declare, "__self__", None) for section in METRICS]
    listed |= {f"{owner.__module__}.{owner.__qualname__}" for owner in declaring if isinstance(owner, type)}
    assert found <= listed


def test_a_missing_and_an_edited_page_are_named_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert main([*root, "--check"]) == 1
    assert not (tmp_path / "docs").exists()
    assert main(root) == 0
    assert differing(tmp_path) == ()
    (tmp_path / "docs/metrics.md").write_text("edited by hand")
    assert differing(tmp_path) == ("docs/metrics.md",)
    assert main([*root, "--check"]) == 1
    assert f"docs/metrics.md differs from the code; run {COMMAND}" in capsys.readouterr().err
    assert main(root) == 0
    assert (tmp_path / "docs/metrics.md").read_text() == pages()["docs/metrics.md"]
    assert main([*root, "--check"]) == 0


def test_every_part_is_on_a_page_and_every_page_has_parts() -> None:
    found = {path: parts_of((ROOT / path).read_text()) for path in PAGES}
    assert all(found.values())
    assert {part for parts in found.values() for part in parts} == set(PARTS)


def test_no_other_page_has_a_generated_part() -> None:
    others = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if parts_of(page.read_text())}
    assert others == set(PAGES)


def test_an_edited_part_is_written_again_and_the_rest_of_its_page_stays(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / PAGES[0]
    page.write_text("before\n<!-- generated: exit codes -->\nedited by hand\n<!-- /generated -->\nafter\n")
    assert PAGES[0] in differing(tmp_path)
    assert main(["--root", str(tmp_path)]) == 0
    assert differing(tmp_path) == ()
    text = page.read_text()
    assert text.startswith("before\n<!-- generated: exit codes -->\n| Code |")
    assert text.endswith("|\n<!-- /generated -->\nafter\n")


def test_a_part_that_nothing_makes_is_refused() -> None:
    with pytest.raises(KeyError, match="unheard"):
        with_parts("<!-- generated: unheard -->\n<!-- /generated -->\n")


def test_the_table_of_planted_bugs_has_them_all_and_their_number() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    assert f"There are {len(ALL)}." in page
    for name in ALL:
        assert f"| {name.replace('_', ' ')} |" in page


def test_the_exit_codes_are_those_of_the_commands_and_the_services() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    services = {value for name, value in vars(service).items() if name.startswith("EXIT_")}
    for code in {*MEANINGS, *services}:
        assert f"\n| {code} | " in page
    assert set(MEANINGS) == {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
