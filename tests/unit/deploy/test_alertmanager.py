"""Alertmanager is told of alerts that exist, and what says how urgent it is is never kept silent by its cause."""

import re
from collections.abc import Iterator

from tests.support.deploy_files import alerts, read_yaml

URGENT = {"TaximeterUsageMissesInvoice", "TaximeterStripeUnavailableNearInvoice", "TaximeterRetentionRisk", "TaximeterUnknownOutcomeAgeing"}


def named(matchers: list[str]) -> set[str]:
    """The alerts that these matchers name."""
    found = [re.fullmatch(r'alertname=~?"([\w|]+)"', matcher) for matcher in matchers]
    return {name for match in found if match is not None for name in match[1].split("|")}


def inhibitions() -> Iterator[tuple[set[str], set[str]]]:
    """Causes, and what each keeps silent."""
    for rule in read_yaml("prometheus/alertmanager.yml")["inhibit_rules"]:
        yield named(rule["source_matchers"]), named(rule["target_matchers"])


def test_every_alert_that_it_names_exists() -> None:
    routes = read_yaml("prometheus/alertmanager.yml")["route"]["routes"]
    written = set().union(*(causes | silent for causes, silent in inhibitions()), *(named(route["matchers"]) for route in routes))
    assert written <= set(alerts()), written - set(alerts())
    assert len(written) > 20


def test_no_alert_silences_itself_or_its_cause() -> None:
    pairs = {(cause, target) for causes, silent in inhibitions() for cause in causes for target in silent}
    assert all(cause != target and (target, cause) not in pairs for cause, target in pairs)


def test_a_cause_never_silences_what_says_how_urgent_it_became() -> None:
    silenced = set().union(*(silent for _, silent in inhibitions()))
    assert not silenced & URGENT
    assert set(alerts()) >= URGENT


def test_whoever_is_paged_gets_what_is_critical_and_the_watchdog_has_its_own_way() -> None:
    configuration = read_yaml("prometheus/alertmanager.yml")
    route = configuration["route"]
    assert route["receiver"] == "desk"
    assert [each["receiver"] for each in route["routes"]] == ["watchdog", "pager"]
    assert {receiver["name"] for receiver in configuration["receivers"]} == {"desk", "pager", "watchdog"}


def test_prometheus_sends_to_the_alertmanager_of_compose_and_runs_with_the_address_of_the_runbooks() -> None:
    prometheus = read_yaml("prometheus/prometheus.yml")
    services = read_yaml("docker-compose.yml")["services"]
    assert prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]
    assert "alertmanager" in services
    assert prometheus["global"]["external_labels"]["runbooks"] == "${RUNBOOKS_URL}"
    assert "RUNBOOKS_URL" in services["prometheus"]["environment"]
