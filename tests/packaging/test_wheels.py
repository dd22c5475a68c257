"""Each distribution, built, installed alone, and imported."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.distributions import DISTRIBUTIONS, EMITTER, Distribution, Environment

pytestmark = pytest.mark.packaging

CHEAP_IMPORT = """
import asyncio, orjson, sys
import taximeter_emitter
late = {"aiokafka", "numpy", "pathlib", "prometheus_client", "sqlite3"} & set(sys.modules)
assert not late, late
"""
MISSING_EXTRA = """
from taximeter_emitter import Emitter
try:
    Emitter(source="s", {arguments})
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: distribution.name)
def test_a_wheel_holds_its_packages_and_nothing_else(distribution: Distribution, wheels: Path) -> None:
    (wheel,) = wheels.glob(f"{distribution.name.replace('-', '_')}-[0-9]*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} >= set(distribution.packages)
    assert not tops & {"tests", "tools", "benchmarks", "docs", "deploy"}
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: distribution.name)
def test_a_distribution_installs_alone_and_every_package_of_it_imports(distribution: Distribution, wheels: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment", wheels)
    environment.install(distribution.name)
    environment.run("-W", "error", "-c", f"import {', '.join(distribution.packages)}")
    installed = environment.distributions()
    assert distribution.name in installed
    if distribution.brings is not None:
        assert installed == {distribution.name, *distribution.brings}


def test_the_emitter_is_typed_and_cheap_to_import(emitter_alone: Environment) -> None:
    emitter_alone.run("-c", "from importlib.resources import files; assert files('taximeter_emitter').joinpath('py.typed').is_file()")
    emitter_alone.run("-c", CHEAP_IMPORT)


@pytest.mark.parametrize(("arguments", "extra"), [("bootstrap_servers='k:9092'", "kafka"), ("registry=object(), new_producer=print", "prometheus")])
def test_a_missing_library_is_named_with_its_extra(emitter_alone: Environment, arguments: str, extra: str) -> None:
    said = emitter_alone.run("-c", MISSING_EXTRA.format(arguments=arguments))
    assert f"pip install '{EMITTER.name}[{extra}]'" in said


def test_the_demo_says_what_to_install_and_runs_outside_of_the_repository(wheels: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment", wheels)
    environment.install("taximeter")
    code, said = environment.command("taximeter", "demo", "--events", "2000")
    assert (code, said) == (4, "taximeter: the sandbox is not installed: pip install taximeter-sandbox\n")
    environment.install("taximeter-sandbox")
    code, said = environment.command("taximeter", "demo", "--events", "2000")
    assert code == 0, said
    assert said.rstrip().endswith("EXACT")
