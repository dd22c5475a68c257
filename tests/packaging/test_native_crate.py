"""The crate of the native reader, by cargo itself: its own tests, which need no Python, and the lints of clippy."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CRATE = Path(__file__).parents[2] / "native"
BUILT = CRATE / "target"  # ignored by git, and kept from one run to the next
SECONDS_MAX = 300
CARGO = shutil.which("cargo")

pytestmark = [pytest.mark.packaging, pytest.mark.skipif(CARGO is None, reason="cargo is not here: the native crate was not tested")]


def cargo(*arguments: str) -> str:
    """What cargo says; a code other than 0 fails the test."""
    assert CARGO is not None
    environment = {"CARGO_TARGET_DIR": str(BUILT), **os.environ}
    done = subprocess.run([CARGO, *arguments], cwd=CRATE, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_tests_of_the_crate_pass() -> None:
    assert "test damage_never_misreads ... ok" in cargo("test")


def test_clippy_has_nothing_to_say() -> None:
    if subprocess.run([str(CARGO), "clippy", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("clippy is not here")
    cargo("clippy", "--all-targets", "--", "--deny", "warnings")


def test_the_crate_is_formatted() -> None:
    if subprocess.run([str(CARGO), "fmt", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("rustfmt is not here")
    cargo("fmt", "--check")
