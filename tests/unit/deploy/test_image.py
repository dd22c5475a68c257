"""The Dockerfile builds what pyproject.toml says, for a user who is not root, from sources that are let in on purpose."""

import re
import tomllib

from tests.support.deploy_files import DEPLOY
from tests.support.repository import ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
FINAL = DOCKERFILE.rpartition("\nFROM ")[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_base_is_fixed_and_the_python_is_the_projects() -> None:
    base = re.search(r"^ARG BASE=python:(\d+\.\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert PROJECT["project"]["requires-python"] == f">={base[1]}"


def test_the_final_stage_runs_without_root_without_a_shell_and_without_tools() -> None:
    assert re.search(r"^USER \d+:\d+$", FINAL, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["python", "-m"\]$', FINAL, re.MULTILINE)
    assert "pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel" in FINAL
    assert "HEALTHCHECK" not in DOCKERFILE


def test_every_dependency_of_the_project_is_installed_by_version_and_hash() -> None:
    lines = (DEPLOY / "requirements.txt").read_text()
    fixed = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lines, re.MULTILINE))
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", lines, re.MULTILINE)) >= len(fixed)
    assert "--require-hashes" in DOCKERFILE
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.split(r"[\[<>=;~! ]", requirement)[0]
        assert name in fixed, f"{name} is not in deploy/requirements.txt"


def test_the_build_sees_the_packages_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert let_in == {"pyproject.toml", PROJECT["project"]["readme"], "deploy/requirements.txt", *(f"{package}/**" for package in packages)}
