"""The tests are where CONTRIBUTING.md says: folders as in the packages, helpers in tests/support, nothing imported from a test."""

import re

import pytest

from tests.support.repository import ROOT

TESTS = ROOT / "tests"
# Programs, and who else than themselves may import them.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "chaos": (),
    "native": ("tests/property/native",),
    "simulation": ("tools", "tests/unit/docs", "tests/property/docs"),
    "soak": (),
}
MODULES = sorted(ROOT.glob("[a-z]*/**/*.py"))
IMPORT = re.compile(r"^\s*(?:from (tests[.\w]*) import (\w+)|import (tests[.\w]*))", re.MULTILINE)
PACKAGES = {"emitter": ROOT / "emitter/taximeter_emitter", "sandbox": ROOT / "sandbox/taximeter_sandbox"}


def test_only_support_is_imported_and_a_program_by_its_users() -> None:
    for path in MODULES:
        for origin, first, module in IMPORT.findall(path.read_text()):
            name = module or f"{origin}.{first}"
            folder = name.split(".")[1]
            allowed = folder in PROGRAMS and any(ROOT / user in path.parents for user in (f"tests/{folder}", *PROGRAMS[folder]))
            assert folder == "support" or allowed, f"{path.relative_to(ROOT)} imports {name}: move what it needs to tests/support"


def test_helpers_are_in_support() -> None:
    for path in TESTS.rglob("*.py"):
        if path.relative_to(TESTS).parts[0] not in {"support", *PROGRAMS}:
            assert path.name.startswith("test_") or path.name in {"__init__.py", "conftest.py"}, f"{path.relative_to(ROOT)} belongs in tests/support"
        else:
            assert path.parent != TESTS / "support" or not path.name.startswith("test_"), path


@pytest.mark.parametrize("kind", ["unit", "property"])
def test_folders_are_those_of_the_packages(kind: str) -> None:
    for path in (TESTS / kind).rglob("test_*.py"):
        package, *folders = path.parent.relative_to(TESTS / kind).parts
        source = PACKAGES.get(package, ROOT / package)
        assert not source.is_dir() or source.joinpath(*folders).is_dir(), f"{path.relative_to(ROOT)}: there is no {package}/{'/'.join(folders)}"
