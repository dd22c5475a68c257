"""The emitter on every Python that this machine has, from 3.10 on."""

from pathlib import Path

import pytest

from tests.support.distributions import EMITTER, ROOT, Environment, interpreters

pytestmark = pytest.mark.packaging

SCRIPT = ROOT / "tests/support/emit_without_kafka.py"
# Nothing listens on the discard port of a machine that runs tests.
NOBODY_LISTENS = """
from taximeter_emitter import Emitter
emitter = Emitter(bootstrap_servers="127.0.0.1:9", source="smoke", partitions=4)
for number in range(10):
    assert emitter.emit(customer="c", usage={"n": number})
stats = emitter.close(1.0)
assert stats.counts.lost == 10 and stats.counts.restarts == 0, stats
assert "cannot reach topic" in stats.last_error, stats
"""


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_events_are_kept_and_sent_and_counted(version: str, wheels: Path, tmp_path: Path) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    environment = Environment(tmp_path / "environment", wheels, python)
    environment.install(EMITTER.name)
    environment.run("-W", "error", str(SCRIPT), str(tmp_path / "spool"))
    said = environment.run("-W", "error", str(SCRIPT))
    assert said.splitlines()[-1] == "all sent"
    environment.install(f"{EMITTER.name}[kafka]")
    environment.run("-c", NOBODY_LISTENS)
