"""Each service of compose starts with the settings that compose gives it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deploy_files import DEPLOY, PROCESSES, SECRETS, environment, services
from tests.support.repository import ROOT


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_service_accepts_its_settings(name: str, tmp_path: Path) -> None:
    variables = environment(services()[name])
    for variable, value in variables.items():
        if value in SECRETS:
            variables[variable] = str(tmp_path / variable)
            (tmp_path / variable).write_text(SECRETS[value])
    process = PROCESSES[name]
    assert services()[name]["command"] == [process]
    command = [sys.executable, "-m", process, "--config", str(DEPLOY / "taximeter.toml"), "--check-config"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
