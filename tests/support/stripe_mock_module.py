"""stripe-mock, Stripe's own stub of its API, and Stripe's OpenAPI document that comes with it: fetched and built by Go, once for each version."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

VERSION: Final = "v0.203.0"  # the only place that names it; its document is of API version 2026-08-26.dahlia
MODULE: Final = f"github.com/stripe/stripe-mock@{VERSION}"
BUILD_S: Final = 600


class Unavailable(Exception):
    """There is no stripe-mock on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class StripeMock:
    """The program, and the folder of its OpenAPI document and fixtures."""

    program: Path
    openapi: Path

    def document(self) -> Any:
        """Stripe's OpenAPI document: 8 MB."""
        return json.loads((self.openapi / "spec3.json").read_bytes())

    def fixtures(self) -> Any:
        """An object of each kind by its name, as Stripe made them."""
        return json.loads((self.openapi / "fixtures3.json").read_bytes())


def find_stripe_mock() -> StripeMock:
    """Raises Unavailable. Blocks for a minute at the first call on a machine."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("Go is not there")
    said = json.loads(_run(go, {}, "mod", "download", "-json", MODULE))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taximeter" / f"stripe-mock-{VERSION}"
    if not (folder / "stripe-mock").is_file():
        _run(go, {"GOBIN": str(folder)}, "install", MODULE)
    return StripeMock(folder / "stripe-mock", Path(said["Dir"]) / "embedded" / "openapi")


def _run(go: str, variables: dict[str, str], *arguments: str) -> str:
    # Outside of any Go module, so that the version is the one that is asked for.
    try:
        done = subprocess.run([go, *arguments], env={**os.environ, **variables}, cwd="/", capture_output=True, text=True, timeout=BUILD_S, check=True)
    except subprocess.CalledProcessError as error:
        words = " ".join(f"{error.stdout} {error.stderr}".replace('"', " ").split())
        raise Unavailable(f"go {arguments[0]} does not get {MODULE}: {words[-200:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"go {arguments[0]} does not get {MODULE}: {error}") from error
    return done.stdout
