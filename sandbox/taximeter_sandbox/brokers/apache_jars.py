"""Find Java, and have Maven fetch the jars of Apache Kafka once for each content of pom.xml beside this module."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from taximeter_sandbox.brokers.interface import BrokerUnavailable

_POM = Path(__file__).with_name("pom.xml")
_JAVA_MAJOR_MIN = 17
_JAVA_TIMEOUT_S = 20
_MAVEN_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class ApacheKafka:
    """What it takes to run Apache Kafka: a Java of at least version 17 and a folder of jars."""

    version: str
    java: str
    java_major: int
    jars: Path


def find_apache_kafka() -> ApacheKafka:
    """Java and jars, fetched if need be. Raises BrokerUnavailable with the reason. Blocks for minutes at the first call on a machine."""
    java, major = _find_java()
    pom = _POM.read_text()
    version = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", pom)
    if version is None:
        raise BrokerUnavailable(f"{_POM} names no kafka.version")
    digest = hashlib.sha256(pom.encode()).hexdigest()[:8]
    jars = _cache_folder() / f"kafka-{version[1]}-{digest}"
    if not jars.is_dir():
        _fetch(jars)
    return ApacheKafka(version[1], java, major, jars)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taximeter"


def _find_java() -> tuple[str, int]:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise BrokerUnavailable("no Java")
    try:
        command = [java, "-version"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=_JAVA_TIMEOUT_S, check=True)  # noqa: S603  # the user's Java
    except (OSError, subprocess.SubprocessError) as error:
        raise BrokerUnavailable(f"Java does not run: {error}") from error
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    major = int(found[1]) if found else 0
    if major < _JAVA_MAJOR_MIN:
        raise BrokerUnavailable(f"Java {major or 'of unknown version'}, Apache Kafka 4 needs {_JAVA_MAJOR_MIN}")
    return java, major


def _fetch(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable("no Maven")
    jars.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="kafka-", dir=jars.parent))
    command = [maven, "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={draft}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False)  # noqa: S603  # their Maven
        if result.returncode != 0:
            raise BrokerUnavailable(f"Maven cannot resolve Apache Kafka: {_first_error(result.stdout + result.stderr)}")
        if not any(draft.glob("kafka_*.jar")):
            raise BrokerUnavailable("Maven fetched no Kafka jar")
        if not jars.is_dir():  # another process may have been quicker
            draft.rename(jars)
    except subprocess.TimeoutExpired:
        raise BrokerUnavailable(f"Maven did not resolve Apache Kafka within {_MAVEN_TIMEOUT_S} s") from None
    except OSError as error:
        if not jars.is_dir():
            raise BrokerUnavailable(f"cannot keep Apache Kafka's jars: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _first_error(output: str) -> str:
    lines = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines() or ["it gave no reason"]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0])[:300]
