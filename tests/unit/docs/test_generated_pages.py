"""docs/configuration.md and docs/metrics.md are what the code declares, and a page that is not is noticed."""

import importlib
import pkgutil
from pathlib import Path

import pytest

import aggregator
import ingest
import reporter
from metering.process.metrics import MetricRow
from metering.process.settings import describe
from tests.support.repository import ROOT
from tools.documentation import COMMAND, METRICS, SETTINGS, configuration_page, declared, differing, main, metrics_page, pages


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


def test_no_settings_or_metrics_class_of_a_service_is_left_out() -> None:
    found = {
        f"{owner.__module__}.{owner.__name__}"
        for package in (aggregator, ingest, reporter)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
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
