"""The Dockerfile builds what pyproject.toml says, for a user who is not root, from sources that are let in on purpose."""

import re
import tomllib

import pytest

from tests.support.deploy_files import DEPLOY
from tests.support.repository import ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
RUNTIME = DOCKERFILE.partition("AS runtime\n")[2]
REQUIREMENTS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_base_is_fixed_and_the_python_is_the_projects() -> None:
    base = re.search(r"^ARG BASE=python:(\d+\.\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert PROJECT["project"]["requires-python"] == f">={base[1]}"


def test_the_stages_that_run_are_without_root_without_a_shell_and_without_tools() -> None:
    assert re.search(r"^USER \d+:\d+$", RUNTIME, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["python", "-m"\]$', RUNTIME, re.MULTILINE)
    assert "pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel" in RUNTIME
    assert "HEALTHCHECK" not in DOCKERFILE


def test_the_last_stage_is_for_production_and_has_no_sandbox() -> None:
    assert RUNTIME.rstrip().endswith("FROM runtime\nCOPY --from=build /opt/taximeter /opt/taximeter")


@pytest.mark.parametrize("name", ["image", "install", "development"])
def test_every_dependency_is_fixed_by_version_and_hash(name: str) -> None:
    lines = (REQUIREMENTS / f"{name}.txt").read_text()
    fixed = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lines, re.MULTILINE))
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", lines, re.MULTILINE)) >= len(fixed)
    assert "--require-hashes" in DOCKERFILE
    assert "://" not in lines, "an address of a package index"
    ours = {"taximeter-emitter", "taximeter-sandbox"}
    for requirement in PROJECT["project"]["dependencies"]:
        found = re.split(r"[\[<>=;~! ]", requirement)[0]
        assert found in fixed.keys() | ours, f"{found} is not in requirements/{name}.txt: make lock"
    assert not fixed.keys() & (ours | {"taximeter"})


def test_the_native_reader_is_built_by_a_compiler_that_is_new_enough_and_left_behind() -> None:
    stage = DOCKERFILE.partition("FROM ${RUST} AS native\n")[2].partition("\nFROM")[0]
    assert "COPY native ./native" in stage
    assert "--require-hashes --requirement native.txt" in stage
    rust = re.search(r"^ARG RUST=rust:(\d+\.\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert rust is not None
    assert tomllib.loads((ROOT / "native/Cargo.toml").read_text())["package"]["rust-version"] == rust[1]
    assert "COPY --from=native /wheels /wheels" in DOCKERFILE
    assert "native" not in RUNTIME


def test_what_builds_the_native_reader_is_fixed_by_hash() -> None:
    lines = (REQUIREMENTS / "native.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in lines if not line.startswith(" ")] == ["maturin"]
    assert sum("--hash=sha256:" in line for line in lines) > 10


def test_the_build_sees_the_packages_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    packages = {"emitter", "sandbox", "native", *PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    files = {"pyproject.toml", PROJECT["project"]["readme"], "LICENSE", *[f"requirements/{name}.txt" for name in ("image", "install", "native")]}
    assert let_in == files | {f"{package}/**" for package in packages}
