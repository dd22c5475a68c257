"""Reads the deployment files, once, as the tools that use them would."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson
from ruamel.yaml import YAML

from tests.support.repository import ROOT
from tools.documentation import METRICS, declared

DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs/runbooks"


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
