"""What the peers are made of, in a cache folder outside the repository: virtual environments, jars, compiled classes and programs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
JAVA_SOURCES: Final = HERE / "kafka_streams"
GO_SOURCES: Final = HERE / "go_loop"
INSTALL_SECONDS: Final = 300
_REASON_CHARS: Final = 200


class PeerUnavailable(Exception):
    """This peer cannot be had on this machine; the message says why in one line."""


def python_of(requirements: str) -> Path:
    """The Python of an environment with these requirements, made at the first call. Raises PeerUnavailable. Blocks for up to minutes."""
    wanted = HERE / requirements

    def make(draft: Path) -> None:
        _run([sys.executable, "-m", "venv", "--copies", str(draft)])
        _run([str(draft / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(wanted)])

    name = f"{wanted.stem}-py{sys.version_info.major}{sys.version_info.minor}"
    return _made_once(name, wanted.read_bytes(), make) / "bin" / "python"


def java_command(main_class: str) -> list[str]:
    """The command of one of the Java peers, fetched and compiled at the first call. Raises PeerUnavailable. Blocks for up to minutes."""
    java, javac, maven = (_program(name) for name in ("java", "javac", "mvn"))
    pom, sources = JAVA_SOURCES / "pom.xml", sorted((JAVA_SOURCES / "src").glob("*.java"))

    def fetch(draft: Path) -> None:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={draft}"]
        _run([maven, "-B", "-q", "-f", str(pom), *goal])

    jars = _made_once("jars", pom.read_bytes(), fetch)

    def compile_all(draft: Path) -> None:
        _run([javac, "--release", "17", "-cp", f"{jars}/*", "-d", str(draft), *map(str, sources)])

    content = pom.read_bytes() + b"".join(source.read_bytes() for source in sources)
    classes = _made_once("classes", content, compile_all)
    return [java, "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{classes}:{jars}/*", main_class]


def go_command() -> list[str]:
    """The command of the Go peer, fetched and built at the first call. Raises PeerUnavailable. Blocks for up to minutes."""
    go = _program("go")

    def build(draft: Path) -> None:
        _run([go, "build", "-C", str(GO_SOURCES), "-o", str(draft / "loop"), "."])

    content = b"".join((GO_SOURCES / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    return [str(_made_once("go", content, build) / "loop")]


def _made_once(name: str, content: bytes, make: Callable[[Path], None]) -> Path:
    """The folder for this content. It is made in place, since environments know their own path, and marked when it is complete."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taximeter" / "peers"
    folder = root / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        complete.touch()
    return folder


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise PeerUnavailable(f"no {name}")
    return found


def _run(command: Sequence[str]) -> None:
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(  # noqa: S603  # our own commands and files
                command, stdout=output, stderr=subprocess.STDOUT, timeout=INSTALL_SECONDS, check=False
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerUnavailable(f"{Path(command[0]).name} did not run: {error}") from None
        if code:
            output.seek(0)
            raise PeerUnavailable(f"{Path(command[0]).name}: {_first_error(output.read().decode(errors='replace'))}")


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line.lower()] or text.splitlines() or ["it gave no reason"]
    return lines[0][:_REASON_CHARS]
