"""docs/recipes.md does what it says: each block is run by the program that it is for, and everything emitted arrives, though nobody waits for it.

The gateway is the real server over a Kafka in memory. A program that is not installed is skipped, by name.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from taximeter_sandbox.brokers.readiness import free_port

from ingest.admission.api_keys import ApiKeys
from metering.configuration.key_file import create_key, parse_keys
from tests.support.emitter_batches_received import batches_of, finals, gaps
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.gateway_in_thread import gateway_in_thread
from tests.support.repository import ROOT

# A Python that has the programs, as for the clients of other gateways.
PROGRAMS: Final = os.environ.get("TAXIMETER_FOREIGN_CLIENTS", sys.executable)
SECONDS: Final = 30.0
GUNICORN, UVICORN, CELERY, POOL, NOTEBOOK, JOB = re.findall(r"```python\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)
SEND_TASKS: Final = """
import sys, jobs
for number in range(int(sys.argv[1])):
    jobs.generate.delay(number)
"""
CELERY_BROKER: Final = """
import os
folder = os.environ["QUEUE"]
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control"}
"""
CELLS: Final = "cell = open('program.py').read()\nfor _ in range(3):\n    exec(cell, globals())\n"


class Recipe:
    """A block of the page as a module, in a folder of its own, that sends to a gateway of the test."""

    def __init__(self, folder: Path, url: str, token: str, kafka: FakeKafka) -> None:
        self.folder = folder
        self.kafka = kafka
        self._given = {"https://meter.internal": url, "tmk_...": token, "/var/spool/taximeter": str(folder / "spool")}

    def write(self, name: str, block: str) -> None:
        for shown, given in self._given.items():
            assert shown in block
            block = block.replace(shown, given)
        (self.folder / name).write_text(block)

    @contextmanager
    def running(self, *arguments: str, python: str = PROGRAMS, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([python, *arguments], cwd=self.folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """SIGTERM, as every supervisor sends it."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0

    def arrived(self, events: int, processes: int | None = None) -> bool:
        batches = batches_of(self.kafka.log)
        assert sum(batch.count for batch in batches) == events
        assert gaps(batches) == {}
        assert sum(finals(batches).values()) == events, "each of them said at its end how many there were"
        return processes is None or len({batch.emitter for batch in batches if batch.count}) == processes


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Recipe]:
    key, kafka = create_key(tenant="t"), FakeKafka()
    with gateway_in_thread(kafka, ApiKeys(parse_keys(key.entry))) as running:
        yield Recipe(tmp_path, running.url, key.token, kafka)


def needs(*packages: str) -> None:
    if subprocess.run([PROGRAMS, "-c", f"import {', '.join(packages)}"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"{', '.join(packages)} is not installed in {PROGRAMS}")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def fetch(port: int, times: int) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return bool(answer.read() == b"counted")
        except OSError:
            return False

    until(answers)
    assert all(answers() for _ in range(times - 1))


@pytest.mark.parametrize("preload", [True, False])
def test_gunicorn(preload: bool, recipe: Recipe) -> None:
    needs("gunicorn")
    recipe.write("web.py", GUNICORN)
    port = free_port("127.0.0.1")
    options = ["--workers", "2", "--bind", f"127.0.0.1:{port}", "--max-requests", "5", *(["--preload"] if preload else [])]
    with recipe.running("-m", "gunicorn", *options, "web:application") as process:
        fetch(port, 20)
        recipe.stop(process)
    assert recipe.arrived(20)


def test_uvicorn_with_workers(recipe: Recipe) -> None:
    needs("uvicorn")
    recipe.write("api.py", UVICORN)
    port = free_port("127.0.0.1")
    with recipe.running("-m", "uvicorn", "--workers", "2", "--port", str(port), "api:app") as process:
        fetch(port, 10)
        recipe.stop(process)
    assert recipe.arrived(10)


def test_celery(recipe: Recipe) -> None:
    needs("celery")
    recipe.write("jobs.py", f"{CELERY}\napp.config_from_object('celeryconfig')\n")
    (recipe.folder / "celeryconfig.py").write_text(CELERY_BROKER)
    (recipe.folder / "queue" / "control").mkdir(parents=True)
    queue = str(recipe.folder / "queue")
    with recipe.running("-m", "celery", "-A", "jobs", "worker", "--concurrency", "2", QUEUE=queue) as process:
        with recipe.running("-c", SEND_TASKS, "20", QUEUE=queue) as sending:
            assert sending.wait(SECONDS) == 0
        until(lambda: not list((recipe.folder / "queue").glob("*celery.msg")))
        recipe.stop(process)
    assert recipe.arrived(20)


def test_pools_that_pickle(recipe: Recipe) -> None:
    recipe.write("program.py", POOL)
    with recipe.running("program.py", python=sys.executable) as process:
        assert process.wait(SECONDS) == 0
    assert recipe.arrived(10)


def test_a_cell_that_is_run_again(recipe: Recipe) -> None:
    recipe.write("program.py", NOTEBOOK)
    with recipe.running("-c", CELLS, python=sys.executable) as process:
        assert process.wait(SECONDS) == 0
    assert recipe.arrived(3, processes=1)


def test_a_job_that_is_stopped(recipe: Recipe) -> None:
    recipe.write("program.py", f"{JOB}\nopen('emitted', 'w').close()\nsignal.pause()\n")
    with recipe.running("program.py", python=sys.executable) as process:
        until((recipe.folder / "emitted").exists)
        recipe.stop(process)
    assert recipe.arrived(1)
