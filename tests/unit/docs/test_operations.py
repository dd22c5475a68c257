"""What docs/operations.md names exists."""

import importlib.util
import re

import pytest

from tests.support.deploy_files import alerts, series
from tests.support.repository import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()


def test_its_metrics_exist() -> None:
    named = set(re.findall(r"\btaximeter_[a-z_]+\b", PAGE))
    assert len(named) > 5
    assert named <= set(series())


def test_its_variables_are_settings() -> None:
    configuration = (ROOT / "docs/configuration.md").read_text()
    for variable in set(re.findall(r"\bTAXIMETER_[A-Z_]+\b", PAGE)):
        assert f"`{variable}`" in configuration, variable


def test_its_alerts_exist() -> None:
    assert set(re.findall(r"\bTaximeter[A-Z]\w+", PAGE)) <= set(alerts())


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([a-z_.]+)", PAGE))))
def test_its_modules_exist(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
