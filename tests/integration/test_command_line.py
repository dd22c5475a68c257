"""`taximeter` as a process: Ctrl-C at any moment, and a reader of its output that goes away."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taximeter.exit_codes import FAILED, INTERRUPTED, OK, PRECONDITION, USAGE
from tests.support.usage_on_broker import taximeter
from tests.support.usage_topic import settings_for

SECONDS = 60.0
# A frame of one of our functions; Python's own start, up to importing `taximeter.__main__`, is Python's.
OURS = re.compile(r"taximeter/\S+\.py\", line \d+, in \w")
# Interrupts itself where it imports for the n-th time.
INTERRUPT_AT_IMPORT = """\
import signal, sys
from taximeter.__main__ import main
left = int(sys.argv.pop(1))
def hook(event, _):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)
sys.addaudithook(hook)
sys.exit(main())
"""


def start(*arguments: str, bootstrap: str = "127.0.0.1:1", stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = {**os.environ, "TAXIMETER_KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    # Without it, Python keeps what is printed until there is enough of it, as it does for everybody.
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=stdout, stderr=stderr, text=True)


@contextmanager
def silent_broker() -> Iterator[tuple[socket.socket, str]]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("arguments", [["--help"], ["verify"], ["status"], ["doctor"]], ids=" ".join)
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2])
def test_ctrl_c_shows_no_traceback_of_ours_whenever_it_comes(arguments: list[str], seconds: float) -> None:
    with silent_broker() as (_, bootstrap):
        process = start("-m", "taximeter", *arguments, bootstrap=bootstrap)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)

    if process.returncode in {-signal.SIGINT, 1}:
        # Python had not come to us.
        assert not OURS.search(errors)
    else:
        assert process.returncode in {INTERRUPTED, OK}
        assert errors in {"", "taximeter: interrupted\n"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["stripe", "usage", "cus_1"], ["verify"]], ids=" ".join)
@pytest.mark.parametrize("nth", [1, 2, 5, 30, 200])
def test_ctrl_c_while_something_is_imported_ends_at_once_and_silently(arguments: list[str], nth: int) -> None:
    process = start("-c", INTERRUPT_AT_IMPORT, str(nth), *arguments)
    output, errors = process.communicate(timeout=SECONDS)

    if process.returncode == OK and nth > 5:
        return  # it imports less than that
    assert (process.returncode, output, errors) == (INTERRUPTED, "", "")


@pytest.mark.parametrize("command", ["verify", "status", "doctor", "corrections"])
def test_ctrl_c_while_kafka_does_not_answer_is_one_line(command: str) -> None:
    with silent_broker() as (server, bootstrap):
        process = start("-m", "taximeter", command, bootstrap=bootstrap)
        with server.accept()[0]:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=SECONDS)

    assert (process.returncode, output, errors) == (INTERRUPTED, "", "taximeter: interrupted\n")


def test_the_doctor_answers_although_kafka_does_not() -> None:
    with silent_broker() as (_, bootstrap):
        began = time.monotonic()
        output, errors = (process := start("-m", "taximeter", "doctor", "--json", bootstrap=bootstrap)).communicate(timeout=SECONDS)

    assert process.returncode == 2, errors
    (cause,) = json.loads(output)["causes"]
    assert cause["runbook"] == "docs/runbooks/TaximeterKafkaUnavailable.md"
    assert time.monotonic() - began < 30, "three seconds, and what a busy machine needs to start a process"


def test_what_runs_in_the_background_of_a_shell_is_not_interrupted() -> None:
    with silent_broker() as (server, bootstrap):
        ignoring = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); from taximeter.__main__ import main; sys.exit(main())"
        process = start("-c", ignoring, "status", bootstrap=bootstrap)
        with server.accept()[0]:
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.kill()
            process.communicate()


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The end of a pipe for writing, whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], OK), (["--version"], OK), (["completion", "bash"], FAILED)], ids=str)
def test_an_output_that_nobody_reads_any_more_is_no_traceback(arguments: list[str], code: int, nobody_reads: int) -> None:
    process = start("-m", "taximeter", *arguments, stdout=nobody_reads)
    _, errors = process.communicate(timeout=SECONDS)

    # What prints more than Python keeps cannot know how it would have ended.
    assert (process.returncode, errors) == (code, "")


def test_messages_that_nobody_reads_any_more_change_no_exit_code(nobody_reads: int) -> None:
    process = start("-m", "taximeter", "no-such-command", stderr=nobody_reads)
    output, _ = process.communicate(timeout=SECONDS)

    assert (process.returncode, output) == (USAGE, "")


@pytest.mark.broker
@pytest.mark.parametrize("command", ["status", "meters list"])
def test_a_cluster_without_our_topics_is_named_as_such(broker: str, tmp_path: Path, command: str) -> None:
    kafka = settings_for(broker)
    done = taximeter(kafka, tmp_path, *command.split())
    assert done.returncode == PRECONDITION, done.stderr
    assert f"topic {kafka.topics.catalogue.name} does not exist" in done.stderr
    assert "run: taximeter topics create" in done.stderr
