"""Alerts and runbooks belong together, and what a runbook tells the reader to look at exists."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.support.deploy_files import DEPLOY, FOREIGN, RUNBOOKS, alerts, read_yaml, rules, series
from tests.support.repository import ROOT

HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
PAGES = sorted(RUNBOOKS.glob("*.md"))
PACKAGES = ("emitter/taximeter_emitter", "metering", "ingest", "aggregator", "reporter")
EMITTED = [module for name in PACKAGES for module in sorted((ROOT / name).rglob("*.py"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {page.stem for page in PAGES} == set(alerts())


def test_every_alert_says_how_bad_it_is_and_what_to_read() -> None:
    for name, rule in alerts().items():
        assert re.fullmatch(r"Taximeter[A-Z]\w+", name)
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        base = "{{ with $externalLabels.runbooks }}{{ . }}{{ else }}docs/runbooks{{ end }}"
        assert rule["annotations"]["runbook_url"] == f"{base}/{name}.md"
        assert "{{" not in rule["annotations"]["summary"], f"{name}: what varies belongs in the description"
        assert rule["annotations"]["description"].endswith(".")


def test_names_of_alerts_and_records_are_used_once() -> None:
    names = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(names) == len(set(names))


def test_every_alert_is_tested_firing() -> None:
    tests = "".join(path.read_text() for path in sorted((DEPLOY / "prometheus").glob("*_test.yml")))
    for name in alerts():
        assert f'alertname="{name}"' in tests, f"{name} fires in no test of promtool's"


@each_page
def test_a_runbook_has_its_four_parts(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(part.strip()) > 40


@each_page
def test_a_runbook_names_only_metrics_that_exist(page: Path) -> None:
    named = set(re.findall(r"\btaximeter_[a-z_]+\b", page.read_text()))
    assert named <= {*series(), *FOREIGN}


@each_page
def test_a_runbook_quotes_only_messages_that_the_code_logs(page: Path) -> None:
    code = "\n".join(path.read_text() for path in EMITTED)
    quoted = re.findall(r'logs? "([^"]+)"', " ".join(page.read_text().split()))
    for message in quoted:
        assert message in code, f"no service logs: {message}"


@each_page
def test_a_runbook_runs_only_modules_and_settings_that_exist(page: Path) -> None:
    text = page.read_text()
    for module in re.findall(r"python -m ([a-z_.]+)", text):
        assert importlib.util.find_spec(module) is not None, module
    configuration = (ROOT / "docs/configuration.md").read_text()
    for variable in re.findall(r"\bTAXIMETER_[A-Z_]+\b", text):
        assert f"`{variable}`" in configuration, variable


def test_the_page_of_not_ready_explains_every_condition_of_readiness() -> None:
    code = "\n".join(path.read_text() for path in EMITTED)
    conditions = {"started", "not_stopping", *re.findall(r'health\.require\("(\w+)"', code)}
    page = (RUNBOOKS / "TaximeterNotReady.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == conditions


def test_prometheus_reads_the_rules_and_finds_the_services_by_their_names_in_compose() -> None:
    configuration = read_yaml("prometheus/prometheus.yml")
    assert configuration["rule_files"] == ["/etc/prometheus/alerts.yml"]
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    services = read_yaml("docker-compose.yml")["services"]
    aliases = {alias for service in services.values() for alias in service.get("networks", {}).get("default", {}).get("aliases", [])}
    for job in ("gateway", "aggregator", "reporter", "console"):
        assert job in services
        assert jobs[job]["dns_sd_configs"][0]["names"] == [job]
    assert {"gateway", "reporter"} <= aliases
