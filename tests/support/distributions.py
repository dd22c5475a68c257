"""The distributions of this repository, and environments in which one of them is installed alone."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Distribution:
    """`folder` is where its pyproject.toml is. `brings`: what is installed with it without extras; None: more than a test wants to list."""

    name: str
    folder: str
    packages: tuple[str, ...]
    brings: Collection[str] | None = None


EMITTER: Final = Distribution("taximeter-emitter", "emitter", ("taximeter_emitter",), brings={"orjson"})
SERVICES: Final = Distribution("taximeter", ".", ("metering", "ingest", "aggregator", "reporter", "billing", "audit", "console", "taximeter"))

SANDBOX: Final = Distribution("taximeter-sandbox", "sandbox", ("taximeter_sandbox",))

DISTRIBUTIONS: Final = (EMITTER, SERVICES, SANDBOX)


def build_wheels(folder: Path) -> None:
    """The wheel of every distribution, each in an environment of its own, as pip does it."""
    sources = [str(ROOT / distribution.folder) for distribution in DISTRIBUTIONS]
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *sources])


class Environment:
    """A virtual environment at `path`, made by the interpreter `python`, into which only what a test installs goes."""

    def __init__(self, path: Path, wheels: Path, python: str = sys.executable) -> None:
        self.python = path / "bin" / "python"
        self._wheels = wheels
        _run([python, "-m", "venv", "--without-pip", str(path)])

    def install(self, requirement: str) -> None:
        """A distribution of this repository comes from its wheel, all others from the package index."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--find-links", str(self._wheels), requirement])

    def run(self, *arguments: str) -> str:
        """The standard output of the interpreter with these arguments, started outside the repository and knowing nothing of it."""
        return _run([str(self.python), "-I", *arguments], cwd=self.python.parents[2])

    def command(self, name: str, *arguments: str) -> tuple[int, str]:
        """Exit code and output of an installed command, started outside the repository."""
        process = self.start(name, *arguments, stderr=subprocess.STDOUT)
        said, _ = process.communicate()
        return process.returncode, said

    def start(self, name: str, *arguments: str, stderr: int | None = None) -> subprocess.Popen[str]:
        """An installed command as a process, started likewise; its standard output is a pipe."""
        command = [str(self.python.with_name(name)), *arguments]
        return subprocess.Popen(command, cwd=self.python.parents[2], env=_environment(), stdout=subprocess.PIPE, stderr=stderr, text=True)

    def distributions(self) -> set[str]:
        """Names of what is installed."""
        found: list[dict[str, Any]] = json.loads(
            _run([sys.executable, "-m", "pip", "--python", str(self.python), "list", "--disable-pip-version-check", "--format", "json"])
        )
        return {entry["name"] for entry in found}


def interpreters() -> dict[str, str]:
    """Every CPython from 3.10 on that can be found on this machine, by its version: on PATH, and among pyenv's."""
    names = [f"python3.{minor}" for minor in range(10, 20)]
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    folders += sorted((Path.home() / ".pyenv" / "versions").glob("*/bin"))
    found: dict[str, str] = {}
    for name in names:
        for path in (folder / name for folder in folders):
            # A shim of pyenv is there for versions that are not chosen, too, and fails.
            if name not in found and path.is_file() and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[name] = str(path)
    return {name.removeprefix("python"): path for name, path in found.items()}


def _environment() -> dict[str, str]:
    """Without what tells an interpreter of the repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
