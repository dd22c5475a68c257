"""Each distribution, built, installed alone, and imported."""

import json
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self
from zipfile import ZipFile

import pytest

from tests.support.distributions import DISTRIBUTIONS, EMITTER, ROOT, Distribution, Environment

pytestmark = pytest.mark.packaging

CHEAP_IMPORT = """
import asyncio, orjson, sys
import taximeter_emitter
late = {"aiokafka", "numpy", "pathlib", "prometheus_client", "sqlite3"} & set(sys.modules)
assert not late, late
"""


class FirstScreen:
    """A running `taximeter quickstart` on free ports. `ready`: what it printed first, with lines to paste."""

    def __init__(self, environment: Environment) -> None:
        self._process = environment.start("taximeter", "quickstart", "--json", "--port", "0", "--kafka-port", "0", "--stripe-port", "0")
        self.ready = self.told()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def shown(self, name: str) -> str:
        """Lines to paste as they are with the ports that it takes by itself, and without the key."""
        return re.sub("tmk_[0-9a-f_]+", "tmk_...", self.ready[name].replace(self.ready["gateway"], "http://127.0.0.1:8080"))

    def told(self) -> dict[str, Any]:
        """The next object that it prints; it prints one whenever the bill moves."""
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def console_shows(self, *, reported: int) -> bool:
        """Whether the console has this many reported units, within a minute: it reads the log by itself."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.ready['console']}/v1/usage?group_by=meter") as answer:
                if sum(row["reported"] for row in json.loads(answer.read())["rows"]) == reported:
                    return True
            time.sleep(0.2)
        return False

    def ended(self) -> dict[str, Any]:
        """The last object after Ctrl-C. It must have ended with exit code 0."""
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found


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


def test_the_first_screen_of_the_readme_does_what_it_says_with_nothing_but_wheels(wheels: Path, tmp_path: Path) -> None:
    """It stands for the demo, too, which comes from the same wheel and starts the same services."""
    environment = Environment(tmp_path / "environment", wheels)
    environment.install("taximeter")
    code, said = environment.command("taximeter", "quickstart")
    assert (code, said) == (4, "taximeter: the sandbox is not installed: pip install taximeter-sandbox\n")
    environment.install("taximeter[sandbox]")
    page = (ROOT / "README.md").read_text()
    with FirstScreen(environment) as screen:
        assert screen.shown("python") in page.split("## What it does")[0], "the page has the very lines that are printed"
        environment.run("-W", "error", "-c", screen.ready["python"])
        while (bill := screen.told())["units_reported"] < 97_600:
            pass
        said = f"1 event counted, {bill['units_reported']:,} units reported, next invoice {bill['next_invoice']['text']}"
        assert said in page
        assert screen.console_shows(reported=97_600)
        for _ in range(2):
            subprocess.run(screen.ready["curl"], shell=True, check=True, timeout=10)
        verdict = screen.ended()
    assert (verdict["what"], verdict["word"], verdict["exit_code"]) == ("verdict", "EXACT", 0)
