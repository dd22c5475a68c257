"""The compose file is valid, hardened, and starts our services with settings that they accept."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from billing.catalogue.pricing import parse_wanted
from ingest.app import PUBLISHER_CLOSE_SECONDS
from ingest.settings import GatewaySettings
from metering.configuration.settings import load_all
from metering.process.service import LOOP_CLOSE_SECONDS, MAIN_CANCEL_SECONDS, ServiceSettings
from metering.records.meters import parse_catalogue
from tests.support.deploy_files import DEPLOY, PROCESSES, SECRETS, environment, own_services, read_yaml, services
from tests.support.repository import ROOT
from tools.documentation import SETTINGS


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr] # a mismatch fails the test
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("name", sorted(services()))
def test_every_container_has_limits_and_no_rights_that_it_does_not_need(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]), "the image's version is not fixed"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from other machines"


@pytest.mark.parametrize("name", sorted(own_services()))
def test_our_containers_are_read_only_and_not_root(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["tmpfs"][0].startswith("/tmp:")
    assert all(mount.get("read_only") for mount in service.get("volumes", []) if isinstance(mount, dict))


def test_what_runs_for_long_has_a_health_check_without_a_shell() -> None:
    for name, service in services().items():
        if service["restart"] == "unless-stopped":
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_dependencies_exist_and_wait_for_health_or_completion() -> None:
    for service in services().values():
        for other, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if "healthcheck" in services()[other] else "service_completed_successfully"
            assert how["condition"] == expected


def test_the_grace_period_is_longer_than_what_stopping_may_take() -> None:
    for name in PROCESSES:
        given = environment(services()[name]).get("TAXIMETER_SERVICE_DRAIN_SECONDS")
        drain = float(given) if given else ServiceSettings().drain_seconds
        assert seconds(services()[name]["stop_grace_period"]) > drain + MAIN_CANCEL_SECONDS + LOOP_CLOSE_SECONDS


def test_a_gateway_may_drain_for_as_long_as_its_slowest_request_takes() -> None:
    gateway = GatewaySettings(anonymous=True)
    for name in ("gateway", "gateway-open"):
        given = environment(services()[name])
        pre_stop = float(given["TAXIMETER_GATEWAY_PRE_STOP_SECONDS"])
        # A body is read, its batches acknowledged; then the publisher is closed.
        slowest = pre_stop + gateway.read_seconds + gateway.acknowledge_seconds + PUBLISHER_CLOSE_SECONDS
        assert float(given["TAXIMETER_SERVICE_DRAIN_SECONDS"]) >= slowest


def test_each_profile_has_one_gateway_and_one_reporter_and_the_rest_always_runs() -> None:
    by_profile = {
        profile: {name for name, service in services().items() if profile in service.get("profiles", [])}
        for profile in ("stripe", "simulator", "console")
    }
    assert by_profile["console"] == {"console"}
    assert by_profile["stripe"] == {"gateway", "reporter"}
    simulated = {"stripe-simulator", "stripe-simulator-setup", "stripe-simulator-customers"}
    assert by_profile["simulator"] == {"gateway-open", "reporter-simulated"} | simulated
    always = {name for name, service in services().items() if "profiles" not in service}
    assert always == {"kafka", "topics", "aggregator", "prometheus", "alertmanager", "grafana"}


def test_nothing_of_the_simulator_is_set_where_stripe_is_billed() -> None:
    for name in by_stripe():
        assert "simulator" not in str(services()[name].get("environment")), name
        assert "TAXIMETER_STRIPE_API_BASE" not in services()[name].get("environment", {})
        assert "TAXIMETER_GATEWAY_ANONYMOUS" not in services()[name].get("environment", {})


def by_stripe() -> list[str]:
    return [name for name, service in services().items() if service.get("profiles") == ["stripe"]]


def test_secrets_come_from_files_and_none_is_in_version_control() -> None:
    secrets = read_yaml("docker-compose.yml")["secrets"]
    for service in services().values():
        assert set(service.get("secrets", [])) <= set(secrets)
        assert not [name for name in service.get("environment", {}) if name.endswith(("_KEY", "_PASSWORD", "_TOKEN"))]
    assert (DEPLOY / secrets["simulator_api_key"]["file"]).read_text().strip() == "sk_test_simulator"
    kept = subprocess.run(["git", "ls-files", "deploy/secrets"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    assert sorted(kept) == ["deploy/secrets/.gitignore", "deploy/secrets/README.md"]


def test_kafka_is_the_version_that_the_tests_run_on_and_makes_no_topic_by_itself() -> None:
    kafka = services()["kafka"]
    tested = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", (ROOT / "sandbox/taximeter_sandbox/brokers/pom.xml").read_text())
    assert tested is not None
    assert kafka["image"] == f"apache/kafka:{tested[1]}"
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    listeners = re.findall(r"(\w+)://", kafka["environment"]["KAFKA_LISTENERS"])
    mapped = dict(pair.split(":") for pair in kafka["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(listeners) == set(mapped)
    inside = re.search(r"INSIDE://([^,]+)", kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    assert inside is not None
    for name in PROCESSES:
        assert services()[name]["environment"]["TAXIMETER_KAFKA_BOOTSTRAP_SERVERS"] == inside[1]


def test_the_example_settings_are_valid_and_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    keys = tmp_path / "api_keys.toml"
    keys.write_text(SECRETS["/run/secrets/api_keys"])
    text = (DEPLOY / "taximeter.toml").read_text().replace("/run/secrets/api_keys", str(keys))
    catalogue, problems = parse_catalogue(tomllib.loads(text))
    assert problems == []
    assert catalogue is not None
    assert [meter.event_name for meter in catalogue.meters] == ["alpaca_ai_tokens"]
    uncommented = tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))
    assert parse_wanted(tomllib.loads(text))[1] == []
    assert set(uncommented) == {"meters", "products", "prices", *(section.name for section in SETTINGS)}
    # These have no default, or none that is valid by itself.
    required = {"TAXIMETER_STRIPE_API_KEY": "sk_test_1", "TAXIMETER_GATEWAY_API_KEYS_FILE": str(keys)}
    brokers = ",".join(uncommented["kafka"]["bootstrap_servers"])
    classes = {section.name: section.settings for section in SETTINGS}
    as_given = load_all(classes, environ=required, file=uncommented)
    assert as_given == load_all(classes, environ={**required, "TAXIMETER_KAFKA_BOOTSTRAP_SERVERS": brokers})
