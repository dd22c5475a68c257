"""Reads the deployment files, once, as the tools that use them would."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson
from ruamel.yaml import YAML

from metering.configuration.key_file import create_key
from tests.support.repository import ROOT
from tools.documentation import METRICS, declared

DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs/runbooks"
# Which services of compose are which of our processes.
PROCESSES = {"gateway": "ingest", "gateway-open": "ingest", "aggregator": "aggregator", "reporter": "reporter", "reporter-simulated": "reporter"}
SECRETS = {
    "/run/secrets/stripe_api_key": "rk_test_1",
    "/run/secrets/stripe_webhook_secrets": "whsec_1\nwhsec_2\n",
    "/run/secrets/simulator_api_key": "sk_test_simulator",
    "/run/secrets/api_keys": create_key(tenant="alpaca").entry,
}
# Series that Prometheus itself or its client library makes, with the labels that they have beside those of every target.
FOREIGN: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "process_cpu_seconds_total": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "process_start_time_seconds": frozenset(),
}


@cache
def read_yaml(path: str) -> Any:
    """A YAML file below deploy/, merge keys resolved."""
    return YAML(typ="safe").load((DEPLOY / path).read_text())


@cache
def dashboard() -> Any:
    return orjson.loads((DEPLOY / "grafana/dashboards/taximeter.json").read_bytes())


def services() -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_yaml("docker-compose.yml")["services"]
    return found


def own_services() -> Mapping[str, Any]:
    """The services of compose that run our image."""
    return {name: service for name, service in services().items() if service["image"].startswith("taximeter:")}


def rules() -> Iterator[Mapping[str, Any]]:
    for group in read_yaml("prometheus/alerts.yml")["groups"]:
        yield from group["rules"]


def alerts() -> Mapping[str, Mapping[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> Iterator[Mapping[str, Any]]:
    """The dashboard's panels but the headings of its rows."""
    return (panel for panel in dashboard()["panels"] if panel["type"] != "row")


@cache
def series() -> Mapping[str, frozenset[str]]:
    """Every series that our processes export, by name, with the labels of its declaration."""
    found: dict[str, frozenset[str]] = {}
    for section in METRICS:
        for row in declared(section):
            labels = frozenset(row.labels)
            found[row.name] = labels
            if row.type == "histogram":
                found |= {f"{row.name}_bucket": labels | {"le"}, f"{row.name}_sum": labels, f"{row.name}_count": labels}
    return found


@cache
def label_values() -> Mapping[tuple[str, str], frozenset[str]]:
    """The values of those labels that are known beforehand, by metric and label."""
    rows = [row for section in METRICS for row in declared(section)]
    return {(row.name, label): frozenset(values) for row in rows for label, values in row.labels.items() if values}


def environment(service: Any) -> dict[str, str]:
    """A service's variables with compose's own defaults filled in."""
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in service.get("environment", {}).items()}
