"""The examples of the README files as a user's own type checker sees them, in a project that has folders of our names."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.distributions import ROOT, Environment

pytestmark = pytest.mark.packaging

CALLER = """
from billing import PRICE
from ingest import load


def total(path: str) -> int:
    return load(path) * PRICE
"""


def examples(page: str) -> list[str]:
    """The Python blocks of a page that use the emitter."""
    return [block for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL) if "taximeter_emitter" in block]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's service, with packages called ingest and billing, and the examples."""
    for name, text in (("ingest", "def load(path: str) -> int:\n    return len(path)\n"), ("billing", "PRICE = 3\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "caller.py").write_text(CALLER)
    found = [*examples("README.md"), *examples("emitter/README.md")]
    assert len(found) >= 2
    for number, text in enumerate(found):
        (tmp_path / f"example_{number}.py").write_text(text)
    return tmp_path


def check(command: list[str], project: Path) -> None:
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_finds_nothing(project: Path, emitter_alone: Environment) -> None:
    check([sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(emitter_alone.python), "."], project)


def test_pyright_finds_nothing(project: Path, emitter_alone: Environment) -> None:
    pyright = shutil.which("basedpyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("neither basedpyright nor pyright is installed")
    (project / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    check([pyright, "--pythonpath", str(emitter_alone.python), "."], project)
