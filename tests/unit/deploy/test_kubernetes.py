"""The manifests belong together, give no right that is not needed, and set only what exists; so do the units of systemd."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML

from metering.process.service import LOOP_CLOSE_SECONDS, MAIN_CANCEL_SECONDS, ServiceSettings
from tests.support.deploy_files import DEPLOY, read_yaml
from tests.support.repository import ROOT

SERVICES = ("gateway", "aggregator", "reporter")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()


def manifests() -> Iterator[Mapping[str, Any]]:
    """Every resource that the kustomization lists."""
    for name in read_yaml("kustomization.yaml")["resources"]:
        yield from YAML(typ="safe").load_all((DEPLOY / name).read_text())


def of_kind(kind: str) -> dict[str, Mapping[str, Any]]:
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def pod(service: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = of_kind("Deployment")[service]["spec"]["template"]["spec"]
    return found


def container(service: str) -> Mapping[str, Any]:
    (found,) = pod(service)["containers"]
    assert isinstance(found, dict)
    return found


def test_every_manifest_is_listed_and_every_file_that_becomes_a_config_map_exists() -> None:
    listed = read_yaml("kustomization.yaml")
    assert {f"kubernetes/{path.name}" for path in (DEPLOY / "kubernetes").glob("*.yaml")} == set(listed["resources"])
    for generated in listed["configMapGenerator"]:
        for name in generated.get("files", ()):
            assert (DEPLOY / name).is_file(), name


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_may_do_nothing_that_it_does_not_need(service: str) -> None:
    spec, own = pod(service), container(service)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert own["resources"]["limits"]["memory"] == own["resources"]["requests"]["memory"]


@pytest.mark.parametrize("service", SERVICES)
def test_restarting_depends_on_the_event_loop_alone_and_traffic_on_readiness(service: str) -> None:
    own = container(service)
    paths = {name: own[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/startupz", "port": "admin"},
        "livenessProbe": {"path": "/livez", "port": "admin"},
        "readinessProbe": {"path": "/readyz", "port": "admin"},
    }


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_set_exists_and_there_is_time_to_drain(service: str) -> None:
    given = {each["name"]: each["value"] for each in container(service).get("env", ())}
    for name in given:
        assert f"`{name.removesuffix('_FILE')}" in CONFIGURATION, name
    drain = float(given.get("TAXIMETER_SERVICE_DRAIN_SECONDS", ServiceSettings().drain_seconds))
    assert pod(service)["terminationGracePeriodSeconds"] > drain + MAIN_CANCEL_SECONDS + LOOP_CLOSE_SECONDS
    mounts = {mount["name"]: mount["mountPath"] for mount in container(service)["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod(service)["volumes"]}
    for name, value in given.items():
        if name.endswith("_FILE"):
            assert any(value.startswith(path) for path in mounts.values()), value


def test_one_may_be_away_of_two_and_more_come_by_load() -> None:
    assert set(of_kind("PodDisruptionBudget")) == set(SERVICES)
    assert all(each["spec"]["replicas"] == 2 for each in of_kind("Deployment").values())
    scaled = of_kind("HorizontalPodAutoscaler")
    assert set(scaled) == {"gateway", "aggregator"}, "more reporters are no faster"
    (metric,) = scaled["aggregator"]["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == "taximeter_aggregator_lag_records"


def test_nothing_comes_in_or_goes_out_unless_it_is_said() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-by-default"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {port["name"] for service in SERVICES for port in container(service)["ports"]}
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", ()):
            assert {port["port"] for port in rule["ports"]} <= ports


def test_prometheus_finds_all_services_under_the_jobs_that_the_rules_name() -> None:
    (monitor,) = of_kind("PodMonitor").values()
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    assert set(expression["values"]) == set(SERVICES)
    for name, deployment in of_kind("Deployment").items():
        assert deployment["spec"]["template"]["metadata"]["labels"] == {"app.kubernetes.io/name": name}


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_a_unit_drains_re_reads_and_gives_up_where_a_restart_does_not_help(unit: Any) -> None:
    text = unit.read_text()
    assert "ExecReload=/bin/kill -HUP $MAINPID" in text
    assert "RestartPreventExitStatus=3" in text
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > ServiceSettings().drain_seconds + MAIN_CANCEL_SECONDS + LOOP_CLOSE_SECONDS
    module = re.search(r"^ExecStart=\S+ -m (\w+)$", text, re.MULTILINE)
    assert module is not None
    assert (ROOT / module[1] / "__main__.py").is_file()
